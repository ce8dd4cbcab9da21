"""Shipped blending strategies, one family a file.

Importing this package registers them.
"""

from blendbench.strategies import (
    adain,
    composed,
    controls,
    covariance,
    delta,
    fits,
    interpolation,
    lengths,
    linear,
    normalisation,
    outliers,
    references,
    sampling,
    style_vectors,
)

__all__ = [
    "adain",
    "composed",
    "controls",
    "covariance",
    "delta",
    "fits",
    "interpolation",
    "lengths",
    "linear",
    "normalisation",
    "outliers",
    "references",
    "sampling",
    "style_vectors",
]
