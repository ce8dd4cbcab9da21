"""Read TOML files into checked models; errors name file, field and fix."""

import difflib
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, read_file

BYTE_LIMIT = 8 * 1024 * 1024
NAME = r"^[a-z0-9][a-z0-9_-]*$"  # of suites, items and experiments: they become names of files

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, model: type[Model]) -> Model:
    """Read and check a TOML file of at most 8 MiB.

    Errors: UsageError naming the file, the field and the fix.
    """
    try:
        # Editors on Windows put a byte-order mark in front.
        content = tomllib.loads(read_file(path, BYTE_LIMIT).decode("utf-8-sig"))
    except RecursionError:
        raise UsageError(f"{printable(path)}: nested too deeply; write it flatter") from None
    except ValueError as error:  # bad TOML, bad UTF-8, or an integer of thousands of digits
        raise UsageError(f"{printable(path)}: not valid TOML: {one_line(error)}") from None
    return checked(content, model, printable(path))


def checked(content: object, model: type[Model], where: str) -> Model:
    """Check a mapping against a model.

    Errors: UsageError that begins with `where`.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # A misspelt key explains the field that is missing because of it.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        field = one_line(".".join(str(part) for part in first["loc"]), 100)
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key{suggest(str(first['loc'][-1]), _known_keys(model))}"
        raise UsageError(one_line(": ".join(part for part in (where, field, message) if part))) from None


def one_line(text: object, longest: int = 500) -> str:
    """Return a text as one printable line of limited length."""
    line = " ".join(str(text).split())
    line = line if line.isprintable() else ascii(line)[1:-1]
    return line if len(line) <= longest else f"{line[: longest - 4]} ..."


def suggest(name: str, known: list[str]) -> str:
    """Return a did-you-mean for an unknown name, or a list of known ones."""
    name = one_line(name, 100)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close and close[0] != name:  # a known key of another table
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(sorted(known))}" if known and len(known) < 40 else ""


def _known_keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(name)
        for nested in _nested(field.annotation):
            keys += _known_keys(nested)
    return sorted(set(keys))


def _nested(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in getattr(annotation, "__args__", ()) for model in _nested(part)]
