"""Score a batch with several metrics: one outcome an image and metric, and never a 0 for a failure."""

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import torch

from blendbench.core.errors import UsageError
from blendbench.metrics.batch import Batch
from blendbench.metrics.registry import REGISTRY, Metric

_MODULES = ("grid", "blockiness", "colour", "texture", "bleeding", "adherence", "reference", "style", "effect")
# Cosines and shares may leave their range by rounding alone.
_ROUNDING = 1e-5
# Pixels an image from which a batch is slower than its images alone.
_LARGE = 1 << 17


@dataclass(frozen=True)
class Score:
    """One metric of one image: a finite value exactly when the status is ok, otherwise the reason in `error`."""

    value: float | None
    status: Literal["ok", "failed", "skipped", "unscorable"]
    error: str | None = None


def all_metrics() -> dict[str, Metric]:
    """Every metric by name, in the order in which they are shown."""
    for module in _MODULES:
        import_module(f"blendbench.metrics.{module}")
    return dict(REGISTRY)


def get_metric(name: str) -> Metric:
    """One metric. Errors: UsageError with the nearest name."""
    metrics = all_metrics()
    if name not in metrics:
        near = difflib.get_close_matches(name, metrics, n=1, cutoff=0.0)
        raise UsageError(f"unknown metric {name!r}; did you mean {near[0]!r}? Known: {', '.join(metrics)}")
    return metrics[name]


def measure(batch: Batch, names: Sequence[str]) -> dict[str, list[Score]]:
    """Score every image of `batch` with each named metric.

    A metric whose inputs the batch lacks is skipped, one that raises is failed, an image that it is not defined for is
    unscorable; the other metrics go on, and so do the other images: where a metric raises on a batch, each image is
    measured alone. Errors: UsageError for an unknown name, before anything is computed.
    """
    metrics = [get_metric(name) for name in names]
    scored = [{metric.name: _scores(metric, part) for metric in metrics} for part in _parts(batch)]
    return {metric.name: [score for part in scored for score in part[metric.name]] for metric in metrics}


def _parts(batch: Batch) -> Iterator[Batch]:
    """On the CPU large images one by one, whose inputs fit the cache; each takes over what the last one shares."""
    large = math.prod(batch.images.shape[-2:]) > _LARGE
    if len(batch) == 1 or not large or batch.images.device.type != "cpu":
        yield batch
        return
    last = None
    for i in range(len(batch)):
        part = batch.single(i)
        if last is not None:
            part.take_over(last)
        yield part
        last = part


def _scores(metric: Metric, batch: Batch) -> list[Score]:
    gap = next((gap for need in metric.needs if (gap := batch.missing(need))), None)
    if gap is not None:
        return [Score(None, "skipped", f"{metric.name} needs {gap}")] * len(batch)
    try:
        with torch.inference_mode():
            values = metric.function(batch)
        if values.shape != (len(batch),):
            raise ValueError(f"gave {tuple(values.shape)} values for {len(batch)} images")
    except Exception as error:
        # A third-party network may raise anything; the error is recorded with the score of the image that caused it.
        if len(batch) > 1:
            return [score for i in range(len(batch)) for score in _scores(metric, batch.single(i))]
        return [Score(None, "failed", f"{type(error).__name__}: {error}")]
    return [_score(metric, value) for value in values.double().tolist()]


def _score(metric: Metric, value: float) -> Score:
    low, high = metric.card.range
    if math.isnan(value):
        return Score(None, "unscorable", metric.card.unscorable)
    if math.isinf(value) or not low - _ROUNDING <= value <= high + _ROUNDING:
        return Score(None, "failed", f"{metric.name} = {value} is outside {low}..{high}")
    return Score(min(max(value, low), high), "ok")
