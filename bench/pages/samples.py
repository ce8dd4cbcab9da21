"""Samples of item differences of known mean: the kinds of data that intervals are measured on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blendbench.core.errors import UsageError
from blendbench.results.export import import_published, published_experiments
from blendbench.results.pairs import read_pairs
from blendbench.stats.clusters import cluster_means
from blendbench.verdict.primaries import PREFERRED

Array = NDArray[np.float64]
Bounds = tuple[float, float]
SIZES = (8, 12, 24, 72, 288)
NO_BOUNDS = (-np.inf, np.inf)
# Of what items change by where nothing happens, and of what a lost one falls by.
_TINY = 3e-4
FALL = (0.5, 1.0)
LEAST_REAL = 24  # items of a configuration whose scores are resampled
REAL, UNLIMITED = "real scores", "real scores without a limit"
BOUNDS: dict[str, Bounds] = {REAL: (-1.0, 1.0), UNLIMITED: NO_BOUNDS}


@dataclass(frozen=True)
class Sample:
    """Rows (samples, items) of one kind, with the true mean of each and the range of a value."""

    rows: Array
    truth: Array
    bounds: Bounds


@dataclass(frozen=True)
class Kind:
    """A kind of data: `sample(rng, samples, items)`. `promised`: whether intervals must cover it."""

    name: str
    sample: Callable[[np.random.Generator, int, int], Sample]
    promised: bool = True


def kinds(real: dict[str, list[Array]]) -> list[Kind]:
    """Return all kinds; `real` are measured differences (`read_real`)."""
    return [
        Kind("normal", _fixed(lambda rng, shape: rng.normal(0.05, 0.2, shape), 0.05, (-2.0, 2.0))),
        Kind("skewed", _fixed(lambda rng, shape: rng.lognormal(0, 0.6, shape), float(np.exp(0.18)), NO_BOUNDS)),
        Kind("zero-inflated", _fixed(_zero_inflated, 0.05, (-1.0, 1.0))),
        Kind("lost items", _fixed(lambda rng, shape: lost(rng, shape, 0.05), -0.05 * 0.75, (-1.0, 1.0))),
        *(Kind(name, _resampled(rows, BOUNDS[name]), name == REAL) for name, rows in real.items()),
        Kind("very skewed", _fixed(lambda rng, shape: rng.beta(0.2, 2, shape), 0.2 / 2.2, (0.0, 1.0)), promised=False),
        Kind(
            "lost items, others vary",
            _fixed(lambda rng, shape: lost(rng, shape, 0.05, 0.1), -0.05 * 0.75, (-1.0, 1.0)),
            promised=False,
        ),
    ]


def lost(rng: np.random.Generator, shape: tuple[int, ...], probability: float, spread: float = _TINY) -> Array:
    """Sample differences of which each is a fall of .5 to 1 with some probability."""
    return np.where(rng.random(shape) < probability, -rng.uniform(*FALL, shape), rng.normal(0, spread, shape))


def _zero_inflated(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.where(rng.random(shape) < 0.1, rng.beta(4, 4, shape), 0.0)


def _fixed(
    sample: Callable[[np.random.Generator, tuple[int, ...]], Array], mean: float, bounds: Bounds
) -> Callable[[np.random.Generator, int, int], Sample]:
    return lambda rng, samples, items: Sample(sample(rng, (samples, items)), np.full(samples, mean), bounds)


def _resampled(real: list[Array], bounds: Bounds) -> Callable[[np.random.Generator, int, int], Sample]:
    """Resample the items of a configuration and metric chosen at random, for each sample."""

    def sample(rng: np.random.Generator, samples: int, items: int) -> Sample:
        chosen = [real[k] for k in rng.integers(0, len(real), samples)]
        rows = np.stack([values[rng.integers(0, len(values), items)] for values in chosen])
        return Sample(rows, np.array([values.mean() for values in chosen]), bounds)

    return sample


def read_real(folder: Path) -> dict[str, list[Array]]:
    """Read the published differences to text_only of items, by configuration and primary metric.

    Apart those of metrics from 0 to 1, and those of metrics without a greatest value. `folder` holds what
    `blendbench publish` writes. What does not change at all is left out. Errors: UsageError for a folder without data.
    """
    names = sorted({name for preferred in PREFERRED.values() for name in preferred})
    found: dict[str, list[Array]] = {}
    for experiment in published_experiments(folder):
        # One experiment at a time: every query would read the scores of all.
        with import_published(folder, experiment) as published:
            for pairs in read_pairs(published, experiment, "text_only"):
                name = {(0.0, 1.0): REAL, (0.0, math.inf): UNLIMITED}.get(pairs.metric.range)
                if name is None or pairs.metric.name not in names:
                    continue
                values = cluster_means(pairs.differences, pairs.items)
                if len(values) >= LEAST_REAL and np.ptp(values) > 0:
                    found.setdefault(name, []).append(values)
    if not found:
        raise UsageError(f"{folder}: no published data; name their folder with --data")
    return dict(sorted(found.items()))
