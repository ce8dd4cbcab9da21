"""Calibration on real images: a folder, and a table that says what each one is."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import stats

from blendbench.core.errors import UsageError
from blendbench.metrics import comparison, patterns
from blendbench.metrics.batch import Batch
from blendbench.metrics.corruptions import CORRUPTIONS, corrupt
from blendbench.metrics.flags import pixel_flags
from blendbench.metrics.measuring import measure

LABELS = ("clean", "broken", "negative", "other")
# What the eye would mind; the other flags are about the file or the content.
VISIBLE = ("visible_grid", "seams", "tile_seams", "blank", "noise")
METRICS = ("grid_severity", "grid_energy", "blockiness")
AMPLITUDE = 4.0
_LEAST_SIDE = 128


@dataclass(frozen=True)
class Labelled:
    """Hold one row of the table of labels."""

    path: Path
    label: str
    kind: str
    source: str
    grade: float | None


@dataclass(frozen=True)
class RealImages:
    """Hold the figures of one folder of images.

    `kinds`: by kind, how many images, their label, and the fraction with each visible flag (`any` with one of them).
    `auroc`: by detector, of broken against clean images, and against negatives. `corrupted`: by corruption of the clean
    images at 4 levels, AUROC of grid_severity and the fraction with a visible flag. `rank_correlation`: Spearman's, of
    grid_severity and grade. `small`: how many images were left out.
    """

    sources: dict[str, int]
    kinds: dict[str, dict[str, float | str]]
    auroc: dict[str, dict[str, float]]
    corrupted: dict[str, dict[str, float]]
    rank_correlation: float | None
    graded: int
    small: int


def read_labels(folder: Path, table: Path) -> list[Labelled]:
    """Read a tab-separated table with columns file, label and, if known, kind, repository and grade.

    Errors: UsageError naming the line.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--labels {table}: cannot be read: {error}") from error
    return [_row(folder, f"{table}:{number}", row) for number, row in enumerate(rows, 2)]


def _row(folder: Path, where: str, row: dict[str, str | None]) -> Labelled:
    name, label = row.get("file"), row.get("label")
    if not name or label not in LABELS:
        raise UsageError(f"{where}: needs the columns file and label, one of {', '.join(LABELS)}")
    path = folder / name
    if not path.is_file():
        raise UsageError(f"{where}: {path}: no such image")
    try:
        grade = float(row["grade"]) if row.get("grade") else None  # type: ignore[arg-type]
    except ValueError:
        raise UsageError(f"{where}: grade: {row['grade']!r} is not a number") from None
    return Labelled(path, label, row.get("kind") or label, row.get("repository") or "", grade)


def calibrate_real(rows: list[Labelled]) -> RealImages:
    """Measure every image, and the clean ones with each corruption.

    Images below 128 pixels a side are left out. Errors: UsageError without a clean and a broken image.
    """
    images = {row: image for row in rows if min((image := _read(row.path)).shape[:2]) >= _LEAST_SIDE}
    if {"clean", "broken"} - {row.label for row in images}:
        raise UsageError("the labels must name a clean and a broken image of at least 128 pixels a side")
    values = {row: _values(image) for row, image in images.items()}
    flags = {row: _flags(image) for row, image in images.items()}
    clean = [row for row in images if row.label == "clean"]
    base = np.array([values[row]["grid_severity"] for row in clean])
    graded = [row for row in images if row.grade is not None]
    severities = [values[row]["grid_severity"] for row in graded]
    rank = stats.spearmanr(severities, [row.grade for row in graded]).statistic if len(graded) > 2 else None
    return RealImages(
        sources=_counts(row.source for row in images if row.source),
        kinds={
            kind: _kind([row for row in images if row.kind == kind], flags) for kind in _counts(r.kind for r in images)
        },
        auroc={name: _areas(name, values) for name in next(iter(values.values()))},
        corrupted={kind: _corrupted(kind, [images[row] for row in clean], base) for kind in CORRUPTIONS},
        rank_correlation=None if rank is None else float(rank),
        graded=len(graded),
        small=len(rows) - len(images),
    )


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: not an image that can be read: {error}") from error


def _batch(image: np.ndarray) -> Batch:
    return Batch(torch.from_numpy(image).permute(2, 0, 1)[None])


def _values(image: np.ndarray) -> dict[str, float]:
    found = {name: scores[0].value or 0.0 for name, scores in measure(_batch(image), METRICS).items()}
    luma = image @ np.array([0.299, 0.587, 0.114])
    others = {name: detector(luma) for name, detector in comparison.DETECTORS.items()}
    return found | {name: value for name, value in others.items() if not np.isnan(value)}


def _flags(image: np.ndarray) -> set[str]:
    return set(pixel_flags(_batch(image))[0]) & set(VISIBLE)


def _counts(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def _kind(rows: list[Labelled], flags: dict[Labelled, set[str]]) -> dict[str, float | str]:
    fractions = {flag: float(np.mean([flag in flags[row] for row in rows])) for flag in VISIBLE}
    some = float(np.mean([bool(flags[row]) for row in rows]))
    return {"label": rows[0].label, "images": len(rows), "any": some, **fractions}


def _areas(name: str, values: dict[Labelled, dict[str, float]]) -> dict[str, float]:
    by = {label: np.array([v[name] for row, v in values.items() if row.label == label]) for label in LABELS}
    return {
        f"against {label}": patterns.auroc(by["broken"], by[label]) for label in ("clean", "negative") if len(by[label])
    }


def _corrupted(kind: str, clean: list[np.ndarray], base: np.ndarray) -> dict[str, float]:
    made = [corrupt(image, kind, AMPLITUDE, seed) for seed, image in enumerate(clean)]
    severity = np.array([measure(_batch(image), METRICS[:1])["grid_severity"][0].value or 0.0 for image in made])
    return {"auroc": patterns.auroc(severity, base), "flagged": float(np.mean([bool(_flags(image)) for image in made]))}
