"""The metrics' calibration page: detection limits and false positives."""

import dataclasses
import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from blendbench.core.errors import UsageError
from blendbench.core.files import write_atomically
from blendbench.metrics import calibration, patterns
from blendbench.metrics.calibration import AMPLITUDES, DRIFTS, PATCH_GRIDS, Calibration, Response, SeedFloor, values_of
from blendbench.metrics.flags import FLAGS
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import blocks, markdown_table
from blendbench.reports.images import save_plot
from blendbench.reports.metrics_color import color_cases, color_section
from blendbench.reports.metrics_real import real_section
from blendbench.reports.plots import COLOURS, LINES, MARKERS
from blendbench.results.images import ImageStore
from blendbench.results.store import open_results
from blendbench.verdict.canary import REFERENCE

_SIZES = {128: 4, 256: 4, 512: 2}
RECOVERY = "grid_amplitude over the RMS that was stored, photos of 256 pixels: median / fraction of crops within 15 %."
# Crops that no constant of a metric was chosen on: how many of each photo at most, how far from the other crops.
_OTHERS = (5, 101)
_SHOWN = ("grid_energy", "grid_severity", "blockiness")
_PANELS = (("grid_energy", "grid energy (fraction)"), ("grid_severity", "grid severity"), ("blockiness", "blockiness"))
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
_IMAGES = """
    SELECT item, list(image_sha256 ORDER BY seed) FROM current_cells
    WHERE experiment = ? AND label = ? AND status = 'ok' GROUP BY item ORDER BY item
"""
_MODELS = "SELECT model_set FROM current_sets JOIN runs r USING (run_id) WHERE r.experiment = ?"


def calibrate() -> Calibration:
    """Measure everything, in about 3 minutes. Errors: UsageError."""
    clean = patterns.crops(256, 4)
    colourful = patterns.colourful(256)
    return Calibration(
        responses=[row for size, most in _SIZES.items() for row in calibration.responses(patterns.crops(size, most))],
        others=calibration.responses(patterns.crops(256, *_OTHERS), calibration.PATCH_GRIDS),
        clean={size: calibration.clean_quantiles(patterns.crops(size, most)) for size, most in _SIZES.items()},
        recovery=calibration.amplitude_recovery(clean),
        periods=calibration.period_selectivity(clean[::2]),
        benign=calibration.benign_auroc(clean),
        false_alarms=calibration.false_alarms(calibration.clean_sets()),
        drift=calibration.drift_responses(colourful),
        rising=calibration.rising_fractions(colourful),
        thresholds=calibration.thresholds(),
        color=color_cases(),
    )


def write_calibration(found: Calibration, out: Path) -> Path:
    """Write metrics.md, metrics.json and metrics/*.webp below `out`."""
    images = out / "metrics"
    make_folder(images)
    plot_responses(found.responses, images / "responses.webp")
    fields = dataclasses.asdict(found)
    fields["recovery"] = {
        pattern: {str(dose): {"ratio": ratio, "within_15_percent": near} for dose, (ratio, near) in row.items()}
        for pattern, row in found.recovery.items()
    }
    content = json.dumps(fields, separators=(",", ":"), sort_keys=True)
    write_atomically(out / "metrics.json", f"{content}\n".encode())
    page = out / "metrics.md"
    text = "\n".join(_page(found, real_section(out))).rstrip()
    write_atomically(page, f"{text}\n".encode())
    return page


def _page(found: Calibration, real: list[str]) -> list[str]:
    return [
        *blocks(
            "# Calibration of the metrics",
            "Written by `blendbench calibrate`. Patterns of known RMS in grey levels are added to clean crops of the\n"
            "photos that scikit-image and scikit-learn install; nothing is downloaded. Patch grid: 16 pixels."
            " Definitions:\nthe cards in `metrics/`, whose measured parts are written by the same command.",
        ),
        *targets_section(found),
        *real,
        *_limits(found.responses),
        *_responses(found.responses),
        *blocks("![Dose-response](metrics/responses.webp)"),
        *blocks("## Amplitude in grey levels", RECOVERY, recovery_table(found.recovery)),
        *_periods(found.periods),
        *_benign(found.benign),
        *_false_alarms(found),
        *_drift(found),
        *color_section(found.color),
        *(floor_section(found.floor) if found.floor is not None else []),
        *blocks(
            "## Flags of `blendbench measure`",
            markdown_table(("flag", "meaning"), [(f"`{name}`", text) for name, text in FLAGS.items()]),
        ),
    ]


