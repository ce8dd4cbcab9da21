"""Schedules: the fraction of the full alpha at each transformer call."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from blendbench.core.conditioning import Denoising
from blendbench.registry.steps import Steps


@dataclass(frozen=True)
class Moment:
    """Transformer call `step`, from 0, of `calls`, at noise level `sigma`.

    `threshold` and `until` are the settings of those names: an upper and a lower noise level.
    """

    step: int
    calls: int
    sigma: float
    threshold: float
    until: float

    @property
    def passed(self) -> float:
        """Return the time from 0 at the first call to 1 at the last."""
        return self.step / max(self.calls - 1, 1)


CURVES: Steps[Callable[[Moment], float]] = Steps("curve")
Curve = Annotated[str, CURVES]
curve = CURVES.register


def weights(name: str, denoising: Denoising, threshold: float, until: float) -> list[float]:
    """Return a registered schedule's fraction for each transformer call."""
    calls = len(denoising.sigmas)
    schedule = CURVES.get(name)
    return [schedule(Moment(s, calls, sigma, threshold, until)) for s, sigma in enumerate(denoising.sigmas)]


@curve("constant")
def constant(at: Moment) -> float:
    """Return 1."""
    return 1.0


@curve("linear_decay")
def linear_decay(at: Moment) -> float:
    """Return 1 - s / (n - 1)."""
    return 1 - at.passed


@curve("linear_growth")
def linear_growth(at: Moment) -> float:
    """Return s / (n - 1)."""
    return at.passed


@curve("cosine")
def cosine(at: Moment) -> float:
    """Return (1 + cos(pi s / (n - 1))) / 2."""
    return (1 + math.cos(math.pi * at.passed)) / 2


@curve("exponential")
def exponential(at: Moment) -> float:
    """Return e^(-s / (n / 3))."""
    return math.exp(-3 * at.step / at.calls)


@curve("step")
def step(at: Moment) -> float:
    """Return 1 while the noise level is at or above the threshold, then 0."""
    return 1.0 if at.sigma >= at.threshold else 0.0


@curve("window")
def window(at: Moment) -> float:
    """Return 1 at noise levels from `until` to the threshold, else 0."""
    return 1.0 if at.until <= at.sigma <= at.threshold else 0.0


@curve("ramp")
def ramp(at: Moment) -> float:
    """Return 1 from the threshold up, 0 from `until` down, a line between."""
    if at.sigma >= at.threshold:
        return 1.0
    return max(0.0, (at.sigma - at.until) / (at.threshold - at.until)) if at.sigma > at.until else 0.0
