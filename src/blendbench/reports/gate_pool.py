"""What the gate's calibration draws from: all text_only images of a run, as they are and damaged in known ways."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo
from blendbench.core.suites import Item, load_suite
from blendbench.results.store import Results
from blendbench.statistics import Array
from blendbench.verdict.decide import is_gated
from blendbench.verdict.pairing import Metric
from blendbench.verdict.verdict import REFERENCE, image_name

if TYPE_CHECKING:
    from blendbench.metrics import Batch
    from blendbench.models.sets import ModelSet

GRID_LEVELS = 2.0  # grey levels RMS of the injected mesh
SATURATION = 1.1
VARIANTS = ("clean", "grid", "cast", "swapped")
_BATCH = 32


@dataclass(frozen=True)
class Pool:
    """Values (variants, items, seeds, anchors) by gated metric; NaN where an image is unscorable.

    `anchors` has an entry a seed for metrics that compare with a baseline's image (that of the item at the anchor's
    seed), else one. `source` says where the images come from.
    """

    metrics: tuple[Metric, ...]
    items: tuple[str, ...]
    values: dict[str, Array]
    source: dict[str, str]

    @property
    def seeds(self) -> int:
        """Seeds an item."""
        return next(iter(self.values.values())).shape[2]


def measure_pool(results: Results, folder: Path, experiment: str, models: "ModelSet") -> Pool:
    """Score the text_only images of an experiment in `folder`, in every variant, with every gated metric.

    Errors: UsageError if the suite has changed since, or if items have not the same seeds.
    """
    from blendbench.metrics import all_metrics

    items, images, source = _images(results, folder, experiment)
    variants = [_VARIANTS[name](images, models.facts.patch_grid) for name in VARIANTS]
    described = {name: _described(metric.info) for name, metric in all_metrics().items()}
    gated = [name for name, metric in described.items() if is_gated(metric)]
    pairing = [name for name in gated if all_metrics()[name].info.paired]
    alone = [name for name in gated if name not in pairing]
    measured = [
        _measure(alone, variant, images, items, models, (None,))
        | _measure(pairing, variant, images, items, models, range(images.shape[1]))
        for variant in variants
    ]
    values = {name: np.stack([by_name[name] for by_name in measured]) for name in gated}
    kept = {name: array for name, array in values.items() if np.isfinite(array).any()}
    return Pool(tuple(described[name] for name in kept), tuple(item.id for item in items), kept, source)


def _described(info: MetricInfo) -> Metric:
    kind = "adherence" if info.role == "prompt" else "reference" if info.role == "gain" else info.role
    return Metric(info.name, info.version, info.title, kind, info.direction, info.unit, info.margin, info.decimals)


def _images(results: Results, folder: Path, experiment: str) -> tuple[list[Item], np.ndarray, dict[str, str]]:
    """Items, their images uint8 (items, seeds, h, w, 3), and where they come from."""
    rows = results.query(
        """
        SELECT c.item, c.seed, c.image_sha256, r.suite, c.suite_sha256, r.model_set, c.model_set_sha256, c.dtype,
            arg_max(r.started_at, (r.sequence, r.run_id)) OVER () AS date
        FROM current_cells c JOIN runs r USING (run_id)
        WHERE c.experiment = ? AND c.label = ? AND c.status = 'ok' ORDER BY c.item, c.seed
        """,
        [experiment, REFERENCE],
    )
    if rows.empty:
        raise UsageError(f"{experiment}: no {REFERENCE} images in {folder}; run bench/calibration/calibration.toml")
    first = rows.iloc[0]
    suite = load_suite(str(first["suite"]))
    if suite.sha256 != first["suite_sha256"]:
        raise UsageError(f"{folder}: its images are of another version of suite {suite.name}; run again")
    names = rows.pivot(index="item", columns="seed", values="image_sha256")
    if names.isna().any(axis=None):
        raise UsageError(f"{experiment}: not every item has the same seeds in {folder}; finish the run")
    images = np.stack([[_load(folder / image_name(sha)) for sha in row] for row in names.to_numpy()])
    by_id = {item.id: item for item in suite.items}
    source = {
        "experiment": experiment,
        "suite": suite.name,
        "suite_sha256": suite.sha256,
        "model_set": str(first["model_set"]),
        "model_set_sha256": str(first["model_set_sha256"]),
        "dtype": str(first["dtype"]),
        "date": str(first["date"]),
        "seeds": json.dumps(list(map(int, names.columns))),
    }
    return [by_id[name] for name in names.index], images, source


def _load(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))  # a copy: torch warns of arrays that cannot be written


@functools.cache
def _reference(path: Path) -> np.ndarray:
    return _load(path)


def _clean(images: np.ndarray, patch_grid: int) -> np.ndarray:
    return images


def _gridded(images: np.ndarray, patch_grid: int) -> np.ndarray:
    from blendbench.metrics.patterns import inject, mesh

    flat = images.reshape(-1, *images.shape[2:])
    return inject(flat, mesh(images.shape[2], images.shape[3], patch_grid), GRID_LEVELS).reshape(images.shape)


def _saturated(images: np.ndarray, patch_grid: int) -> np.ndarray:
    grey = images @ np.array([0.299, 0.587, 0.114])
    moved = grey[..., None] + SATURATION * (images - grey[..., None])
    return np.clip(np.rint(moved), 0, 255).astype(np.uint8)


def _swapped(images: np.ndarray, patch_grid: int) -> np.ndarray:
    # Each item gets the images of the next one: what a candidate draws that hears another prompt.
    return np.roll(images, -1, axis=0)


_VARIANTS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "clean": _clean,
    "grid": _gridded,
    "cast": _saturated,
    "swapped": _swapped,
}


def _measure(
    names: list[str],
    variant: np.ndarray,
    clean: np.ndarray,
    items: list[Item],
    models: "ModelSet",
    anchors: Sequence[int | None],
) -> dict[str, Array]:
    """(items, seeds, anchors) values of metrics on one variant; together, so that they share their inputs."""
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
    variant: np.ndarray,
    clean: np.ndarray,
    items: list[Item],
    models: "ModelSet",
    cells: list[tuple[int, int]],
    anchor: int | None,
) -> "Batch":
    import torch

    from blendbench.metrics import Batch

    def tensor(images: np.ndarray) -> "torch.Tensor":
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