def _limits(responses: list[Response]) -> list[str]:
    sizes = sorted({row.size for row in responses})
    by = {(row.metric, row.pattern, row.size): row for row in responses}
    rows = [
        (
            metric,
            pattern,
            *("–" if (limit := by[metric, pattern, size].limit) is None else f"{limit:g}" for size in sizes),
        )
        for metric in _SHOWN
        for pattern in dict.fromkeys(row.pattern for row in responses)
    ]
    return blocks(
        "## Limits of detection",
        f"The smallest of {', '.join(f'{a:g}' for a in AMPLITUDES)} grey levels RMS at which 95 % of the crops\n"
        "read above what 95 % of the clean ones read; a dash: none.",
        markdown_table(("metric", "pattern", *(f"{size} px" for size in sizes)), rows, (2, 3, 4)),
    )


def _responses(responses: list[Response]) -> list[str]:
    return blocks(
        "## Dose-response",
        "AUROC against the clean crops / fraction of crops in which the value rises, by amplitude; "
        "then Spearman's rank\ncorrelation of dose and value on each crop, median / 5th percentile.",
        *(
            part
            for metric in dict.fromkeys(row.metric for row in responses)
            for part in (f"### {metric}", response_table(responses, metric))
        ),
    )


def response_table(responses: list[Response], metric: str) -> list[str]:
    """Tabulate AUROC / fraction that rises, and the rank correlation."""
    rows = [
        (
            f"{row.size} px ({row.images})",
            row.pattern,
            *(f"{area:.2f} / {rise:.2f}" for area, rise in zip(row.auroc, row.rises, strict=True)),
            f"{row.rho_median:.2f} / {row.rho_low:.2f}",
        )
        for row in responses
        if row.metric == metric
    ]
    return markdown_table(("crops", "pattern", *(f"{a:g}" for a in AMPLITUDES), "Spearman"), rows)


def recovery_table(recovery: dict[str, dict[float, tuple[float, float]]]) -> list[str]:
    """Tabulate median ratio / fraction within 15 %, by pattern and amplitude."""
    doses = list(next(iter(recovery.values())))
    rows = [
        (pattern, *(f"{row[dose][0]:.2f} / {row[dose][1]:.2f}" for dose in doses)) for pattern, row in recovery.items()
    ]
    return markdown_table(("pattern", *(f"{dose:g} levels" for dose in doses)), rows)


def _periods(periods: dict[int, dict[str, float]]) -> list[str]:
    rows = [
        (str(period), f"{row['grid_energy']:.4f}", f"{row['auroc']:.2f}", f"{row['grid_severity']:.2f}")
        for period, row in periods.items()
    ]
    return blocks(
        "## Periods",
        "A tiled texture of 2 levels and other periods, photos of 256 pixels.",
        markdown_table(("period", "median grid_energy", "AUROC", "median grid_severity"), rows, (0, 1, 2, 3)),
    )


def _benign(benign: dict[str, dict[str, float]]) -> list[str]:
    rows = [(edit, *(f"{row[name]:.2f}" for name in _SHOWN)) for edit, row in benign.items()]
    return blocks(
        "## Harmless edits",
        "AUROC against the unedited crops of 256 pixels; 0.5 is best.",
        markdown_table(("edit", *_SHOWN), rows, (1, 2, 3)),
    )


def _false_alarms(found: Calibration) -> list[str]:
    flags = [flag for flag in next(iter(found.false_alarms.values())) if flag != "images"]
    rows = [
        (f"{name} ({row['images']:.0f})", *(f"{100 * row[flag]:.0f} %" for flag in flags))
        for name, row in found.false_alarms.items()
    ]
    shown = ", ".join(f"{name} {value:g}" for name, value in found.thresholds.items())
    return blocks(
        "## False alarms",
        f"Fraction of clean images with each flag, at the shipped thresholds ({shown}). "
        "Many of the photos are known to\ncome from JPEG files, so that `jpeg_history` is no false alarm there; pixel"
        " art is enlarged by its nature.",
        markdown_table(("images", *flags), rows, tuple(range(1, len(flags) + 1))),
    )


