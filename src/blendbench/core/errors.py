"""Errors that reach the user as one line."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_LONGEST = 500  # characters of a message: those of CUDA are pages
_LONGEST_LINE = 1500  # with file, field and fix


def one_line(text: object, longest: int = _LONGEST) -> str:
    """Return a text as one printable line of limited length."""
    line = " ".join(str(text).split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= longest else f"{line[: longest - 4]} ..."


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UsageError(Exception):
    """Bad input: the message names the file, the field and the fix.

    The command line exits with code 2. `problems` are all that were found, a line each; the message is the first.
    They quote files, so each is made one printable line: it cannot move a terminal's cursor.
    """

    def __init__(self, *problems: object) -> None:
        self.problems = tuple(one_line(problem, _LONGEST_LINE) for problem in problems)
        super().__init__(self.problems[0])


class Problems:
    """Collect what several checks find, to raise it together."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}  # two checks may find the same

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def add(self, *lines: str) -> None:
        """Add problems, a line each."""
        self._lines.update(dict.fromkeys(lines))

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect a UsageError of the block instead of raising it."""
        try:
            yield
        except UsageError as error:
            self.add(*error.problems)

    def check(self) -> None:
        """Raise what was collected, if anything. Errors: UsageError."""
        if self._lines:
            raise UsageError(*self._lines)


def described(error: BaseException, own: Path | None = None) -> str:
    """Describe any error in one line: its type, message, and where it arose.

    The place is the innermost line of code in the folder `own`, else of this package: deeper ones are libraries'.
    """
    message = one_line(error)
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    of_package = [f"{path.relative_to(_PACKAGE.parent)}:{line}" for path, line in frames if _PACKAGE in path.parents]
    of_own = [f"{path.name}:{line}" for path, line in frames if own in path.parents and _PACKAGE not in path.parents]
    places = of_own or of_package
    return f"{type(error).__name__}{f': {message}' if message else ''}{f' ({places[-1]})' if places else ''}"
