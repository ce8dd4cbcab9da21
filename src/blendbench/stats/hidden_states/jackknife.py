"""Jackknife intervals over items, for tokens of a prompt are not independent."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import t

from blendbench.stats.hidden_states.describe import Values
from blendbench.stats.hidden_states.spread import Spread, pool

Intervals = dict[str, tuple[float, float]]


def intervals(statistic: Callable[..., Values], *groups: Sequence[Spread]) -> Intervals:
    """Compute 95 % intervals of a smooth statistic of pooled groups.

    The interval is the value +- t(n - 1) times the jackknife's standard error (Efron & Tibshirani 1993, chapter 11),
    which is for smooth statistics, so not for a minimum or a count. The bootstrap would count an item twice and so
    raise cosines between tokens, and add noise that lowers correlations. All groups hold the same items in the same
    order. Fewer than three items, or a value that some part does not have, give no interval.
    """
    n = len(groups[0])
    if n < 3:
        return {}
    whole = statistic(*(pool(group) for group in groups))
    parts = [statistic(*(pool(group, weights) for group in groups)) for weights in 1 - np.eye(n)]
    found: Intervals = {}
    for name, value in whole.items():
        values = [part[name] for part in parts]
        if value is None or any(v is None for v in values):
            continue
        numbers = np.array(values, dtype=np.float64)
        error = float(np.sqrt((n - 1) / n * ((numbers - numbers.mean()) ** 2).sum()))
        half = float(t.ppf(0.975, n - 1)) * error
        found[name] = (value - half, value + half)
    return found


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the mean's 95 % t interval over items; None for fewer than 3."""
    n = len(values)
    if n < 3:
        return None
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return float(np.mean(values)) - half, float(np.mean(values)) + half
