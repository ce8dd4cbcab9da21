"""Describe a kind of token at a layer: size, concentration and spread."""

import numpy as np

from blendbench.stats.hidden_states.spread import Spread

Values = dict[str, float | None]
TOP = (1, 2, 8)  # how many of the largest dimensions a share of the second moment is taken of


def describe(spread: Spread) -> Values:
    """Return statistics of a set of rows, by name.

    mean, std: over all values together (the seed document's numbers: they follow the largest dimensions and the number
    of tokens). std_median: of the per-dimension standard deviations, which does not. share_top_k: part of the second
    moment that the k largest dimensions hold. largest_token_share: part of it that an item's longest row holds.
    pairwise_cosine: mean cosine of two different rows; None for fewer than two with a direction.
    """
    second = spread.second_moment
    mean = float(spread.mean.mean())
    ordered = np.sort(second)[::-1]
    shares = np.cumsum(ordered) / ordered.sum() if ordered.sum() > 0 else np.zeros_like(ordered)
    return {
        "mean": mean,
        "std": float(np.sqrt(max(0.0, float(second.mean()) - mean**2))),
        "std_median": float(np.median(spread.std)),
        "std_max": float(spread.std.max()),
        **{f"share_top_{k}": float(shares[min(k, len(shares)) - 1]) for k in TOP},
        "largest_token_share": spread.largest,
        "pairwise_cosine": pairwise_cosine(spread),
    }


def pairwise_cosine(spread: Spread) -> float | None:
    """Return the mean cosine over pairs: (|sum u|^2 - n) / (n (n - 1))."""
    n = spread.directed
    if n < 2:
        return None
    return float((spread.directions @ spread.directions - n) / (n * (n - 1)))
