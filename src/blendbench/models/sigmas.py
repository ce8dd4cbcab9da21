"""Noise levels of flow-matching samplers, as diffusers computes them."""

from collections.abc import Sequence

import numpy as np

Levels = np.ndarray[tuple[int], np.dtype[np.float32]]


def spaced(steps: int) -> Levels:
    """Return `steps` levels from 1 to 1 / steps, rounded like torch.linspace.

    torch fills the first half from the start and the second half from the end, each value with one rounding.
    """
    if steps == 1:
        return np.ones(1, np.float32)
    end = float(np.float32(1 / steps))
    step = float(np.float32((np.float32(end) - np.float32(1)) / np.float32(steps - 1)))
    half = steps // 2
    # Sums in float64 are exact here, so the cast rounds once, as a fused multiply-add does.
    levels = [1 + step * i if i < half else end - step * (steps - 1 - i) for i in range(steps)]
    return np.array(levels).astype(np.float32)


def shifted(levels: Levels, shift: float) -> Levels:
    """Shift levels towards noise: shift s / (1 + (shift - 1) s), in float32."""
    return shift * levels / (1 + (shift - 1) * levels)


def resolve(steps: int, shift: float, explicit: Sequence[float] | None = None) -> tuple[float, ...]:
    """Return the levels that the transformer sees and the final 0.

    Explicit ones are taken as they are. Each value is the shortest decimal of a float32, so that a list copied from a
    record gives the same record.
    """
    levels = shifted(spaced(steps), shift) if explicit is None else np.array(explicit).astype(np.float32)
    return (*(float(str(level)) for level in levels), 0.0)
