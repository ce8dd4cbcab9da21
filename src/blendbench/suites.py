"""Suites: frozen, versioned sets of prompts and reference pictures, read from prompts/<suite>/suite.toml."""

import difflib
import tomllib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_bytes, sha256_files, sha256_json
from blendbench.core.shipped import shipped

NAME = r"^[a-z0-9][a-z0-9_-]*$"  # of suites, items and experiments: they become names of files


@dataclass(frozen=True)
class Attributes:
    """Ground truth of a picture, or what a prompt states; `None` and `()` mean not stated."""

    objects: tuple[tuple[str, str], ...]  # (colour, shape)
    background: str | None = None
    style: str | None = None


@dataclass(frozen=True)
class Item:
    """One prompt with its reference picture and what must be true of the output.

    `expect` is what a network can recognise, for suites whose world is known; `facts` are short statements for readers
    and judges, each of them true of a picture that follows the prompt.
    """

    id: str
    prompt: str
    reference: Path
    reference_caption: str
    unrelated: Path
    relation: str
    expect: Attributes | None
    reference_expect: Attributes | None
    category: str | None = None
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Provenance:
    """Under which licence a picture of a suite may be passed on, and where it comes from."""

    picture: Path
    licence: str
    origin: str


@dataclass(frozen=True)
class FitPair:
    """A caption, a picture of it, and a picture of the same content in a plain style: what fits are made on."""

    caption: str
    picture: Path
    plain: Path


@dataclass(frozen=True)
class Suite:
    """A frozen set of items; `sha256` covers suite.toml and every picture that it names.

    `blank` and `white` show nothing; `pairs` are for strategies that fit, and none of them is an item's; `pictures`
    holds the licence of each picture where `licence` does not hold for all.
    """

    name: str
    version: int
    title: str
    licence: str
    items: tuple[Item, ...]
    blank: Path
    white: Path | None
    pairs: tuple[FitPair, ...]
    sha256: str
    folder: Path
    pictures: tuple[Provenance, ...] = ()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _AttributesFile(_Strict):
    objects: list[tuple[str, str]] = Field(default_factory=list)
    background: str | None = None
    style: str | None = None


class _ItemFile(_Strict):
    id: str = Field(pattern=NAME)
    prompt: str = Field(pattern=r"\S")
    reference: str
    reference_caption: str
    unrelated: str
    relation: Literal["matched", "unrelated"]
    expect: _AttributesFile | None = None
    reference_expect: _AttributesFile | None = None
    category: str | None = Field(default=None, pattern=NAME)
    facts: list[Annotated[str, Field(pattern=r"\S")]] = Field(default_factory=list)


class _ProvenanceFile(_Strict):
    file: str
    licence: str = Field(pattern=r"\S")
    origin: str = Field(pattern=r"\S")


class _PairFile(_Strict):
    caption: str = Field(pattern=r"\S")
    picture: str
    plain: str


class _SuiteFile(_Strict):
    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    title: str
    licence: str
    blank: str
    white: str | None = None
    items: list[_ItemFile] = Field(min_length=1)
    pairs: list[_PairFile] = Field(default_factory=list)
    pictures: list[_ProvenanceFile] = Field(default_factory=list)


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


def list_suites() -> list[str]:
    """Names of the shipped suites."""
    return sorted(path.parent.name for path in shipped("prompts").glob("*/suite.toml"))


