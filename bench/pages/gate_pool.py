"""The pool that the gate is calibrated on: all text_only images of a run, as they are and damaged in known ways."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blendbench.core.errors import UsageError
from blendbench.core.images import load_image
from blendbench.core.metric_info import MetricInfo
from blendbench.core.suites import Item, load_suite
from blendbench.results.images import ImageStore
from blendbench.results.store import Results
from blendbench.stats.clusters import Array
from blendbench.verdict.decide import is_gated
from blendbench.verdict.verdict import REFERENCE

if TYPE_CHECKING:
    from blendbench.metrics import Batch
    from blendbench.models.sets import ModelSet

GRID_LEVELS = 2.0  # grey levels RMS of the injected mesh
SATURATION = 1.1
VARIANTS = ("clean", "grid", "cast", "swapped")
_BATCH = 32
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pool:
    """Values (variants, items, seeds, anchors) by gated metric; NaN where an image is unscorable.

    `anchors` has an entry for each seed for metrics that compare with a baseline's image (of the item at the anchor's
    seed), else one. `source`: where the images come from.
    """

    metrics: tuple[MetricInfo, ...]
    items: tuple[str, ...]
    values: dict[str, Array]
    source: dict[str, str]

    @property
    def seeds(self) -> int:
        """Return the number of seeds for each item."""
        return int(next(iter(self.values.values())).shape[2])


def measure_pool(results: Results, folder: Path, experiment: str, models: "ModelSet") -> Pool:
    """Score the text_only images of an experiment in `folder`, in every variant, with every gated metric.

    Errors: UsageError if the suite has changed since, or if items have not the same seeds.
    """
    from blendbench.metrics import all_metrics

    items, images, source = _images(results, folder, experiment)
    variants = [_VARIANTS[name](images, models.facts.patch_grid) for name in VARIANTS]
    described = {name: metric.info for name, metric in all_metrics().items() if is_gated(metric.info)}
    paired = [name for name, metric in described.items() if metric.paired]
    alone = [name for name in described if name not in paired]
    measured = [
        _measure(alone, variant, images, items, models, (None,))
        | _measure(paired, variant, images, items, models, range(images.shape[1]))
        for variant in variants
    ]
    values = {name: np.stack([by_name[name] for by_name in measured]) for name in described}
    kept = {name: array for name, array in values.items() if np.isfinite(array).any()}
    return Pool(tuple(described[name] for name in kept), tuple(item.id for item in items), kept, source)


def _images(results: Results, folder: Path, experiment: str) -> tuple[list[Item], Pixels, dict[str, str]]:
    """Return items, their images (items, seeds, h, w, 3), and where they come from."""
    rows = results.rows(
        """
        SELECT item, list(image_sha256 ORDER BY seed), list(seed ORDER BY seed) FROM current_cells
        WHERE experiment = ? AND label = ? AND status = 'ok' GROUP BY item ORDER BY item
        """,
        [experiment, REFERENCE],
    )
    if not rows:
        raise UsageError(f"{experiment}: no {REFERENCE} images in {folder}; run bench/calibration/calibration.toml")
    names = ("experiment", "suite", "suite_sha256", "model_set", "model_set_sha256", "dtype", "date")
    (where,) = results.rows(
        """
        SELECT r.experiment, suite, r.suite_sha256, model_set, r.model_set_sha256, r.dtype, started_at
        FROM current_sets JOIN runs r USING (run_id) WHERE r.experiment = ?
        """,
        [experiment],
    )
    source = dict(zip(names, map(str, where), strict=True)) | {"seeds": json.dumps(rows[0][2])}
    suite = load_suite(source["suite"])
    if suite.sha256 != source["suite_sha256"]:
        raise UsageError(f"{folder}: its images are of another version of suite {suite.name}; run again")
    if any(seeds != rows[0][2] for *_, seeds in rows):
        raise UsageError(f"{experiment}: not every item has the same seeds in {folder}; finish the run")
    store = ImageStore(folder)
    images = np.stack([[store.load(sha256) for sha256 in hashes] for _, hashes, _ in rows])
    by_id = {item.id: item for item in suite.items}
    return [by_id[item] for item, *_ in rows], images, source


@functools.cache
def _reference(path: Path) -> Pixels:
    return load_image(path).pixels


def _gridded(images: Pixels, patch_grid: int) -> Pixels:
    from blendbench.metrics.patterns import inject, mesh

    flat = images.reshape(-1, *images.shape[2:])
    return inject(flat, mesh(images.shape[2], images.shape[3], patch_grid), GRID_LEVELS).reshape(images.shape)


def _saturated(images: Pixels, _: int) -> Pixels:
    grey = images @ np.array([0.299, 0.587, 0.114])
    moved = grey[..., None] + SATURATION * (images - grey[..., None])
    saturated: Pixels = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return saturated


def _swapped(images: Pixels, _: int) -> Pixels:
    # Each item gets the images of the next one: what a candidate generates that gets another prompt.
    return np.roll(images, -1, axis=0)


_VARIANTS: dict[str, Callable[[Pixels, int], Pixels]] = {
    "clean": lambda images, _: images,
    "grid": _gridded,
    "cast": _saturated,
    "swapped": _swapped,
}


def _measure(
    names: list[str],
    variant: Pixels,
    clean: Pixels,
    items: list[Item],
    models: "ModelSet",
    anchors: Sequence[int | None],
) -> dict[str, Array]:
    """Return (items, seeds, anchors) values of metrics on one variant; together, so that they share inputs."""
    from blendbench.metrics import measure

    cells = [(i, s) for i in range(len(items)) for s in range(clean.shape[1])]
    found: dict[str, list[float]] = {name: [] for name in names}
    for anchor in anchors:
        for start in range(0, len(cells), _BATCH):
            batch = _batch(variant, clean, items, models, cells[start : start + _BATCH], anchor)
            for name, scores in measure(batch, names).items():
                found[name] += [np.nan if score.value is None else score.value for score in scores]
    shape = (len(anchors), len(items), clean.shape[1])
    return {name: np.moveaxis(np.array(values).reshape(shape), 0, -1) for name, values in found.items()}


def _batch(
    variant: Pixels,
    clean: Pixels,
    items: list[Item],
    models: "ModelSet",
    cells: list[tuple[int, int]],
    anchor: int | None,
) -> "Batch":
    import torch

    from blendbench.metrics import Batch

    def tensor(images: Pixels) -> "torch.Tensor":
        return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3).to(models.device)

    chosen = [items[i] for i, _ in cells]
    return Batch(
        images=tensor(np.stack([variant[i, s] for i, s in cells])),
        baselines=None if anchor is None else tensor(np.stack([clean[i, anchor] for i, _ in cells])),
        references=[tensor(_reference(item.reference)) for item in chosen],
        prompts=[item.prompt for item in chosen],
        expects=[item.expect for item in chosen],
        reference_expects=[item.reference_expect for item in chosen],
        patch_grid=models.facts.patch_grid,
        scorers=models,
    )
