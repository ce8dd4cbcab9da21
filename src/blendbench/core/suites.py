"""Suites: frozen, versioned prompts and references of prompts/*/suite.toml."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blendbench.core.config import NAME, checked, suggest, toml_content
from blendbench.core.errors import Problems, UsageError
from blendbench.core.files import printable
from blendbench.core.hashing import sha256_json
from blendbench.core.images import ImageError, image_identity, load_image
from blendbench.core.shipped import shipped

Split = Literal["", "dev", "test"]
PrimaryRole = Literal["prompt", "gain", "artifact", "drift"]
_DECODED_AT_ONCE = 4


@dataclass(frozen=True)
class Attributes:
    """Ground truth of an image, or of a prompt; `None` and `()`: not stated."""

    objects: tuple[tuple[str, str], ...]  # (colour, shape)
    background: str | None = None
    style: str | None = None


@dataclass(frozen=True)
class Fact:
    """A short statement that is true of an image that follows its prompt.

    `foils` are like it and false: a judge that knows no probability of its own is asked which of them fits best. A fact
    without foils is for readers alone.
    """

    text: str
    foils: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One prompt with its reference image and what must be true of the output.

    `expect` is what a network can recognise, for suites whose world is known; `facts` are what a judge is asked
    about. `stratum` is the group that the bootstrap keeps
    apart; `split` says whether the item is one to tune on or one to report, "" in a suite that is not split.
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
    facts: tuple[Fact, ...] = ()
    stratum: str = ""
    split: Split = ""


@dataclass(frozen=True)
class Provenance:
    """Licence and origin of an image of a suite."""

    image: Path
    licence: str
    origin: str


@dataclass(frozen=True)
class FitPair:
    """A caption with an image of it and a plain-style image, to fit on."""

    caption: str
    image: Path
    plain: Path


@dataclass(frozen=True)
class Suite:
    """A frozen set of items.

    `sha256` covers what is asked and how it is reported: prompts, facts, strata, splits and primaries, and images by
    content. Cells do not depend on it. `primaries` names the metric of a role that a headline and a budget use; `blank`
    and `white` show nothing; `pairs` are for strategies that fit, and none of them is an item's; `images` holds the
    licence of each image where `licence` does not hold for all.
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
    images: tuple[Provenance, ...] = ()
    primaries: tuple[tuple[str, str], ...] = ()

    def of_split(self, split: Split) -> tuple[Item, ...]:
        """Return the items of a split, all for "". Errors: UsageError for none."""
        items = tuple(item for item in self.items if split in ("", item.split))
        if not items:
            raise UsageError(f"{self.name}: the suite has no {split} items")
        return items


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _AttributesFile(_Strict):
    objects: list[tuple[str, str]] = Field(default_factory=list)
    background: str | None = None
    style: str | None = None


