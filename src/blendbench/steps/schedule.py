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

    `threshold` is the setting of that name.
    """

    step: int
    calls: int
    sigma: float
    threshold: float

    @property
    def passed(self) -> float:
        """Return the time from 0 at the first call to 1 at the last."""
        return self.step / max(self.calls - 1, 1)


CURVES: Steps[Callable[[Moment], float]] = Steps("curve")
Curve = Annotated[str, CURVES]
curve = CURVES.register


def weights(name: str, denoising: Denoising, threshold: float) -> list[float]:
    """Return a registered schedule's fraction for each transformer call."""
    calls = len(denoising.sigmas)
    schedule = CURVES.get(name)
    return [schedule(Moment(s, calls, sigma, threshold)) for s, sigma in enumerate(denoising.sigmas)]


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
