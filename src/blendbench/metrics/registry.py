"""The metric registry: a batch function, its card, and the check that they agree."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from blendbench.core.errors import UsageError
from blendbench.metrics.batch import Batch, known_needs
from blendbench.metrics.cards import Card, card_of

MetricFunction = Callable[[Batch], Tensor]

REGISTRY: dict[str, "Metric"] = {}


@dataclass(frozen=True)
class Metric:
    """A registered metric: `function` maps a Batch of n images to (n,) floats, NaN where it is not defined."""

    name: str
    version: int
    card: Card
    function: MetricFunction = field(repr=False)

    @property
    def needs(self) -> tuple[str, ...]:
        """The Batch inputs that the function reads."""
        return self.card.needs


def metric(name: str, *, needs: tuple[str, ...]) -> Callable[[MetricFunction], MetricFunction]:
    """Register a batch function under the card `metrics/<name>.md`.

    Errors: UsageError if the name is taken, the card is missing or malformed, or the card and the function disagree on
    what is needed.
    """

    def register(function: MetricFunction) -> MetricFunction:
        if name in REGISTRY:
            raise UsageError(f"metric {name!r} is registered twice; give one of them another name")
        unknown = sorted(set(needs) - known_needs())
        if unknown:
            raise UsageError(f"metric {name!r} needs {unknown[0]!r}; a Batch offers {', '.join(sorted(known_needs()))}")
        card = card_of(name)
        if sorted(card.needs) != sorted(needs):
            raise UsageError(f"metrics/{name}.md: needs = {list(card.needs)}, but the function needs {list(needs)}")
        REGISTRY[name] = Metric(name=name, version=card.version, card=card, function=function)
        return function

    return register
