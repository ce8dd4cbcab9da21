"""Metrics: batch functions from images to one value each, and the cards that say what the values mean.

Names are imported on first use, because reading the cards (`all_cards`) needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blendbench.metrics.batch import Batch
    from blendbench.metrics.cards import Card, all_cards
    from blendbench.metrics.measuring import Score, all_metrics, get_metric, measure
    from blendbench.metrics.registry import Metric, metric

_HOMES = {
    "Batch": "batch",
    "Card": "cards",
    "Metric": "registry",
    "Score": "measuring",
    "all_cards": "cards",
    "all_metrics": "measuring",
    "get_metric": "measuring",
    "measure": "measuring",
    "metric": "registry",
}

__all__ = ["Batch", "Card", "Metric", "Score", "all_cards", "all_metrics", "get_metric", "measure", "metric"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