def load_suite(name_or_folder: str | Path) -> Suite:
    """Load a shipped suite by name, or any suite by folder. Errors: UsageError in one line."""
    folder = Path(name_or_folder)
    if not (folder / "suite.toml").is_file():
        folder = shipped("prompts") / str(name_or_folder)
    if not (folder / "suite.toml").is_file():
        raise UsageError(f"unknown suite {str(name_or_folder)!r}{suggest(str(name_or_folder), list_suites())}")
    folder = folder.absolute()
    source = folder / "suite.toml"
    file = read_toml(source, _SuiteFile)
    seen: set[str] = set()
    for item in file.items:
        if item.id in seen:
            raise UsageError(f"{source}: items.id: {item.id!r} occurs twice; ids must be unique")
        seen.add(item.id)
    picture = partial(_picture, folder, set())
    blank = picture(file.blank, "blank")
    white = None if file.white is None else picture(file.white, "white")
    pairs = tuple(
        FitPair(
            pair.caption,
            picture(pair.picture, f"pair {number}: picture"),
            picture(pair.plain, f"pair {number}: plain"),
        )
        for number, pair in enumerate(file.pairs, start=1)
    )
    items = tuple(
        Item(
            id=item.id,
            prompt=item.prompt,
            reference=picture(item.reference, f"item {item.id}: reference"),
            reference_caption=item.reference_caption,
            unrelated=picture(item.unrelated, f"item {item.id}: unrelated"),
            relation=item.relation,
            expect=_attributes(item.expect),
            reference_expect=_attributes(item.reference_expect),
            category=item.category,
            facts=tuple(item.facts),
        )
        for item in file.items
    )
    files = {source, blank} | {path for item in items for path in (item.reference, item.unrelated)}
    files |= {path for pair in pairs for path in (pair.picture, pair.plain)} | ({white} if white else set())
    provenance = tuple(
        Provenance(picture(record.file, "pictures: file"), record.licence, record.origin) for record in file.pictures
    )
    _check_recorded(source, provenance, files - {source})
    return Suite(
        name=file.name, version=file.version, title=file.title, licence=file.licence, items=items, blank=blank,
        white=white, pairs=pairs, sha256=sha256_files(list(files), folder), folder=folder,
        pictures=provenance,
    )  # fmt: skip


def trial(suite: Suite, prompt: str | None, picture: Path | None) -> Suite:
    """A private suite of one item: the first of `suite` with another prompt, another reference picture, or both.

    What no longer holds (expected contents) is dropped. Errors: UsageError (an empty prompt, not a picture).
    """
    first = suite.items[0]
    if prompt is not None and not prompt.strip():
        raise UsageError("--prompt: the prompt is empty")
    path = first.reference if picture is None else _opened(picture.absolute(), f"--image {picture}")
    item = replace(
        first,
        id="trial",
        prompt=first.prompt if prompt is None else prompt,
        reference=path,
        reference_caption=first.reference_caption if picture is None else "",
        relation="unrelated",
        expect=first.expect if prompt is None else None,
        facts=first.facts if prompt is None else (),
        reference_expect=first.reference_expect if picture is None else None,
    )
    sha256 = sha256_json([suite.sha256, item.prompt, sha256_bytes(path.read_bytes())])
    return replace(suite, name=f"{suite.name}-trial", items=(item,), sha256=sha256)


def _check_recorded(source: Path, provenance: tuple[Provenance, ...], used: set[Path]) -> None:
    """A suite records the licence of all its pictures one by one, or of none."""
    recorded = {record.picture for record in provenance}
    if recorded and (missing := sorted(used - recorded)):
        name = missing[0].relative_to(source.parent).as_posix()
        raise UsageError(f"{source}: pictures: {name!r} has no licence and origin; add it")


def _attributes(file: _AttributesFile | None) -> Attributes | None:
    return None if file is None else Attributes(tuple(file.objects), file.background, file.style)


def _picture(folder: Path, checked: set[Path], name: str, field: str) -> Path:
    # Items share pictures: what has been `checked` is not decoded again.
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(f"{folder / 'suite.toml'}: {field}: picture {name!r} must lie inside the suite's folder")
    if path not in checked:
        checked.add(_opened(path, f"{folder / 'suite.toml'}: {field}: picture {name!r}"))
    return path


def _opened(path: Path, where: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{where} is missing")
    try:
        with Image.open(path) as picture:
            picture.load()  # verify() reads no pixel of a JPEG
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{where} is not a readable picture: {error}") from None
    return path
