"""Compare rows with a reference's: spread of dimensions, and directions."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from blendbench.stats.hidden_states.spread import Array, Spread, Values

FACTORS = (4, 10)  # a dimension is an outlier if its spread is this many times the reference's, or a part as small


def std_ratio(rows: Spread, reference: Spread) -> Array:
    """Return (dim,) standard deviations over the reference's."""
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


def effective_rank(covariance: Array) -> float | None:
    """Return exp(H(p)), the effective rank of the centred rows.

    P = s / sum(s), s the singular values (Roy & Vetterli 2007, EUSIPCO). From the covariance (dim, dim), whose
    eigenvalues are s^2 / n. Between 1 and dim; None if nothing varies.
    """
    eigenvalues = np.linalg.eigvalsh(covariance)
    # Those of directions without any spread come out as rounding errors, not as zeros.
    rounding = eigenvalues.max(initial=0.0) * len(eigenvalues) * np.finfo(np.float64).eps
    values = np.sqrt(eigenvalues[eigenvalues > rounding])
    if not len(values):
        return None
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def root(covariance: Array) -> Array:
    """Return the symmetric square root of a covariance (dim, dim)."""
    values, vectors = np.linalg.eigh(covariance)
    square_root: Array = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return square_root


def frechet_distance(mean: Array, covariance: Array, other_mean: Array, other_root: Array) -> float:
    """Return the squared Fréchet distance of two Gaussians.

    Dowson & Landau 1982, as in the Fréchet inception distance. |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); the second
    covariance comes as its `root`. Grows with the noise of small samples: compare it only with distances from equally
    many rows.
    """
    cross = np.linalg.eigvalsh(other_root @ covariance @ other_root)
    overlap = np.sqrt(np.clip(cross, 0, None)).sum()
    traces = np.trace(covariance) + (other_root**2).sum()
    return float(max(0.0, ((mean - other_mean) ** 2).sum() + traces - 2 * overlap))
