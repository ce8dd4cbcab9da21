"""The detectors' targets beside measurements: the page's first table."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from blendbench.metrics.calibration import PATCH_GRIDS
from blendbench.reports.formats import blocks, markdown_table

if TYPE_CHECKING:
    from blendbench.metrics.calibration import Calibration, Response

# AUROC at one grey level RMS, by metric, pattern and size of the crops.
_AREAS = {
    ("grid_energy", "mesh", 256): 0.97,
    ("grid_energy", "tiled texture", 256): 0.97,
    ("grid_energy", "sinusoid", 256): 0.92,
    ("grid_energy", "8-px mesh", 256): 0.97,
    ("blockiness", "patch offsets", 256): 0.90,
    **{("grid_energy", pattern, 512): 0.98 for pattern in PATCH_GRIDS},
    ("blockiness", "patch offsets", 512): 0.98,
}
_RANKED = ("grid_energy", "grid_amplitude", "grid_severity")
_RHO, _RHO_LOW = 0.99, 0.93
_BENIGN, _FALSE_ALARMS, _RECOVERY = 0.10, 0.01, 0.15
_ALARMS = ("blank", "noise", "faint_grid", "visible_grid", "seams", "tile_seams")


def targets_section(found: "Calibration") -> list[str]:
    """Return lines with each target, its measurement and whether it holds."""
    rows = [(what, target, measured, "yes" if holds else "**no**") for what, target, measured, holds in _rows(found)]
    return blocks(
        "## Targets",
        "Set beforehand; where one is missed, this table says so. Doses too weak to be seen all read 0, which are"
        " ties\nto a rank correlation. Other crops are places of the same photos that no constant was chosen on.",
        markdown_table(("what", "target", "measured", "holds"), rows),
    )


def _rows(found: "Calibration") -> Iterable[tuple[str, str, str, bool]]:
    by = {(row.metric, row.pattern, row.size): row for row in found.responses}
    for (metric, pattern, size), target in _AREAS.items():
        if (row := by.get((metric, pattern, size))) is not None:
            area = row.auroc[row.amplitudes.index(1.0)]
            yield f"{metric}, {pattern} of 1 level, {size} px: AUROC", f"≥ {target:g}", f"{area:.3f}", area >= target
    for metric in _RANKED:
        yield from _ranks(f"{metric}, dose and value on each crop", [by[metric, name, 256] for name in PATCH_GRIDS])
        others = [row for row in found.others if row.metric == metric]
        yield from _ranks(f"{metric}, the same on {others[0].images} other crops", others)
    edit, area = max(
        ((edit, row["grid_energy"]) for edit, row in found.benign.items()), key=lambda one: abs(one[1] - 0.5)
    )
    off = abs(area - 0.5)
    yield f"grid_energy, harmless edits: AUROC off 0.5, worst ({edit})", f"≤ {_BENIGN:g}", f"{off:.3f}", off <= _BENIGN
    total = sum(row["images"] for row in found.false_alarms.values())
    for flag in _ALARMS:
        flagged = sum(row[flag] * row["images"] for row in found.false_alarms.values()) / total
        what = f"clean images flagged `{flag}`, of {total:.0f}"
        yield what, f"≤ {100 * _FALSE_ALARMS:g} %", f"{100 * flagged:.1f} %", flagged <= _FALSE_ALARMS
    ratios = [ratio for row in found.recovery.values() for dose, (ratio, _) in row.items() if dose >= 2]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    yield (
        "grid_amplitude over the stored RMS, 2 levels and above, median, worst pattern",
        f"1 ± {_RECOVERY:g}",
        f"{worst:.2f}",
        abs(worst - 1) <= _RECOVERY,
    )


def _ranks(what: str, rows: "list[Response]") -> Iterable[tuple[str, str, str, bool]]:
    """Yield the worst median and the worst tail of Spearman's correlations."""
    middle, low = min(rows, key=lambda row: row.rho_median), min(rows, key=lambda row: row.rho_low)
    rho, tail = middle.rho_median, low.rho_low
    row = f"{what}, {middle.size} px: Spearman"
    yield f"{row}, median, worst ({middle.pattern})", f"≥ {_RHO:g}", f"{rho:.3f}", rho >= _RHO
    yield f"{row}, 5th percentile, worst ({low.pattern})", f"≥ {_RHO_LOW:g}", f"{tail:.3f}", tail >= _RHO_LOW
