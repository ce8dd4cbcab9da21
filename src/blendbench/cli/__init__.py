"""The command line: one file a verb, imported only when it is called."""

import sys
from importlib import import_module

from blendbench.errors import UsageError

VERBS = {
    "run": "run or resume an experiment",
    "leaderboard": "write and print the leaderboard of an experiment",
    "sql": "query the results",
    "list": "list strategies, metrics, experiments, suites or models",
    "validate": "check experiment, suite and plug-in files",
    "doctor": "check this installation",
}
_USAGE = "usage: blendbench [--version] COMMAND [ARGUMENTS]\n\ncommands:\n"


def main() -> None:
    """Run one verb. Exit codes: 0 done, 2 usage or bad input, 5 some cells failed; 130 on Ctrl-C."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, VERBS))
        print(_USAGE + "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items()))
        print("\n`blendbench COMMAND --help` says more.")
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        from blendbench import __version__

        print(f"blendbench {__version__}")
        sys.exit(0)
    try:
        _verb(arguments[0], arguments[1:])
    except UsageError as error:
        print(f"blendbench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("blendbench: stopped; the same command goes on where it was", file=sys.stderr)
        sys.exit(130)


def _verb(name: str, arguments: list[str]) -> None:
    if name not in VERBS:
        from blendbench.suites import suggest

        raise UsageError(f"unknown command {name!r}{suggest(name, list(VERBS))}")
    import typer

    function = getattr(import_module(f"blendbench.cli.{name}"), "list_" if name == "list" else name)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, help=function.__doc__)(function)
    app(args=arguments, prog_name=f"blendbench {name}")
