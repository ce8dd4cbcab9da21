"""Suites: frozen, versioned sets of prompts and reference images.

They are read from prompts/<suite>/suite.toml.
"""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from blendbench.core.config import NAME, read_toml, suggest
from blendbench.core.errors import UsageError
from blendbench.core.files import printable
from blendbench.core.hashing import sha256_json
from blendbench.core.images import ImageError, image_identity, load_image
from blendbench.core.shipped import shipped

Split = Literal["", "dev", "test"]
PrimaryRole = Literal["prompt", "gain", "artifact", "drift"]


@dataclass(frozen=True)
class Attributes:
    """Ground truth of an image, or what a prompt states.

    `None` and `()` mean not stated.
    """

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
    content. Cells do not depend on it.

    `primaries` names the metric of a role that a headline and a budget use; `blank` and `white` show nothing; `pairs`
    are for strategies that fit, and none of them is an item's; `images` holds the
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
    """Load a shipped suite by name, or any suite by folder.

    Errors: UsageError in one line.
    """
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
    if len({item.split is None for item in file.items}) > 1:
        raise UsageError(f"{source}: items.split: some items have a split and some have none")
    image = partial(_image, folder, set())
    blank = image(file.blank, "blank")
    white = None if file.white is None else image(file.white, "white")
    pairs = tuple(
        FitPair(
            pair.caption,
            image(pair.image, f"pair {number}: image"),
            image(pair.plain, f"pair {number}: plain"),
        )
        for number, pair in enumerate(file.pairs, start=1)
    )
    items = tuple(
        Item(
            id=item.id,
            prompt=item.prompt,
            reference=image(item.reference, f"item {item.id}: reference"),
            reference_caption=item.reference_caption,
            unrelated=image(item.unrelated, f"item {item.id}: unrelated"),
            relation=item.relation,
            expect=_attributes(item.expect),
            reference_expect=_attributes(item.reference_expect),
            category=item.category,
            facts=tuple(_fact(source, item.id, fact) for fact in item.facts),
            stratum=item.stratum or item.relation,
            split=item.split or "",
        )
        for item in file.items
    )
    files = {source, blank} | {path for item in items for path in (item.reference, item.unrelated)}
    files |= {path for pair in pairs for path in (pair.image, pair.plain)} | ({white} if white else set())
    provenance = tuple(
        Provenance(image(record.file, "images: file"), record.licence, record.origin) for record in file.images
    )
    _check_recorded(source, provenance, files - {source})
    suite = Suite(
        name=file.name,
        version=file.version,
        title=file.title,
        licence=file.licence,
        items=items,
        blank=blank,
        white=white,
        pairs=pairs,
        sha256="",
        folder=folder,
        images=provenance,
        primaries=tuple(file.primary.items()),
    )
    return replace(suite, sha256=_content_sha256(suite))


def trial(suite: Suite, prompt: str | None, image: Path | None) -> Suite:
    """Return a private suite of one item.

    It is the first of `suite` with another prompt, another reference image, or both.

    What no longer holds (expected contents) is dropped. Errors: UsageError (an empty prompt, not an image).
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
    """Hash what a suite asks for and how it is reported, images by content.

    File names, titles and licences are no part of it.
    """

    def by_content(value: Any) -> Any:
        return image_identity(value) if isinstance(value, Path) else value

    items = [{key: by_content(value) for key, value in vars(item).items()} for item in suite.items]
    pairs = [{key: by_content(value) for key, value in vars(pair).items()} for pair in suite.pairs]
    for item in items:
        for key in ("expect", "reference_expect"):
            item[key] = None if item[key] is None else asdict(item[key])
        item["facts"] = [asdict(fact) for fact in item["facts"]]
    return sha256_json([items, pairs, by_content(suite.blank), by_content(suite.white), suite.primaries])


def _check_recorded(source: Path, provenance: tuple[Provenance, ...], used: set[Path]) -> None:
    """Check that licences are recorded for all images or for none."""
    recorded = {record.image for record in provenance}
    if recorded and (missing := sorted(used - recorded)):
        name = missing[0].relative_to(source.parent).as_posix()
        raise UsageError(f"{source}: images: {name!r} has no licence and origin; add it")


def _fact(source: Path, item: str, file: _FactFile) -> Fact:
    if len({file.text, *file.foils}) <= len(file.foils):
        raise UsageError(f"{source}: item {item}: facts: {file.text!r}: fact and foils must all be different")
    return Fact(file.text, tuple(file.foils))


def _attributes(file: _AttributesFile | None) -> Attributes | None:
    return None if file is None else Attributes(tuple(file.objects), file.background, file.style)


def _image(folder: Path, checked: set[Path], name: str, field: str) -> Path:
    # Items share images: what has been `checked` is not decoded again.
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(f"{folder / 'suite.toml'}: {field}: image {name!r} must lie inside the suite's folder")
    if path not in checked:
        checked.add(_loaded(path, f"{folder / 'suite.toml'}: {field}: image {name!r}"))
    return path


def _loaded(path: Path, where: str) -> Path:
    """Check that a file can be loaded as an image.

    Errors: UsageError that begins with `where`.
    """
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