def _drift(found: Calibration) -> list[str]:
    rows = [(edit, *(f"{row[name]:+.4f}" for name in DRIFTS)) for edit, row in found.drift.items()]
    rising = [(edit, *(f"{100 * value:.0f} %" for value in row.values())) for edit, row in found.rising.items()]
    return blocks(
        "## Drift",
        "Median over ten colour photos of 256 pixels, edited against unedited. The first row is for scale.",
        markdown_table(("edit", *DRIFTS), rows, tuple(range(1, len(DRIFTS) + 1))),
        "Fraction of the photos in which the value is above 0. color_bleeding answers noise and blur as well,\n"
        "which is why it is experimental.",
        markdown_table(("edit", *DRIFTS[-2:]), rising, (1, 2)),
    )


def plot_responses(responses: list[Response], path: Path, size: int = 256) -> None:
    """Plot the median value over amplitude: a panel a metric, a line a pattern."""
    figure = Figure(figsize=(12, 4), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(_PANELS))
    for panel, (metric, label) in zip(panels, _PANELS, strict=True):
        rows = [row for row in responses if row.metric == metric and row.size == size]
        for k, row in enumerate(rows):
            style = {"color": COLOURS[k], "marker": MARKERS[k], "linestyle": LINES[k % len(LINES)]}
            panel.plot(row.amplitudes, row.median, label=row.pattern, markersize=4, **style)
        panel.set_xscale("log", base=2)
        panel.set_xticks(rows[0].amplitudes, [f"{a:g}" for a in rows[0].amplitudes])
        panel.set_xlabel("grey levels RMS")
        panel.set_title(label)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_yscale("symlog", linthresh=1e-3)
    panels[0].set_ylim(bottom=-2e-4)
    panels[1].axhline(1, color="0.6", linewidth=0.8)
    panels[0].legend(frameon=False, fontsize=8)
    save_plot(figure, path)


def targets_section(found: Calibration) -> list[str]:
    """Return lines with each target, its measurement and whether it holds."""
    rows = [(what, target, measured, "yes" if holds else "**no**") for what, target, measured, holds in _rows(found)]
    return blocks(
        "## Targets",
        "Set beforehand; where one is missed, this table says so. Doses too weak to be seen all read 0, which are"
        " ties\nto a rank correlation. Other crops are places of the same photos that no constant was chosen on.",
        markdown_table(("what", "target", "measured", "holds"), rows),
    )


def _rows(found: Calibration) -> Iterable[tuple[str, str, str, bool]]:
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


def _ranks(what: str, rows: list[Response]) -> Iterable[tuple[str, str, str, bool]]:
    """Yield the worst median and the worst tail of Spearman's correlations."""
    middle, low = min(rows, key=lambda row: row.rho_median), min(rows, key=lambda row: row.rho_low)
    rho, tail = middle.rho_median, low.rho_low
    row = f"{what}, {middle.size} px: Spearman"
    yield f"{row}, median, worst ({middle.pattern})", f"≥ {_RHO:g}", f"{rho:.3f}", rho >= _RHO
    yield f"{row}, 5th percentile, worst ({low.pattern})", f"≥ {_RHO_LOW:g}", f"{tail:.3f}", tail >= _RHO_LOW


def seed_floor(results: Path, experiment: str) -> SeedFloor:
    """Measure images of two seeds against each other. Errors: UsageError."""
    opened, store = open_results(results), ImageStore(results)
    cells = opened.rows(_IMAGES, [experiment, REFERENCE])
    present = store.present(sha256 for _, hashes in cells for sha256 in hashes)
    pairs = [pair for _, hashes in cells for pair in pairwise(sha256 for sha256 in hashes if sha256 in present)]
    if not pairs:
        raise UsageError(f"{results}: experiment {experiment!r} has no images of two seeds there; run it first")
    first, second = (np.stack([store.load(pair[k]) for pair in pairs]) for k in (0, 1))
    values = {name: np.abs(row) for name, row in values_of(second, DRIFTS, first).items()}
    floor = {name: (float(np.median(row)), float(np.quantile(row, 0.95))) for name, row in values.items()}
    ((models,),) = opened.rows(_MODELS, [experiment])
    return SeedFloor(experiment, str(models), len(pairs), floor)


def floor_section(floor: SeedFloor) -> list[str]:
    """Return the lines of the page."""
    rows = [(name, f"{median:.4f}", f"{high:.4f}") for name, (median, high) in floor.values.items()]
    return blocks(
        "## Drift between seeds",
        f"{floor.pairs} pairs of {REFERENCE} images of one item and two seeds ({floor.experiment}, models:\n"
        f"{floor.models}): a drift below this floor is no more than another seed makes.",
        markdown_table(("metric", "median magnitude", "95 %"), rows, (1, 2)),
    )
