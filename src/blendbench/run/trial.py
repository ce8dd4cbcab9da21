"""Try strategies on made-up tokens of the models' sizes, before anything is loaded.

The blender of a run calls them, so that what fails here fails there with the same words.
"""

import functools
import math
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from blendbench.core.conditioning import Denoising
from blendbench.core.images import image_size
from blendbench.core.suites import Suite
from blendbench.core.tokens import Kind, Tokens
from blendbench.models.sets import ModelSet
from blendbench.registry.entries import SHIPPED
from blendbench.registry.strategies import Configuration
from blendbench.run.blend import Blender, BlendFailedError
from blendbench.run.inputs import InputError, View, inputs_of
from blendbench.run.plan import Cell

# Tokens of a chat template before and after the user's text.
_BEFORE, _AFTER = 3, 5
_CORPUS = 4  # prompts that stand for those of the whole suite
_NARROW = 256  # values of a token, enough for shipped code: some of it takes the third power of them
_SECONDS = 1.0  # for further doses of a strategy of the user's; one is always tried

Grid = tuple[int, int]


class MadeUpStates:
    """Random hidden states with the kinds and lengths of real ones.

    A caption has the fewest tokens that its words can become, one each: a length that is refused here is too long.
    """

    def __init__(self, models: ModelSet, width: int) -> None:
        self.models, self.width = models, width
        self._kept = functools.lru_cache(maxsize=16)(self._made)

    @property
    def denoising(self) -> Denoising:
        """Return the facts about the sampling that strategies may use."""
        return self.models.denoising

    def tokens(self, view: View, layer: int | None = None) -> Tokens:  # noqa: ARG002 - one layer is as another
        """Return made-up tokens of a view. Errors: InputError."""
        return self._kept(view)

    def _made(self, view: View) -> Tokens:
        grid = None if view.image is None else grid_of(self.models, view.image)
        image = [Kind.MARKER, *[Kind.IMAGE] * math.prod(grid), Kind.MARKER] if grid else []
        words = [Kind.TEXT] * len(view.prompt.split())
        kinds = [*[Kind.TEMPLATE] * _BEFORE, *image, *words, *[Kind.TEMPLATE] * _AFTER]
        # Views differ, so that differences between them are not zero.
        generator = torch.Generator().manual_seed(zlib.crc32(repr(view).encode()))
        hidden = torch.randn(len(kinds), self.width, generator=generator)
        return Tokens(hidden, torch.tensor([int(kind) for kind in kinds]), grid)


def grid_of(models: ModelSet, image: Path) -> Grid:
    """Return rows and columns of an image's tokens. Errors: InputError."""
    try:
        return models.image_tokens.grid(*image_size(image))
    except ValueError as error:
        raise InputError(str(error)) from error


@dataclass(frozen=True)
class _Case:
    """Cells that differ in nothing that a trial can see."""

    grids: tuple[Grid, ...]
    cells: list[Cell]

    @property
    def size(self) -> tuple[float, int]:
        """Return the dose and the number of image tokens, both of which lengthen a conditioning."""
        return abs(self.cells[0].configuration.dose or 0), sum(map(math.prod, self.grids))


class Trial:
    """Tries cells of one plan."""

    def __init__(self, models: ModelSet, suite: Suite) -> None:
        self.models, self.has_pairs = models, bool(suite.pairs)
        self._few = replace(suite, items=suite.items[:_CORPUS])
        self._grid = functools.cache(functools.partial(grid_of, models))
        self._read: dict[object, tuple[Grid, ...]] = {}
        self._blenders: dict[int, Blender] = {}

    def failures(self, cells: Iterable[Cell], done: Iterable[Cell]) -> Iterator[tuple[Cell, str]]:
        """Yield those of `cells` that cannot be blended, each with the reason.

        Of the doses and image sizes of a strategy the largest is tried, and the others only if that fails; of a
        strategy of the user's the others are tried too, for a second. What `done` shows to work is not tried.
        """
        families: defaultdict[str, dict[object, _Case]] = defaultdict(dict)
        for configuration, group in _by_configuration(cells):
            cases = families[configuration.family]
            for cell in group:
                try:
                    grids = self._grids(cell)
                except InputError as error:
                    yield cell, str(error)
                    continue
                cases.setdefault((id(configuration), grids), _Case(grids, [])).cells.append(cell)
        for configuration, group in _by_configuration(done):
            if cases := families.get(configuration.family, {}):
                for cell in group:
                    cases.pop((id(configuration), self._grids(cell)), None)
        for cases in families.values():
            yield from self._tried(sorted(cases.values(), key=lambda case: case.size, reverse=True))

    def _tried(self, cases: list[_Case]) -> Iterator[tuple[Cell, str]]:
        if not cases:
            return
        strategy, failed = cases[0].cells[0].configuration.strategy, False
        if "pairs" in strategy.inputs and self.has_pairs:
            return  # a fit on made-up pairs takes as long as one on real ones, and shows less
        end = math.inf
        for case in cases:
            if not failed and end is not math.inf and (strategy.origin == SHIPPED or time.monotonic() > end):
                return
            reason = self._reason(case)
            end = min(end, time.monotonic() + _SECONDS)
            if reason is not None:
                failed = True
                yield from ((cell, reason) for cell in case.cells)

    def _reason(self, case: _Case) -> str | None:
        try:
            self._blender(case.cells[0].configuration).blend(case.cells[0])
        except BlendFailedError as error:
            return str(error)
        return None

    def _blender(self, configuration: Configuration) -> Blender:
        width = self.models.facts.caption_width
        if configuration.strategy.origin == SHIPPED:
            # Only a setting that is an index could depend on the width.
            indices = (value + 1 for value in configuration.params.values() if isinstance(value, int))
            width = min(width, max(_NARROW, *indices, 0))
        if width not in self._blenders:
            self._blenders[width] = Blender(MadeUpStates(self.models, width), self._few, self.models)
        return self._blenders[width]

    def _grids(self, cell: Cell) -> tuple[Grid, ...]:
        """Return the sizes in tokens of the images that a cell reads, but for pairs."""
        configuration = cell.configuration
        read = (configuration.strategy.inputs, *map(configuration.params.get, ("reference", "neutral_picture")))
        key = (read, cell.item.id)
        if key not in self._read:
            entries = inputs_of(configuration, cell.item, self._few)
            images = [entry.view.image for entry in entries if entry.part != "pairs"]
            self._read[key] = tuple(self._grid(image) for image in images if image is not None)
        return self._read[key]


def _by_configuration(cells: Iterable[Cell]) -> list[tuple[Configuration, list[Cell]]]:
    groups: dict[int, tuple[Configuration, list[Cell]]] = {}
    for cell in cells:
        groups.setdefault(id(cell.configuration), (cell.configuration, []))[1].append(cell)
    return list(groups.values())
