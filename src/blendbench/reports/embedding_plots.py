"""Plots of hidden states: a figure per family of statistics, by layer."""

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from blendbench.reports.embedding_study import NAMES, VISION, Study
from blendbench.reports.images import save_plot
from blendbench.reports.plots import COLOURS, MARKERS

_HEIGHT, _LEGEND = 3.4, 0.42  # inches of a figure, and of them for the legend below
_ORDER = tuple(NAMES)


class Panel(NamedTuple):
    """One statistic by layer. `log`: the axis.

    `line`: a value to plot for comparison; `counts`: whole numbers from 0. `reference`: "" for tokens by themselves, or
    the text encoder's layer that they are compared with.
    """

    statistic: str
    title: str
    reference: str = "same_layer"
    log: bool = False
    line: float | None = None
    counts: bool = False


class Family(NamedTuple):
    """The statistics of one figure."""

    name: str
    title: str
    panels: tuple[Panel, ...]


FAMILIES = (
    Family(
        "spread",
        "Size of the values",
        (
            Panel("mean", "mean of all values", "", line=0),
            Panel("std", "std of all values", "", log=True),
            Panel("std_median", "median std of a dimension", "", log=True),
        ),
    ),
    Family(
        "concentration",
        "Share of the second moment in few dimensions and in one token",
        (
            Panel("share_top_1", "largest dimension", ""),
            Panel("share_top_2", "2 largest dimensions", ""),
            Panel("share_top_8", "8 largest dimensions", ""),
            Panel("largest_token_share", "longest token", ""),
        ),
    ),
    Family(
        "correlation",
        "Correlation of the std of each dimension with the text encoder's",
        (
            Panel("pearson", "Pearson", line=1),
            Panel("spearman", "Spearman", line=1),
            Panel("log_pearson", "Pearson of logarithms", line=1),
        ),
    ),
    Family(
        "ratio",
        "Ratio of the std of each dimension to the text encoder's",
        (
            Panel("ratio_min", "least", log=True, line=1),
            Panel("ratio_median", "median", log=True, line=1),
            Panel("ratio_max", "greatest", log=True, line=1),
            Panel("lacking_4", "dimensions below 1/4", counts=True),
            Panel("exceeding_4", "dimensions above 4", counts=True),
        ),
    ),
    Family(
        "direction",
        "Cosine of tokens",
        (
            Panel("pairwise_cosine", "to one another", "", line=0),
            Panel("cosine_to_reference", "to the text encoder's mean direction", line=0),
            Panel("word_cosine", "to the same word in the text encoder", line=1),
        ),
    ),
    Family(
        "distance",
        "Distance from the text encoder's distribution, and directions in use",
        (
            Panel("frechet_relative", "Fréchet distance / text encoder's variance", log=True),
            Panel("effective_rank", "effective rank", ""),
        ),
    ),
)


def plot_families(study: Study, folder: Path) -> None:
    """Write one plot for each family into `folder`."""
    for family in FAMILIES:
        _plot_family(study, family, folder / f"{family.name}.webp")


def plot_outliers(study: Study, path: Path, count: int = 12) -> None:
    """Plot each kind's most outlying dimensions, without position 0."""
    figure, panels = _figure(len(VISION))
    for axes, tokens in zip(panels, VISION, strict=True):
        rows = study.outlying(tokens)[:count][::-1]
        colours = [COLOURS[0] if row.ratio < 1 else COLOURS[1] for row in rows]
        axes.barh(range(len(rows)), [row.ratio - 1 for row in rows], left=1, color=colours)
        axes.set_yticks(range(len(rows)), [str(row.dimension) for row in rows])
        _logarithmic(axes, "x")
        for factor in (1 / 4, 4):
            axes.axvline(factor, color="0.35", linewidth=0.8, linestyle=":")
        axes.axvline(1, color="0.2", linewidth=0.8)
        axes.set_title(NAMES[tokens], fontsize=9)
        axes.set_xlabel("std / text encoder's std (dotted: 1/4 and 4)", fontsize=8)
        _plain(axes)
        axes.tick_params(axis="y", labelsize=6.5)
    panels[0].set_ylabel("dimension", fontsize=8)
    figure.suptitle(f"Most outlying dimensions, layer {study.shown_layer}, without position 0", fontsize=11)
    _save(figure, path, 0.0)


def _plot_family(study: Study, family: Family, path: Path) -> None:
    figure, panels = _figure(len(family.panels))
    shown: set[str] = set()
    for axes, panel in zip(panels, family.panels, strict=True):
        shown |= _panel(axes, study, panel)
    handles = [
        Line2D([], [], color=COLOURS[i], marker=MARKERS[i], markersize=4.5, linewidth=1.0, label=NAMES[tokens])
        for i, tokens in enumerate(_ORDER)
        if tokens in shown
    ]
    handles.append(
        Line2D(
            [],
            [],
            color="0.4",
            marker="o",
            markerfacecolor="white",
            markersize=4.5,
            linestyle="--",
            linewidth=1.0,
            label="open, dashed: with position 0",
        )
    )
    figure.suptitle(family.title, fontsize=11)
    figure.legend(handles=handles, loc="lower center", ncol=3, frameon=False, fontsize=7.5)
    _save(figure, path, _LEGEND / _HEIGHT)


def _panel(axes: Any, study: Study, panel: Panel) -> set[str]:
    layers = sorted(study.layers)
    if panel.line is not None:
        axes.axhline(panel.line, color="0.35", linewidth=0.8, linestyle=":")
    series = []
    for tokens in _ORDER:
        for position_0 in (False, True):
            values = [study.get(tokens, panel.statistic, position_0, panel.reference, layer) for layer in layers]
            bare = not panel.reference and position_0 and not study.has_position_0(tokens)
            if not bare and any(value.value is not None for value in values):
                series.append((tokens, position_0, values))
    for number, (tokens, position_0, values) in enumerate(series):
        # Beside each other: what is equal with and without position 0 would hide one another.
        shift = 0.5 * (number - (len(series) - 1) / 2) / len(series)
        shown = [(i + shift, v.value, v) for i, v in enumerate(values) if v.value is not None]
        below = [max(0.0, mean - (mean if v.low is None else v.low)) for _, mean, v in shown]
        above = [max(0.0, (mean if v.high is None else v.high) - mean) for _, mean, v in shown]
        index = _ORDER.index(tokens)
        axes.errorbar(
            [x for x, _, _ in shown],
            [mean for _, mean, _ in shown],
            yerr=[below, above],
            color=COLOURS[index],
            marker=MARKERS[index],
            linestyle="--" if position_0 else "-",
            linewidth=1.0,
            elinewidth=0.8,
            capsize=1.5,
            markerfacecolor="white" if position_0 else COLOURS[index],
            markersize=4.5,
        )
    if panel.log and all((v.value or 0) > 0 for _, _, values in series for v in values):
        _logarithmic(axes, "y")
    if panel.counts:
        axes.set_ylim(bottom=0, top=max(1.0, axes.get_ylim()[1]))
    axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    axes.set_xlabel("layer", fontsize=8)
    axes.set_title(panel.title, fontsize=9)
    _plain(axes)
    return {tokens for tokens, _, _ in series}


def _logarithmic(axes: Any, which: str) -> None:
    """Make an axis logarithmic with few, plain-number ticks."""
    getattr(axes, f"set_{which}scale")("log")
    axis = getattr(axes, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _figure(columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(2.9 * columns, 7.5), _HEIGHT), dpi=120)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path, bottom: float) -> None:
    figure.tight_layout(rect=(0, bottom, 1, 1))
    save_plot(figure, path)
