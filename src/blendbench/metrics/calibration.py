"""Calibration: metrics on known patterns, clean images and harmless edits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage, stats

from blendbench.metrics import patterns
from blendbench.metrics.batch import Batch
from blendbench.metrics.flags import pixel_flags
from blendbench.metrics.measuring import get_metric, measure
from blendbench.metrics.synthetic import periodic_images

AMPLITUDES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
DETECTORS = ("grid_energy", "grid_odd", "grid_even", "grid_severity", "grid_amplitude", "blockiness")
COLORS = ("color_towards", "color_elsewhere")
DRIFTS = ("color_drift", "tone_drift", "saturation_shift", "clip_shift", "texture_change", "color_bleeding")
PERIODS = (4, 8, 10, 12, 14, 15, 16, 17, 18, 20, 24, 32, 48)
_FLAGGED = (
    *("blank", "noise", "faint_grid", "visible_grid", "seams", "tile_seams"),
    *("periodic_content", "jpeg_history", "resampled", "resized_grid"),
)
# A limit of detection leaves 5 % of patterns unseen where 5 % of clean images are taken for one.
_MISSED = 0.05
_IMAGES_AT_ONCE = 16

Values = dict[str, np.ndarray]
Field = Callable[[int, int], np.ndarray]

PATTERNS: dict[str, Field] = {
    "mesh": patterns.mesh,
    "tiled texture": patterns.texture,
    "sinusoid": patterns.sinus,
    "8-px mesh": lambda height, width: patterns.mesh(height, width, 8),
    "2-px checkerboard": patterns.checkerboard,
    "patch offsets": patterns.offsets,
}
# Those that repeat with the patch grid.
PATCH_GRIDS = {name: PATTERNS[name] for name in ("mesh", "tiled texture", "sinusoid", "8-px mesh")}


@dataclass(frozen=True)
class Response:
    """Hold the response of one metric to one pattern of one size.

    By amplitude: `auroc` against the clean crops, `rises` the fraction of crops in which the value rises, `median` the
    value. `rho_median`, `rho_low` (5th percentile): Spearman's rank correlation of amplitude and value on each crop.
    `limit`: the smallest amplitude of those tried that is detected, None if none is.
    """

    metric: str
    pattern: str
    size: int
    images: int
    amplitudes: tuple[float, ...]
    auroc: tuple[float, ...]
    rises: tuple[float, ...]
    median: tuple[float, ...]
    rho_median: float
    rho_low: float
    limit: float | None


@dataclass(frozen=True)
class SeedFloor:
    """Hold (median, 95 %) of each drift metric over `pairs` images.

    Each pair is of one item and two seeds.
    """

    experiment: str
    models: str
    pairs: int
    values: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class ColorCase:
    """Hold both metrics of colour after one known change.

    `reference`: "matched" (the prompt's own objects) or "unrelated". `towards`: mean over the `scored` of `images`
    images whose reference has other colours than the baseline; `elsewhere`, `elsewhere_high`: mean and 95 %.
    """

    change: str
    reference: str
    images: int
    scored: int
    towards: float
    elsewhere: float
    elsewhere_high: float


@dataclass(frozen=True)
class Calibration:
    """Hold all figures of one calibration; see the function of each name."""

    responses: list[Response]
    others: list[Response]
    clean: dict[int, dict[str, tuple[float, ...]]]
    recovery: dict[str, dict[float, tuple[float, float]]]
    periods: dict[int, dict[str, float]]
    benign: dict[str, dict[str, float]]
    false_alarms: dict[str, dict[str, float]]
    drift: dict[str, dict[str, float]]
    rising: dict[str, dict[str, float]]
    thresholds: dict[str, float]
    color: list[ColorCase]
    floor: SeedFloor | None = None


def values_of(images: np.ndarray, names: Sequence[str], baselines: np.ndarray | None = None) -> Values:
    """Measure uint8 (n, h, w, 3) images; return (n,) values by metric.

    Errors: ValueError if an image has no value.
    """
    found: dict[str, list[float]] = {name: [] for name in names}
    for start in range(0, len(images), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        batch = Batch(_tensor(images[part]), baselines=None if baselines is None else _tensor(baselines[part]))
        for name, scores in measure(batch, names).items():
            for score in scores:
                if score.value is None:
                    raise ValueError(f"{name}: {score.error}")
                found[name].append(score.value)
    return {name: np.array(rows) for name, rows in found.items()}


def responses(clean: np.ndarray, fields: dict[str, Field] | None = None) -> list[Response]:
    """Measure the response of every detector to every pattern.

    `clean`: uint8 (n, size, size, 3) images that the patterns are injected into.
    """
    size = clean.shape[1]
    before = values_of(clean, DETECTORS)
    made = []
    for pattern, field in (fields or PATTERNS).items():
        after = [values_of(patterns.inject(clean, field(size, size), dose), DETECTORS) for dose in AMPLITUDES]
        made += [_response(name, pattern, size, before[name], [row[name] for row in after]) for name in DETECTORS]
    return made


def _response(metric: str, pattern: str, size: int, before: np.ndarray, after: list[np.ndarray]) -> Response:
    levels = np.stack([before, *after])
    constant = (levels == levels[0]).all(0)
    rho = [
        0.0 if constant[i] else stats.spearmanr((0.0, *AMPLITUDES), levels[:, i]).statistic for i in range(len(before))
    ]
    above = np.quantile(before, 1 - _MISSED)
    seen = [dose for dose, row in zip(AMPLITUDES, after, strict=True) if (row > above).mean() >= 1 - _MISSED]
    return Response(
        metric,
        pattern,
        size,
        len(before),
        AMPLITUDES,
        auroc=tuple(patterns.auroc(row, before) for row in after),
        rises=tuple(float((row > before).mean()) for row in after),
        median=tuple(float(np.median(row)) for row in after),
        rho_median=float(np.median(rho)),
        rho_low=float(np.quantile(rho, 0.05)),
        limit=min(seen, default=None),
    )


def amplitude_recovery(clean: np.ndarray) -> dict[str, dict[float, tuple[float, float]]]:
    """Compare grid_amplitude with the RMS that was stored.

    By pattern and injected amplitude: the median ratio, and the fraction of images within 15 %. The stored RMS is what
    is left of the pattern after rounding to 8 bits and clipping.
    """
    size, table = clean.shape[1], {}
    for pattern, make in PATCH_GRIDS.items():
        field, row = make(size, size), {}
        for dose in (1.0, 2.0, 4.0, 8.0):
            made = patterns.inject(clean, field, dose)
            # By least squares on the difference that was stored: rounding and clipping change the amplitude.
            stored = ((made.astype(float) - clean).mean(-1) * field).mean((1, 2))
            ratio = values_of(made, ["grid_amplitude"])["grid_amplitude"] / stored
            row[dose] = (float(np.median(ratio)), float((np.abs(ratio - 1) <= 0.15).mean()))
        table[pattern] = row
    return table


def period_selectivity(clean: np.ndarray, amplitude: float = 2.0) -> dict[int, dict[str, float]]:
    """Measure a tiled texture of several periods.

    By period: median grid_energy, median grid_severity and AUROC of grid_energy.
    """
    size, names = clean.shape[1], ("grid_energy", "grid_severity")
    before = values_of(clean, names)
    table = {}
    for period in PERIODS:
        after = values_of(patterns.inject(clean, patterns.texture(size, size, period), amplitude), names)
        table[period] = {name: float(np.median(after[name])) for name in names}
        table[period]["auroc"] = patterns.auroc(after["grid_energy"], before["grid_energy"])
    return table


def benign_auroc(clean: np.ndarray) -> dict[str, dict[str, float]]:
    """Return AUROC of harmless edits against the clean crops; 0.5 is best.

    By edit and detector.
    """
    before = values_of(clean, DETECTORS)
    after = {edit: values_of(made, DETECTORS) for edit, made in patterns.benign(clean).items()}
    return {edit: {name: patterns.auroc(row[name], before[name]) for name in DETECTORS} for edit, row in after.items()}


def false_alarms(sets: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the fraction of clean images with each flag based on pixels.

    By set of uint8 (n, h, w, 3) images; `images` is how many.
    """
    table = {}
    for name, images in sets.items():
        flags = [found for i in range(len(images)) for found in pixel_flags(Batch(_tensor(images[i : i + 1])))]
        table[name] = {flag: float(np.mean([flag in found for found in flags])) for flag in _FLAGGED}
        table[name]["images"] = len(images)
    return table


def clean_sets(size: int = 256) -> dict[str, np.ndarray]:
    """Return clean images to count false alarms on.

    Photos and content that repeats, of two sizes.
    """
    sides = (size, 2 * size)
    photos = {f"photos, {side}": patterns.crops(side, 4) for side in sides}
    return photos | {f"{kind}, {side}": made for side in sides for kind, made in periodic_images(side).items()}


def clean_quantiles(clean: np.ndarray) -> dict[str, tuple[float, ...]]:
    """Return 5 %, median, 95 % and greatest value of clean crops, by detector."""
    return {
        name: (*(float(q) for q in np.quantile(row, (0.05, 0.5, 0.95))), float(row.max()))
        for name, row in values_of(clean, DETECTORS).items()
    }


def drift_responses(clean: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the median of each drift metric by edit.

    The first row is for scale: one photo against another.
    """
    table = {"another photo": np.roll(clean, 1, 0)} | drift_edits(clean)
    rows = {edit: values_of(made, DRIFTS, clean) for edit, made in table.items()}
    return {edit: {name: float(np.median(row[name])) for name in DRIFTS} for edit, row in rows.items()}


def rising_fractions(clean: np.ndarray) -> dict[str, dict[str, float]]:
    """Return the fraction of images with a value above 0, by edit.

    Of texture_change and color_bleeding.
    """
    rows = {edit: values_of(made, DRIFTS[-2:], clean) for edit, made in drift_edits(clean).items()}
    return {edit: {name: float((row[name] > 0).mean()) for name in row} for edit, row in rows.items()}


def drift_edits(clean: np.ndarray) -> dict[str, np.ndarray]:
    """Edit colour, tone and texture of uint8 (n, h, w, 3)."""
    values = clean.astype(np.float64)
    grey = values @ np.array([0.299, 0.587, 0.114])
    colour = values - grey[..., None]
    blurred = ndimage.gaussian_filter(values, (0, 1, 1, 0))
    made = {
        "saturation x1.05": grey[..., None] + 1.05 * colour,
        "saturation x1.25": grey[..., None] + 1.25 * colour,
        "saturation x1.5": grey[..., None] + 1.5 * colour,
        "saturation x0.5": grey[..., None] + 0.5 * colour,
        "exposure x1.1": values * 1.1,
        "contrast x0.8": 128 + (values - 128) * 0.8,
        "noise of 3 levels": values + np.random.default_rng(0).normal(0, 3, values.shape),
        "blur of 1 pixel": blurred,
        "sharpened": 2 * values - blurred,
        "colour smeared by 4 pixels": grey[..., None] + ndimage.gaussian_filter(colour, (0, 4, 4, 0)),
        "colour smeared by 8 pixels": grey[..., None] + ndimage.gaussian_filter(colour, (0, 8, 8, 0)),
    }
    return {name: np.clip(np.rint(row), 0, 255).astype(np.uint8) for name, row in made.items()}


def thresholds() -> dict[str, float]:
    """Return the shipped thresholds, by metric."""
    found = {name: get_metric(name).info.threshold for name in DETECTORS}
    return {name: value for name, value in found.items() if value is not None}


def _tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
