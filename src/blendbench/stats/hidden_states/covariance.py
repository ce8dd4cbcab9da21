"""What a covariance says: how many directions rows use, and how far two sets of rows are apart."""

import numpy as np

from blendbench.stats.hidden_states.spread import Array


def effective_rank(covariance: Array) -> float | None:
    """exp(H(p)), p = s / sum(s), s the singular values of the centred rows (Roy & Vetterli 2007, EUSIPCO).

    From the covariance (dim, dim), whose eigenvalues are s^2 / n. Between 1 and dim; None if nothing varies.
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
    """The symmetric square root of a covariance (dim, dim)."""
    values, vectors = np.linalg.eigh(covariance)
    square_root: Array = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    return square_root


def frechet_distance(mean: Array, covariance: Array, other_mean: Array, other_root: Array) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson & Landau 1982), as in the Fréchet inception distance.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)); the second covariance comes as its `root`. Grows with the noise of
    small samples: compare it only with distances from equally many rows.
    """
    cross = np.linalg.eigvalsh(other_root @ covariance @ other_root)
    overlap = np.sqrt(np.clip(cross, 0, None)).sum()
    traces = np.trace(covariance) + (other_root**2).sum()
    return float(max(0.0, ((mean - other_mean) ** 2).sum() + traces - 2 * overlap))
