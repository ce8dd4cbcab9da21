"""Metrics: functions from a batch of images to one value each.

What a plug-in needs is imported from here. Names are imported at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blendbench.core.metric_info import MetricInfo
    from blendbench.metrics.batch import Batch
    from blendbench.metrics.measuring import Score, all_metrics, get_metric, measure
    from blendbench.metrics.registry import Metric, metric
    from blendbench.metrics.shared import SharedInput, shared_input

_HOMES = {
    "Batch": "metrics.batch",
    "Metric": "metrics.registry",
    "MetricInfo": "core.metric_info",
    "Score": "metrics.measuring",
    "SharedInput": "metrics.shared",
    "all_metrics": "metrics.measuring",
    "get_metric": "metrics.measuring",
    "measure": "metrics.measuring",
    "metric": "metrics.registry",
    "shared_input": "metrics.shared",
}

__all__ = [
    "Batch",
    "Metric",
    "MetricInfo",
    "Score",
    "SharedInput",
    "all_metrics",
    "get_metric",
    "measure",
    "metric",
    "shared_input",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"blendbench.{_HOMES[name]}"), name)
