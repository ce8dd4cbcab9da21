"""Statistics of covariances: directions in use, and distances."""

import numpy as np

from blendbench.stats.hidden_states.spread import Array


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
