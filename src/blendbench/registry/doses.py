"""Grids of doses: how much of the image a comparison of strategies tries."""

from itertools import pairwise

from blendbench.core.errors import UsageError
from blendbench.registry.parameters import Parameter

# Of the range of a dose, for strategies that give no grid: most of what a prompt bears is in the lower third.
FRACTIONS = (0.1, 0.2, 0.3, 0.5, 1.0)


def checked_grid(strategy: str, dose: Parameter | None, grid: tuple[float, ...]) -> tuple[float, ...]:
    """Return a strategy's grid of doses, or one over its dose's range.

    A dose without a range has its default as the only value. Errors: UsageError (a grid without a dose, a value outside
    the range, values that do not rise, or a dose of 0, which is the text alone).
    """
    if dose is None:
        raise UsageError(f"strategy {strategy}: dose_grid without a dose; name the setting by dose=")
    if not grid:
        if dose.range is None or dose.type is not float:
            return (float(dose.check(strategy, dose.default)),)
        return tuple(round(fraction * dose.range.high, 6) for fraction in FRACTIONS)
    values = tuple(float(dose.check(strategy, value)) for value in grid)
    if values[0] <= 0 or any(high <= low for low, high in pairwise(values)):
        raise UsageError(f"strategy {strategy}: dose_grid must rise and begin above 0, not {grid}")
    return values
