"""Compare rows with a reference's: spread of dimensions, and directions."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from blendbench.stats.hidden_states.describe import Values
from blendbench.stats.hidden_states.spread import Array, Spread

FACTORS = (4, 10)  # a dimension is an outlier if its spread is this many times the reference's, or a part as small


def std_ratio(rows: Spread, reference: Spread) -> Array:
    """Return (dim,) standard deviations over the reference's.

    Below 1 the rows lack spread that the reference has.
    """
    return rows.std / reference.std


def ordered_outliers(ratio: Array) -> NDArray[np.intp]:
    """Return (dim,) dimensions, most outlying first, by max(r, 1 / r)."""
    return np.argsort(-np.abs(np.log(ratio)), kind="stable")


def correlation(a: Array, b: Array) -> float | None:
    """Return Pearson's correlation of two vectors; None if one is constant."""
    x, y = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    scale = float(np.abs(a).max(initial=0.0) * np.abs(b).max(initial=0.0)) * len(a)
    return None if length <= scale * 1e-14 else float(np.clip(x @ y / length, -1.0, 1.0))


def compare(rows: Spread, reference: Spread) -> Values:
    """Return a row set's statistics against a reference's, by name.

    pearson, spearman, log_pearson: correlations of the two vectors of per-dimension standard deviations, raw, of ranks
    and of logarithms. Raw Pearson says nothing where two dimensions dominate both. ratio_*: of standard deviations;
    lacking_k and exceeding_k count the dimensions below 1/k and above k. cosine_to_reference: mean cosine of the rows
    to the reference's mean direction; reference_cosine: the same of the reference's own rows.
    """
    ratio = std_ratio(rows, reference)
    toward = reference.mean_direction
    return {
        "pearson": correlation(rows.std, reference.std),
        "spearman": correlation(rankdata(rows.std), rankdata(reference.std)),
        "log_pearson": correlation(np.log(rows.std), np.log(reference.std)),
        "ratio_median": float(np.median(ratio)),
        "ratio_min": float(ratio.min()),
        "ratio_max": float(ratio.max()),
        **{f"lacking_{k}": float((ratio < 1 / k).sum()) for k in FACTORS},
        **{f"exceeding_{k}": float((ratio > k).sum()) for k in FACTORS},
        "cosine_to_reference": mean_cosine(rows, toward),
        "reference_cosine": mean_cosine(reference, toward),
    }


def mean_cosine(rows: Spread, direction: Array) -> float | None:
    """Return the mean cosine of rows to a unit direction, None without one."""
    if rows.directed == 0 or not direction.any():
        return None
    return float(rows.directions @ direction / rows.directed)


def paired_cosine(rows: Array, others: Array) -> float | None:
    """Mean cosine of row i to row i (tokens, dim).

    None if the two have not equally many rows, or one has no length.
    """
    lengths = np.linalg.norm(rows, axis=1) if len(rows) else np.zeros(0)
    other_lengths = np.linalg.norm(others, axis=1) if len(others) else np.zeros(0)
    if len(lengths) != len(other_lengths) or not len(lengths) or not (lengths.all() and other_lengths.all()):
        return None
    return float(((rows * others).sum(axis=1) / (lengths * other_lengths)).mean())
