"""The command line: one file a verb, imported only when it is called."""

import contextlib
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

from blendbench.core.errors import UsageError

VERBS = {
    "new": "write a small working file to start from: a strategy, metric, suite, experiment, ...",
    "run": "run or resume an experiment",
    "check": "generate the strategies of a file and say whether they are worse than a baseline",
    "watch": "check a file whenever it is saved",
    "gate": "say whether a candidate is worse than a baseline, with an exit code",
    "compare": "print all metrics of two configurations side by side",
    "leaderboard": "write and print the leaderboard of an experiment",
    "embeddings": "compare the hidden states of the encoders",
    "findings": "what the results say of every hypothesis",
    "publish": "write every page with the data it is made from",
    "site": "write the published pages as one static folder of HTML",
    "verify": "check published results before they are taken into a leaderboard",
    "gallery": "write a folder to look at the images with, and take its blind votes in",
    "import": "store and score images that were made elsewhere, beside a baseline's",
    "measure": "score any images with the metrics",
    "calibrate": "measure the metrics: detection limits and false alarms",
    "sql": "query the results",
    "merge": "bring the results of other folders into one",
    "forget": "remove a configuration from the results",
    "convert": "bring a results folder of an older blendbench to the present format",
    "open": "say what a results folder or published data hold, and how to query them",
    "completion": "print a script that completes commands and options in a shell",
    "list": "list strategies, metrics, experiments, suites or models",
    "validate": "check experiment, suite and plug-in files",
    "doctor": "check this installation",
}
_USAGE = "usage: blendbench [--version] COMMAND [ARGUMENTS]\n\ncommands:\n"
_SHOWN = 10  # problems that one refusal names
_SIGNAL = 128  # exit codes above it name the signal that ended the command
_CTRL_C = _SIGNAL + 2
# What only an extra brings; without `models`, results can still be read.
_MODEL_PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "open_clip", "safetensors", "cv2")
_EXTRAS = {**dict.fromkeys(_MODEL_PACKAGES, "models"), "markdown_it": "site"}


def main() -> None:
    """Run one command.

    Exit codes: 0 done or pass, 1 regression, 2 usage or bad input, 3 inconclusive, 4 canary not detected, 5 some cells
    failed; 130 on Ctrl-C, 143 and 129 on SIGTERM and SIGHUP, 141 if nobody reads the output.
    """
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        width = max(map(len, VERBS))
        print(_USAGE + "\n".join(f"  {name:<{width}}  {text}" for name, text in VERBS.items()))
        print("\n`blendbench COMMAND --help` says more.")
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        from blendbench import __version__
        from blendbench.core.version import commit

        found = commit()
        print(f"blendbench {__version__}{f' (commit {found[:12]})' if found else ''}")
        sys.exit(0)
    received: list[int] = []
    try:
        with _signals_as_ctrl_c(received):
            code = _verb(arguments[0], arguments[1:])
    except UsageError as error:
        # What `import` and `new` read is no file that `validate` knows.
        shown = _SHOWN if arguments[0] in ("import", "new") else 1
        others = len(error.problems) - shown
        hint = "" if shown > 1 else "; `blendbench validate` lists them"
        more = f" (and {others} more{hint})" if others > 0 else ""
        _refuse("\n".join(f"blendbench: {problem}" for problem in error.problems[:shown]) + more)
    except ModuleNotFoundError as error:
        if (extra := _EXTRAS.get(error.name or "")) is None:
            raise
        _refuse(f"blendbench: this needs the package {error.name}; install it with: pip install 'blendbench[{extra}]'")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would complain when it flushes
        sys.exit(_SIGNAL + 13)
    except OSError as error:
        from blendbench.core.files import file_error

        if (refusal := file_error(error)) is None:
            raise
        _refuse(f"blendbench: {refusal}")
    except KeyboardInterrupt:
        code = _CTRL_C
    if code == _CTRL_C and received:
        code = _SIGNAL + received[0]
    # With --json each line there is an event, and one has said it.
    if code > _SIGNAL and "--json" not in arguments:
        with contextlib.suppress(OSError):  # after SIGHUP there may be no terminal
            print("blendbench: stopped; the same command goes on where it was", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def _signals_as_ctrl_c(received: list[int]) -> Iterator[None]:
    """End on SIGTERM and SIGHUP as on Ctrl-C, and note which; one that is ignored (nohup) stays so."""

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    except RuntimeError as error:
        # DuckDB puts this in place of what a handler raises during a query.
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from error
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _verb(name: str, arguments: list[str]) -> int:
    if name not in VERBS:
        from blendbench.core.config import suggest

        raise UsageError(f"unknown command {name!r}{suggest(name, [*VERBS])}")
    import typer

    if name == "sql":
        # A query may begin with a comment, which would be read as an option.
        arguments = [f" {text}" if text.startswith("--") and "\n" in text else text for text in arguments]
    function = command(name)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    # A paragraph is one line, which the terminal's width wraps.
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    app.command(name, help="\n\n".join(" ".join(text.split()) for text in paragraphs))(function)
    # Not standalone: typer would print a wrong option as a box of several lines.
    refusal: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        return app(args=arguments, prog_name=f"blendbench {name}", standalone_mode=False) or 0
    except refusal as error:
        reason = " ".join(error.format_message().split())
        raise UsageError(f"{name}: {reason}; see `blendbench {name} --help`") from None


def command(verb: str) -> Callable[..., int | None]:
    """Return the function of a command."""
    function = f"{verb}_" if verb in ("list", "import") else verb
    module = import_module(f"blendbench.cli.{'import_' if verb == 'import' else verb}")
    found: Callable[..., int | None] = getattr(module, function)
    return found


def _refuse(message: str) -> NoReturn:
    with contextlib.suppress(OSError):  # it may go to a disk that is full
        print(message, file=sys.stderr)
    sys.exit(2)
