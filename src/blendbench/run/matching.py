"""Find out which item and which noise each image of a folder belongs to, and pair it with a baseline's."""

import functools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from blendbench.core.config import suggest
from blendbench.core.errors import Problems, UsageError
from blendbench.core.files import printable
from blendbench.core.image_notes import image_notes, seed_of
from blendbench.core.images import image_files
from blendbench.core.suites import Suite
from blendbench.core.tables import csv_rows

_PLACEHOLDERS = {"item": r"(?P<item>[a-z0-9][a-z0-9_-]*?)", "seed": r"(?P<seed>\d{1,20})", "any": ".*?"}
Unit = tuple[str, int]  # item, and the number of the image among the item's


@dataclass(frozen=True)
class Found:
    """An image with its item; `noise_seed` is None where nothing says it."""

    path: Path
    item: str
    noise_seed: int | None


@dataclass(frozen=True)
class Matched:
    """The images of a folder that belong to items, and why the others do not."""

    images: tuple[Found, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Naming:
    """How a folder says what its images are: a table, a pattern of file names, or neither (its files' notes).

    `table`: rows of `file`, `item` or `prompt`, and `seed`, by file name. `pattern`: as of `file_pattern`.
    """

    table: Mapping[str, Mapping[str, str]] | None = None
    pattern: re.Pattern[str] | None = None


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """Read a .csv with the columns file, item or prompt, and seed. Errors: UsageError."""
    columns, rows = csv_rows(path, printable(path))
    if "file" not in columns or not columns & {"item", "prompt"}:
        raise UsageError(f"{printable(path)}: the first line must name the columns file, and item or prompt")
    table: dict[str, dict[str, str]] = {}
    problems = Problems()
    for number, row in rows:
        if not (name := PureWindowsPath(row.get("file", "")).name):  # either kind of slash
            continue
        line = f"{printable(path)}: line {number}"
        if any(table.get(name, row).get(key) != row.get(key) for key in ("item", "prompt", "seed")):
            problems.add(f"{line}: another line says otherwise of {printable(name)}; give each file a name of its own")
        if row.get("seed") and seed_of(row["seed"]) is None:
            problems.add(f"{line}: seed = {row['seed'][:30]!r}; write a whole number from 0, or nothing")
        table[name] = row
    problems.check()
    return table


def file_pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern of file names without their suffix: {item}, {seed}, {any}. Errors: UsageError."""
    parts = re.split(r"\{(\w*)\}", text)
    for name in parts[1::2]:
        if name not in _PLACEHOLDERS:
            raise UsageError(f"--pattern {text}: {{{name}}}: write {{item}}, {{seed}} or {{any}}{suggest(name, [])}")
    if parts[1::2].count("item") != 1 or parts[1::2].count("seed") > 1:
        raise UsageError(f"--pattern {text}: needs {{item}} once and {{seed}} at most once")
    return re.compile("".join(_PLACEHOLDERS[part] if n % 2 else re.escape(part) for n, part in enumerate(parts)))


def match(folder: Path, suite: Suite, naming: Naming) -> Matched:
    """Match images of a folder to items. Errors: UsageError if none belongs."""
    listed = image_files(folder)
    by_prompt: defaultdict[str, list[str]] = defaultdict(list)
    for item in suite.items:
        by_prompt[_plain(item.prompt)].append(item.id)
    ids = {item.id for item in suite.items}
    images: dict[tuple[str, int | str], Found] = {}
    left_out = []
    for path in listed.images:
        name, seed, why = _named(path, naming, ids, by_prompt)
        place = (name, path.name if seed is None else seed)
        if not why and place in images:
            why = f"the same item and seed as {printable(images[place].path.name)}"
        if why:
            left_out.append(f"{printable(path.name)}: {why}")
        else:
            images[place] = Found(path, name, seed)
    if not images:
        why = f": {left_out[0]}" if left_out else ""
        raise UsageError(f"{printable(folder)}: no image of an item of {suite.name}{why}; see --pattern and --csv")
    return Matched(tuple(images.values()), tuple(left_out))


def _named(
    path: Path, naming: Naming, ids: set[str], by_prompt: Mapping[str, list[str]]
) -> tuple[str, int | None, str]:
    """Return item and seed of a file, or the reason why they are not known."""
    item, prompt, seed, why = "", None, None, ""
    if naming.table is not None:
        row = naming.table.get(path.name, {})
        why = "" if row else "not in the table"
        item, prompt, seed = row.get("item", ""), row.get("prompt"), seed_of(row.get("seed"))
    elif naming.pattern is not None:
        found = naming.pattern.fullmatch(path.stem)
        fits = {one: whole for one in sorted(ids) if (whole := _of_item(naming.pattern, one).fullmatch(path.stem))}
        fit = next(iter(fits.values()), found)
        groups = fit.groupdict() if fit else {}
        item, seed = groups.get("item", ""), seed_of(groups.get("seed"))
        why = "" if found else "its name does not fit the pattern"
        if len(fits) > 1:
            why = f"its name fits the items {' and '.join(fits)}; make the pattern exact"
    else:
        notes = image_notes(path)
        prompt, seed = notes.prompt, notes.seed
    if not why and not item:
        same = by_prompt.get(_plain(prompt or ""), [])
        item = same[0] if len(same) == 1 else ""
        number = f"{len(same)} items" if same else "no item"
        why = f"{number} of the suite has its prompt {prompt[:60]!r}" if prompt else "the file does not say its prompt"
        why = "" if item else why
    elif not why and item not in ids:
        why = f"the suite has no item {item!r}{suggest(item, [*ids])}"
    return item, seed, why


@functools.cache
def _of_item(pattern: re.Pattern[str], item: str) -> re.Pattern[str]:
    return re.compile(pattern.pattern.replace(_PLACEHOLDERS["item"], f"(?P<item>{re.escape(item)})"))


def _plain(prompt: str) -> str:
    return " ".join(prompt.split()).strip(" ,").casefold()


@dataclass(frozen=True)
class Pairing:
    """Images of a candidate and a baseline by unit, both with every number of every item.

    `numbered`: all images of the baseline by unit. `left_out`: why images are in neither.
    """

    items: tuple[str, ...]
    numbers: tuple[int, ...]
    candidate: Mapping[Unit, Found]
    baseline: Mapping[Unit, Found]
    numbered: Mapping[Unit, Found]
    left_out: tuple[str, ...]

    @property
    def same_noise(self) -> int:
        """Return how many pairs are known to begin from the same noise."""
        seeds = ((image.noise_seed, self.baseline[unit].noise_seed) for unit, image in self.candidate.items())
        return sum(own is not None and own == other for own, other in seeds)


def pair(candidate: Sequence[Found], baseline: Sequence[Found]) -> Pairing:
    """Pair images of equal items: by seed, and what is left in the order of seeds and names.

    Of each item an equal number of pairs is kept, so many that the most pairs are. Errors: UsageError without any.
    """
    numbered = {(item, n): image for item, own in _by_item(baseline).items() for n, image in enumerate(own)}
    paired: dict[Unit, Found] = {}
    for item, own in _by_item(candidate).items():
        places = [unit for unit in numbered if unit[0] == item]
        by_seed = {numbered[unit].noise_seed: unit for unit in places if numbered[unit].noise_seed is not None}
        fitting = {by_seed[image.noise_seed]: image for image in own if image.noise_seed in by_seed}
        rest = [image for image in own if image not in fitting.values()]
        paired |= fitting | dict(zip((unit for unit in places if unit not in fitting), rest, strict=False))
    if not paired:
        raise UsageError("no item has an image in both folders; the baseline is the same prompts without the blend")
    items, numbers = _rectangle(paired)
    kept = {(item, number): paired[item, number] for item in items for number in numbers}
    without = [image for image in candidate if image not in kept.values()]
    left_out = [f"{printable(image.path.name)}: no baseline image is left for item {image.item}" for image in without]
    return Pairing(items, numbers, kept, {unit: numbered[unit] for unit in kept}, numbered, tuple(left_out))


def _by_item(images: Sequence[Found]) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for image in sorted(images, key=lambda i: (i.noise_seed is None, i.noise_seed or 0, i.path.name)):
        found.setdefault(image.item, []).append(image)
    return found


def _rectangle(units: Mapping[Unit, Found]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Choose numbers and the items that have all of them, so that most units are kept."""
    having: defaultdict[int, set[str]] = defaultdict(set)
    for item, number in units:
        having[number].add(item)
    order = sorted(having, key=lambda number: (-len(having[number]), number))
    choices = [(order[: n + 1], set.intersection(*(having[k] for k in order[: n + 1]))) for n in range(len(order))]
    numbers, items = max(choices, key=lambda choice: len(choice[0]) * len(choice[1]))
    return tuple(sorted(items)), tuple(sorted(numbers))