class _FactFile(_Strict):
    text: str = Field(pattern=r"\S")
    foils: list[Annotated[str, Field(pattern=r"\S")]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _all_different(self) -> "_FactFile":
        if len({self.text, *self.foils}) <= len(self.foils):
            raise ValueError(f"{self.text!r}: fact and foils must all be different")
        return self


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
    stratum: str | None = Field(default=None, pattern=r"\S")
    split: Literal["dev", "test"] | None = None
    facts: list[_FactFile] = Field(default_factory=list)


class _ProvenanceFile(_Strict):
    file: str
    licence: str = Field(pattern=r"\S")
    origin: str = Field(pattern=r"\S")


class _PairFile(_Strict):
    caption: str = Field(pattern=r"\S")
    image: str
    plain: str


class _SuiteFile(_Strict):
    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    title: str
    licence: str
    blank: str
    white: str | None = None
    primary: dict[PrimaryRole, Annotated[str, Field(pattern=NAME)]] = Field(default_factory=dict)
    items: list[_ItemFile] = Field(min_length=1)
    pairs: list[_PairFile] = Field(default_factory=list)
    images: list[_ProvenanceFile] = Field(default_factory=list)


def list_suites() -> list[str]:
    """Return the names of the shipped suites."""
    return sorted(path.parent.name for path in shipped("prompts").glob("*/suite.toml"))


def load_suite(name_or_folder: str | Path) -> Suite:
    """Load a suite by shipped name or by folder. Errors: UsageError."""
    folder = _suite_folder(str(name_or_folder))
    file = _checked_file(folder)
    pairs = tuple(FitPair(pair.caption, folder / pair.image, folder / pair.plain) for pair in file.pairs)
    items = tuple(
        Item(
            id=item.id,
            prompt=item.prompt,
            reference=folder / item.reference,
            reference_caption=item.reference_caption,
            unrelated=folder / item.unrelated,
            relation=item.relation,
            expect=_attributes(item.expect),
            reference_expect=_attributes(item.reference_expect),
            category=item.category,
            facts=tuple(Fact(fact.text, tuple(fact.foils)) for fact in item.facts),
            stratum=item.stratum or item.relation,
            split=item.split or "",
        )
        for item in file.items
    )
    suite = Suite(
        name=file.name,
        version=file.version,
        title=file.title,
        licence=file.licence,
        items=items,
        blank=folder / file.blank,
        white=None if file.white is None else folder / file.white,
        pairs=pairs,
        sha256="",
        folder=folder,
        images=tuple(Provenance(folder / record.file, record.licence, record.origin) for record in file.images),
        primaries=tuple(file.primary.items()),
    )
    return replace(suite, sha256=_content_sha256(suite))


def _suite_folder(name_or_folder: str) -> Path:
    """Find a suite; a shipped name is never a folder that happens to be here."""
    folder = Path(name_or_folder)
    if name_or_folder in list_suites() or not (folder / "suite.toml").is_file():
        folder = shipped("prompts") / name_or_folder
    if not (folder / "suite.toml").is_file():
        raise UsageError(f"unknown suite {name_or_folder!r}{suggest(name_or_folder, list_suites())}")
    return folder.absolute()


def _checked_file(folder: Path) -> _SuiteFile:
    """Check fields, images and rules of a suite.toml. Errors: UsageError."""
    source = folder / "suite.toml"
    content = toml_content(source)
    problems = Problems()
    with problems.collected():
        file = checked(content, _SuiteFile, printable(source))
    images = partial(_image, folder, set())
    named = list(_images_named_in(content))
    # Decoded several at a time, few enough for their memory; what is wrong with one is said in its turn.
    with ThreadPoolExecutor(_DECODED_AT_ONCE) as pool:
        pool.map(partial(_image, folder, set()), [name for _, name in named], [field for field, _ in named])
    for field, name in named:
        with problems.collected():
            images(name, field)
    problems.add(*(f"{printable(source)}: {line}" for line in _broken_rules(content)))
    problems.check()
    return file


def _rows(content: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """Return the well-formed rows of an array of tables of an unchecked file."""
    rows = content.get(table)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _images_named_in(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, name) of every image that an unchecked file names."""
    fields = [("blank", content.get("blank")), ("white", content.get("white"))]
    for number, pair in enumerate(_rows(content, "pairs"), start=1):
        fields += [(f"pair {number}: {key}", pair.get(key)) for key in ("image", "plain")]
    for item in _rows(content, "items"):
        fields += [(f"item {item.get('id')}: {key}", item.get(key)) for key in ("reference", "unrelated")]
    fields += [("images: file", record.get("file")) for record in _rows(content, "images")]
    yield from ((field, name) for field, name in fields if isinstance(name, str))


def _broken_rules(content: dict[str, Any]) -> Iterator[str]:
    items = _rows(content, "items")
    ids = Counter(str(item.get("id")) for item in items)
    for name in (name for name, count in ids.items() if count > 1):
        yield f"items.id: {name!r} occurs twice; ids must be unique"
    if len({item.get("split") is None for item in items}) > 1:
        yield "items.split: some items have a split and some have none"
    recorded = {name for field, name in _images_named_in(content) if field == "images: file"}
    used = {name for _, name in _images_named_in(content)}
    if recorded:
        for name in sorted(used - recorded):
            yield f"images: {name!r} has no licence and origin; add it"


def trial(suite: Suite, prompt: str | None, image: Path | None) -> Suite:
    """Return a private suite of one item.

    It is the first of `suite` with another prompt, another reference image, or both. What no longer holds (expected
    contents) is dropped. Errors: UsageError (an empty prompt, not an image).
    """
    first = suite.items[0]
    if prompt is not None and not prompt.strip():
        raise UsageError("--prompt: the prompt is empty")
    path = first.reference if image is None else _loaded(image.absolute(), f"--image {image}")
    item = replace(
        first,
        id="trial",
        prompt=first.prompt if prompt is None else prompt,
        reference=path,
        reference_caption=first.reference_caption if image is None else "",
        relation="unrelated",
        stratum="unrelated",
        split="",
        expect=first.expect if prompt is None else None,
        facts=first.facts if prompt is None else (),
        reference_expect=first.reference_expect if image is None else None,
    )
    one = replace(suite, name=f"{suite.name}-trial", items=(item,))
    return replace(one, sha256=_content_sha256(one))


def _content_sha256(suite: Suite) -> str:
    """Hash what a suite asks for and how it is reported, images by content."""

    def by_content(value: Any) -> Any:
        return image_identity(value) if isinstance(value, Path) else value

    items = [{key: by_content(value) for key, value in vars(item).items()} for item in suite.items]
    pairs = [{key: by_content(value) for key, value in vars(pair).items()} for pair in suite.pairs]
    for item in items:
        for key in ("expect", "reference_expect"):
            item[key] = None if item[key] is None else vars(item[key])
        item["facts"] = [vars(fact) for fact in item["facts"]]
    return sha256_json([items, pairs, by_content(suite.blank), by_content(suite.white), suite.primaries])


def _attributes(file: _AttributesFile | None) -> Attributes | None:
    return None if file is None else Attributes(tuple(file.objects), file.background, file.style)


def _image(folder: Path, seen: set[Path], name: str, field: str) -> None:
    # Items share images: what has been `seen` is not decoded again.
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(f"{folder / 'suite.toml'}: {field}: image {name!r} must lie inside the suite's folder")
    if path not in seen:
        seen.add(path)
        _loaded(path, f"{folder / 'suite.toml'}: {field}: image {name!r}")


def _loaded(path: Path, where: str) -> Path:
    """Check that an image can be loaded. Errors: UsageError naming `where`."""
    try:
        _check_image(path, _state(path))
    except ImageError as error:
        # The path stands in `where` already.
        raise UsageError(f"{where}: {str(error).removeprefix(f'{printable(path)}: ')}") from None
    return path


@lru_cache(maxsize=4096)
def _check_image(path: Path, _state: tuple[int, ...] | None) -> None:
    load_image(path)  # in a long session once, as long as the file stays the same


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):  # a null byte in the name
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ino)
