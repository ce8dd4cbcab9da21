"""Score a batch with several metrics.

There is one outcome per image and metric, and a failure is never a 0.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from blendbench.core.errors import UsageError, described
from blendbench.core.lazy import torch
from blendbench.metrics.registry import METRICS, Metric
from blendbench.registry.entries import SHIPPED
from blendbench.registry.guard import guarded_state, seeded

if TYPE_CHECKING:
    from blendbench.metrics.batch import Batch

# Cosines and fractions may leave their range by rounding alone.
_ROUNDING = 1e-5
# Values of one image in batches of different sizes, which kernels round differently.
_ROUNDED = 1e-3
# Metrics whose values were compared between a batch and images alone.
_ALONE: set[str] = set()
# Squares and sums of larger values may overflow; the table of scores has this limit too.
_LARGEST = 1e100
# Pixels an image from which a batch is slower than its images alone.
_LARGE = 1 << 17


@dataclass(frozen=True)
class Score:
    """Hold one metric of one image.

    The value is finite if and only if the status is ok; else `error` holds the reason.

    `baseline_image_sha256`: the baseline's image that a paired metric was computed against; '' for other metrics, for
    what was skipped, and where the batch has no hashes.
    """

    value: float | None
    status: Literal["ok", "failed", "skipped", "unscorable"]
    error: str | None = None
    baseline_image_sha256: str = ""


class WrongResultError(ValueError):
    """Report a function that does not return one real number an image."""


def all_metrics() -> dict[str, Metric]:
    """Return every metric by name.

    These are the shipped ones, those of installed packages and those of loaded plug-in files.
    """
    return METRICS.all()


def get_metric(name: str) -> Metric:
    """Return one metric. Errors: UsageError with the nearest name."""
    return METRICS.get(name)


def measure(batch: Batch, names: Sequence[str]) -> dict[str, list[Score]]:
    """Score every image of `batch` with each named metric.

    A metric whose inputs the batch lacks is skipped, one that raises is failed, an image that it is not defined for is
    unscorable; the other metrics go on, and so do the other images: where a metric raises on a batch, each image is
    measured alone. Errors: UsageError for an unknown name, before anything is computed.
    """
    metrics = [get_metric(name) for name in names]
    scored = [{metric.name: _scores(metric, part) for metric in metrics} for part in _parts(batch)]
    found = {metric.name: [score for part in scored for score in part[metric.name]] for metric in metrics}
    baselines = batch.baseline_image_sha256s
    if baselines is not None:
        for metric in metrics:
            if metric.info.paired:
                found[metric.name] = [_against(s, b) for s, b in zip(found[metric.name], baselines, strict=True)]
    return found


def _against(score: Score, baseline: str) -> Score:
    return score if score.status == "skipped" else replace(score, baseline_image_sha256=baseline)


def _parts(batch: Batch) -> Iterator[Batch]:
    """Yield large images one by one on the CPU, so that inputs fit the cache.

    Each takes over the inputs that it shares.
    """
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
    try:
        gap = next((gap for need in metric.needs if (gap := batch.missing(need))), None)
        if gap is not None:
            return [Score(None, "skipped", f"{metric.name} needs {gap}")] * len(batch)
        values = _values(metric, batch)
    except (Exception, SystemExit) as error:
        # A third-party network may raise anything; the error is recorded with the score of the image that caused it.
        if len(batch) > 1 and not isinstance(error, WrongResultError | UsageError):
            return [score for i in range(len(batch)) for score in _scores(metric, batch.single(i))]
        return [Score(None, "failed", _reason(metric, error))] * len(batch)
    return [_score(metric, value) for value in values]


def _reason(metric: Metric, error: BaseException) -> str:
    """Say in one line what went wrong, and where: in a plug-in, or else in this package."""
    message = " ".join(str(error).split())
    if isinstance(error, WrongResultError | UsageError):
        return message
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [f"{name}:{line}" for name, line in frames if name in metric.origins]
    return f"{type(error).__name__}: {message} ({own[-1]})" if own else described(error)


def _values(metric: Metric, batch: Batch) -> list[float]:
    if metric.origins == {SHIPPED}:
        with torch.inference_mode():
            return _numbers(metric, batch)
    with torch.inference_mode(), guarded_state(), seeded(0), metric.reading_its_files():
        values = _numbers(metric, batch)
    if len(batch) > 1 and metric.source_sha256 not in _ALONE:
        for i in (0, len(batch) - 1):
            _check_alone(metric, values[i], _values(metric, batch.single(i))[0])
        _ALONE.add(metric.source_sha256)
    return values


def _check_alone(metric: Metric, value: float, alone: float) -> None:
    """Raise where the value of an image depends on the images beside it, as on how a run was divided."""
    close = math.isclose(value, alone, rel_tol=_ROUNDED, abs_tol=max(_ROUNDED, metric.info.margin / 10))
    if not close and not (math.isnan(value) and math.isnan(alone)):
        raise WrongResultError(
            f"{metric.name} gave {value:g} for an image in a batch and {alone:g} for the same image alone; a value may"
            " depend on its own image only"
        )


def _numbers(metric: Metric, batch: Batch) -> list[float]:
    values = metric.function(batch.declaring(metric.needs, metric.origin))
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        values = torch.from_numpy(values.astype(np.float64))
    if not isinstance(values, torch.Tensor):
        kind = getattr(values, "dtype", type(values).__name__)
        raise WrongResultError(f"{metric.name} gave {kind}, not a tensor of real numbers")
    if values.is_complex() or values.dtype == torch.bool:
        raise WrongResultError(f"{metric.name} gave {values.dtype}, not real numbers")
    if values.shape != (len(batch),):
        raise WrongResultError(f"{metric.name} gave values of shape {tuple(values.shape)} for {len(batch)} images")
    numbers: list[float] = values.double().tolist()
    return numbers


def _score(metric: Metric, value: float) -> Score:
    low, high = metric.info.range
    if math.isnan(value):
        return Score(None, "unscorable", metric.card.unscorable)
    if math.isinf(value):
        return Score(None, "failed", f"{metric.name} = {value}; NaN says that a metric is not defined for an image")
    if not low - _ROUNDING <= value <= high + _ROUNDING:
        return Score(None, "failed", f"{metric.name} = {value} is outside {low}..{high}")
    if abs(value) >= _LARGEST:
        return Score(
            None, "failed", f"{metric.name} = {value:g}; give it a unit in which values stay below {_LARGEST:g}"
        )
    return Score(min(max(value, low), high), "ok")
