"""Read TOML files into checked models; errors name file, field and fix."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from blendbench.core.errors import UsageError, one_line
from blendbench.core.files import printable, read_file

BYTE_LIMIT = 8 * 1024 * 1024
NAME = r"^[a-z0-9][a-z0-9_-]*$"  # of suites, items and experiments: they become names of files

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A table of a file: unknown keys and other types are refused, as `seeds = [true]`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read_toml(path: Path, model: type[Model]) -> Model:
    """Read and check a TOML file of at most 8 MiB.

    Errors: UsageError naming the file, the field and the fix.
    """
    return checked(toml_content(path), model, printable(path))


def toml_content(path: Path) -> dict[str, Any]:
    """Parse a TOML file of at most 8 MiB; do not change what it returns. Errors: UsageError."""
    try:
        return _parsed(read_file(path, BYTE_LIMIT))
    except RecursionError:
        raise UsageError(f"{printable(path)}: nested too deeply; write it flatter") from None
    except ValueError as error:  # bad TOML, bad UTF-8, or an integer of thousands of digits
        raise UsageError(f"{printable(path)}: not valid TOML: {one_line(error)}") from None


# A suite of hundreds of items takes half a second, and a process that checks one file after another reads it each time.
@lru_cache(maxsize=8)
def _parsed(content: bytes) -> dict[str, Any]:
    # Editors on Windows put a byte-order mark in front.
    return tomllib.loads(content.decode("utf-8-sig"))


def checked(content: object, model: type[Model], where: str) -> Model:
    """Check a mapping against a model.

    Errors: UsageError with every field that is wrong, each line beginning with `where`.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = [one_line(f"{where}: {line}") for line in _explained(error, model)]
        raise UsageError(*dict.fromkeys(lines)) from None


def _explained(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """Describe wrong fields, misspelt keys first and not as missing too."""
    meant: set[tuple[int | str, ...]] = set()
    for found in sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden"):
        *place, key = found["loc"] or ("",)
        field = one_line(".".join(map(str, found["loc"])), 100)
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            hint = suggest(str(key), _known_keys(model))
            meant.update((*place, known) for known in re.findall("did you mean '(.*)'", hint))
            message = f"unknown key{hint}"
        elif found["type"] == "missing" and found["loc"] in meant:
            continue
        yield ": ".join(part for part in (field, message) if part)


def placed(file: Path, name: str, shipped: list[str]) -> str:
    """Return what a file names: a shipped name, or a path relative to the file."""
    return name if name in shipped else str(file.parent / name)


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
