"""The metrics' calibration page: detection limits and false positives."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from blendbench.core.files import write_atomically
from blendbench.metrics import calibration, patterns
from blendbench.metrics.calibration import AMPLITUDES, DRIFTS, Calibration, Response
from blendbench.metrics.flags import FLAGS
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import blocks, markdown_table
from blendbench.reports.metrics_color import color_cases, color_section
from blendbench.reports.metrics_floor import floor_section
from blendbench.reports.metrics_plots import plot_responses
from blendbench.reports.metrics_real import real_section
from blendbench.reports.metrics_targets import targets_section

_SIZES = {128: 4, 256: 4, 512: 2}
RECOVERY = "grid_amplitude over the RMS that was stored, photos of 256 pixels: median / fraction of crops within 15 %."
# Crops that no constant of a metric was chosen on: how many of each photo at most, how far from the other crops.
_OTHERS = (5, 101)
_SHOWN = ("grid_energy", "grid_severity", "blockiness")


def calibrate() -> Calibration:
    """Measure everything, in about 3 minutes of one core.

    Errors: UsageError without scikit-image or scikit-learn.
    """
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
    write_atomically(out / "metrics.json", f"{json.dumps(_jsonable(found), indent=1, sort_keys=True)}\n".encode())
    page = out / "metrics.md"
    text = "\n".join(_page(found, real_section(out))).rstrip()
    write_atomically(page, f"{text}\n".encode())
    return page


def _jsonable(found: Calibration) -> dict[str, Any]:
    fields = dataclasses.asdict(found)
    fields["recovery"] = {
        pattern: {str(dose): {"ratio": ratio, "within_15_percent": near} for dose, (ratio, near) in row.items()}
        for pattern, row in found.recovery.items()
    }
    return fields


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
