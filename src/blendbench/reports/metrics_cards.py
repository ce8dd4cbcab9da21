"""The measured part of metric cards, between two marks."""

from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.metrics.calibration import COLORS, DETECTORS, DRIFTS, Calibration, Response
from blendbench.reports.formats import markdown_table
from blendbench.reports.metrics import RECOVERY, recovery_table, response_table
from blendbench.reports.metrics_color import color_table

BEGIN, END = "<!-- written by blendbench calibrate -->", "<!-- end of what calibrate writes -->"
_FULL = "All figures: `reports/metrics.md`."


def write_cards(found: Calibration, folder: Path) -> list[Path]:
    """Replace what stands between the marks of every card that was measured.

    The rest of a card, its front matter above all, stays as it is. Returns the cards. Errors: UsageError, before
    anything is written, if a card or its marks are missing.
    """
    parts = {name: _parts(folder / f"{name}.md") for name in (*DETECTORS, *DRIFTS, *COLORS)}
    written = []
    for name, (before, after) in parts.items():
        path, lines = folder / f"{name}.md", measured(found, name)
        path.write_text("\n\n".join([before + BEGIN, "\n".join(lines), END + after]), encoding="utf-8")
        written.append(path)
    return written


def _parts(path: Path) -> tuple[str, str]:
    if not path.is_file():
        raise UsageError(f"{path}: no such metric card; give the folder of the cards with --cards")
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UsageError(f"{path}: put the lines {BEGIN} and {END} where the measured part belongs")
    return before, after


def measured(found: Calibration, name: str) -> list[str]:
    """Return the measured lines of one card."""
    if name in COLORS:
        lines = color_table(found.color)
    else:
        lines = _detector(found, name) if name in DETECTORS else _drift(found, name)
    return [*lines, "", _FULL]


def _detector(found: Calibration, name: str) -> list[str]:
    responses = [row for row in found.responses if row.metric == name]
    lines = [
        "Patterns of the given RMS in grey levels, added to clean crops of the photos that scikit-image and",
        "scikit-learn install: AUROC against the clean crops / fraction of crops in which the value rises, "
        "by amplitude;",
        "Spearman's rank correlation of dose and value on each crop, median / 5th percentile.",
        "",
        *response_table(found.responses, name),
        "",
        f"- Detected in 95 % of crops at 5 % false alarms, from: {_limits(responses)}.",
        f"- Clean, 5 % / median / 95 % / greatest: {_clean(found, name)}.",
        "- Harmless edits at 256 pixels, AUROC: "
        + ", ".join(f"{edit} {row[name]:.2f}" for edit, row in found.benign.items())
        + ".",
    ]
    if name in next(iter(found.periods.values())):
        medians = ", ".join(f"{period}: {row[name]:.2g}" for period, row in found.periods.items())
        lines += [f"- A tiled texture of 2 levels, median by period: {medians}."]
    if name in found.thresholds:
        flag = {"grid_energy": "faint_grid", "grid_severity": "visible_grid", "blockiness": "seams"}[name]
        rates = ", ".join(f"{kind} {100 * row[flag]:.0f} %" for kind, row in found.false_alarms.items())
        lines += [f"- Clean images flagged `{flag}`: {rates}."]
    if name == "grid_amplitude":
        lines += ["", RECOVERY, "", *recovery_table(found.recovery)]
    return lines


def _limits(responses: list[Response]) -> str:
    by_size: dict[int, list[str]] = {}
    for row in responses:
        if row.limit is not None:
            by_size.setdefault(row.size, []).append(f"{row.pattern} {row.limit:g}")
    return "; ".join(f"{size} px: {', '.join(limits)}" for size, limits in by_size.items()) or "nothing tried"


def _clean(found: Calibration, name: str) -> str:
    rows = {size: " / ".join(f"{value:.2g}" for value in row[name]) for size, row in found.clean.items()}
    return "; ".join(f"{size} px {values}" for size, values in rows.items())


def _drift(found: Calibration, name: str) -> list[str]:
    rows = [(edit, f"{row[name]:+.4f}") for edit, row in found.drift.items()]
    lines = [
        "Median over ten colour photos of 256 pixels, edited against unedited; the first row is for scale.",
        "",
        *markdown_table(("edit", name), rows, (1,)),
    ]
    if found.floor is not None:
        median, high = found.floor.values[name]
        source = f"{found.floor.pairs} pairs of {found.floor.experiment}, models: {found.floor.models}"
        lines += ["", f"Magnitude between two seeds of text_only ({source}): median {median:.4f}, 95 % {high:.4f}."]
    return lines
