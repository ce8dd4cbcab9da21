"""Plot the effect that decided each hypothesis, in margins of its metric."""

from pathlib import Path

from matplotlib.figure import Figure

from blendbench.core.numbers import MINUS
from blendbench.reports.claims import Verdict
from blendbench.reports.findings import Finding, Findings
from blendbench.reports.images import save_plot

# Okabe & Ito (2008); the marker repeats the colour.
_STYLES: dict[Verdict, tuple[str, str]] = {
    "supported": ("#009E73", "o"),
    "refuted": ("#D55E00", "s"),
    "undecided": ("#0072B2", "D"),
    "cannot occur here": ("#8c8c8c", "^"),
}
WIDTH = 5.2  # inches: letters must be readable at the width of a phone


def shown(findings: Findings) -> list[Finding]:
    """Return the findings with an effect in margins, in the order of the file."""
    return [f for f in findings.findings if f.deciding.effect is not None and f.verdict in _STYLES]


def plot_effects(findings: Findings, path: Path) -> None:
    """Write the plot; no file if no finding has an effect."""
    rows = shown(findings)
    if not rows:
        path.unlink(missing_ok=True)
        return
    height = 0.24 * len(rows) + 1.3
    figure = Figure(figsize=(WIDTH, height), dpi=150)
    panel = figure.subplots()
    panel.axvspan(-1, 1, color="0.92", zorder=0)
    panel.axvline(0, color="0.6", linewidth=0.8)
    named: set[Verdict] = set()
    for row, finding in enumerate(rows):
        mean, low, high = finding.deciding.effect or (0.0, 0.0, 0.0)
        colour, marker = _STYLES[finding.verdict]
        panel.errorbar(
            mean,
            row,
            xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]],
            color=colour,
            marker=marker,
            markersize=4.5,
            markerfacecolor="white" if Findings.by_construction(finding) else colour,
            linestyle="",
            elinewidth=1.2,
            label=None if finding.verdict in named else finding.verdict,
        )
        named.add(finding.verdict)
    panel.set_yticks(range(len(rows)), [finding.hypothesis.id for finding in rows], fontsize=8)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_xscale("symlog", linthresh=1)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", MINUS))
    panel.set_xlabel("effect in margins of its metric;\nright is as the statement has it", fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="upper center", ncol=4, frameon=False, fontsize=8, handletextpad=0.2, columnspacing=1.0)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / height))
    save_plot(figure, path)
