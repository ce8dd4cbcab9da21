"""Describe a metric: how values read and which difference matters."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["prompt", "gain", "artifact", "drift", "diagnostic"]
Direction = Literal["lower", "higher", "none"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class MetricInfo:
    """Describe one version of a metric.

    `role`: what the metric judges; `direction`: which values are better; `range`: the least and greatest possible
    value, inf allowed; `margin`: the difference that matters in practice; `decimals`: how many are worth printing;
    `paired`: whether a value depends on the baseline's image; `threshold`: the value from which one image alone counts
    as positive. Errors: ValueError naming the field.
    """

    name: str
    version: int
    title: str
    role: Role
    direction: Direction
    unit: str
    range: tuple[float, float]
    margin: float
    decimals: int
    paired: bool
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check what the types do not say."""
        for field, choices in (("role", ROLES), ("direction", get_args(Direction))):
            if getattr(self, field) not in choices:
                raise ValueError(f"{field}: {getattr(self, field)!r} is not one of {', '.join(choices)}")
        low, high = self.range
        if math.isnan(low) or math.isnan(high) or low >= high:
            raise ValueError(f"range: {list(self.range)} is not [least, greatest]")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin: {self.margin} is not a finite number of at least 0")

    @property
    def changes(self) -> tuple[float, float]:
        """Return the least and greatest possible difference between two values."""
        low, high = self.range
        return low - high, high - low
