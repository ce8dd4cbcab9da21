"""Read TOML files into checked models, with errors that name file, field and fix."""

import difflib
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from blendbench.core.errors import UsageError

NAME = r"^[a-z0-9][a-z0-9_-]*$"  # of suites, items and experiments: they become names of files

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path, model: type[Model]) -> Model:
    """Read and check a TOML file. Errors: UsageError naming the file, the field and the mend."""
    try:
        return model.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        # A misspelt key is told before the field that is missing because of it.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            message = f"unknown key{suggest(str(first['loc'][-1]), _known_keys(model))}"
        raise UsageError(f"{path}: {field}: {message}") from None


def suggest(name: str, known: list[str]) -> str:
    """A did-you-mean for an unknown name, or the list of known ones if it is short."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
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
