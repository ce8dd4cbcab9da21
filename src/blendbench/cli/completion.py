"""`blendbench completion`: complete commands, options and choices in a shell."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from blendbench.cli import VERBS, command

Shell = Literal["bash", "zsh", "fish"]
_BASH = """\
_blendbench() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{verbs}"
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
}}
complete -o default -F _blendbench blendbench
"""
_ZSH = """\
autoload -Uz compinit && compinit
autoload -Uz bashcompinit && bashcompinit
"""


def completion(shell: Annotated[Shell, typer.Argument(help="the shell that is to complete")]) -> None:
    """Print a script that completes commands, options and choices.

    bash: put eval "$(blendbench completion bash)" into ~/.bashrc.

    zsh: put eval "$(blendbench completion zsh)" into ~/.zshrc.

    fish: blendbench completion fish > ~/.config/fish/completions/blendbench.fish
    """
    words = {verb: list(_words(verb)) for verb in VERBS}
    if shell == "fish":
        print("complete -c blendbench -n __fish_use_subcommand -f")
        for verb, text in VERBS.items():
            print(f"complete -c blendbench -n __fish_use_subcommand -a {verb} -d {_quoted(text)}")
            seen = f"-n '__fish_seen_subcommand_from {verb}'"
            for word in words[verb]:
                print(f"complete -c blendbench {seen} {'-l ' + word[2:] if word.startswith('--') else '-a ' + word}")
        return
    cases = "\n".join(f'            {verb}) words="{" ".join(found)}" ;;' for verb, found in words.items())
    script = _BASH.format(verbs=" ".join([*VERBS, "--version", "--help"]), cases=cases)
    print(script if shell == "bash" else _ZSH + script, end="")


def _words(verb: str) -> Iterator[str]:
    """Yield the options of a command, and the choices of its arguments and options."""
    app = typer.Typer(add_completion=False)
    app.command(verb)(command(verb))
    parser: Any = typer.main.get_command(app)
    for parameter in parser.params:
        yield from (option for option in (*parameter.opts, *parameter.secondary_opts) if option.startswith("--"))
    for annotation in get_type_hints(command(verb)).values():
        for kind in (annotation, *get_args(annotation)):
            yield from (get_args(kind) if get_origin(kind) is Literal else ())
    yield "--help"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
