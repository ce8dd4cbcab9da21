"""The section of the metrics' page on real images."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendbench.core.files import write_atomically
from blendbench.reports.formats import blocks, markdown_table

if TYPE_CHECKING:
    from blendbench.metrics.real_images import RealImages

_FILE = "real_images.json"


def store_real(found: "RealImages", out: Path) -> None:
    """Write the figures, which stay when the page is written again without the images."""
    write_atomically(out / _FILE, f"{json.dumps(dataclasses.asdict(found), indent=1)}\n".encode())


def real_section(out: Path) -> list[str]:
    """Return the lines of the section; empty where no figures are stored."""
    if not (out / _FILE).is_file():
        return []
    found = json.loads((out / _FILE).read_text())
    sources = [(name, str(count)) for name, count in found["sources"].items()]
    return blocks(
        "## Real images",
        _summary(found),
        "AUROC of broken images, by what other detectors read at 16 pixels too:",
        _areas(found["auroc"]),
        "Fraction of images with each flag of a visible artifact:",
        _kinds(found["kinds"]),
        "The clean images with a corruption of 4 grey levels RMS: AUROC of grid_severity against the same images\n"
        "without it, and the fraction with a flag of a visible artifact:",
        _corrupted(found["corrupted"]),
        *(["Sources:", markdown_table(("repository", "images"), sources, (1,))] if sources else []),
    )


def _summary(found: dict[str, Any]) -> list[str]:
    kinds = found["kinds"].values()
    total = sum(kind["images"] for kind in kinds)
    lines = [
        f"{total:.0f} images that are not part of the project; `blendbench calibrate --images FOLDER --labels FILE`",
        "measures others.",
    ]
    for label in ("clean", "negative"):
        part = [kind for kind in kinds if kind["label"] == label]
        count = sum(kind["images"] for kind in part)
        if count:
            flagged = sum(kind["any"] * kind["images"] for kind in part)
            lines.append(f"Of {count:.0f} {label} images {flagged:.0f} have a flag of a visible artifact.")
    if found["rank_correlation"] is not None:
        lines.append(
            f"Spearman's rank correlation of grid_severity and grade, {found['graded']} images: "
            f"{found['rank_correlation']:.2f}."
        )
    if found["small"]:
        lines.append(f"{found['small']} images below 128 pixels a side are left out.")
    return lines


def _areas(auroc: dict[str, dict[str, float]]) -> list[str]:
    against = list(next(iter(auroc.values())))
    rows = [(name, *(f"{row[other]:.2f}" for other in against)) for name, row in auroc.items()]
    return markdown_table(("detector", *against), rows, tuple(range(1, len(against) + 1)))


def _kinds(kinds: dict[str, dict[str, Any]]) -> list[str]:
    flags = [name for name in next(iter(kinds.values())) if name not in ("label", "images")]
    rows = [
        (f"{name} ({row['images']})", row["label"], *(f"{100 * row[flag]:.0f} %" for flag in flags))
        for name, row in kinds.items()
    ]
    return markdown_table(("kind", "label", *flags), rows, tuple(range(2, len(flags) + 2)))


def _corrupted(corrupted: dict[str, dict[str, float]]) -> list[str]:
    rows = [(kind, f"{row['auroc']:.2f}", f"{100 * row['flagged']:.0f} %") for kind, row in corrupted.items()]
    return markdown_table(("corruption", "AUROC", "flagged"), rows, (1, 2))
