"""Plots of an analysis of hidden states: one figure a family of statistics, layers from left to right."""

from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from blendbench.reports.curves import COLOURS, MARKERS
from blendbench.reports.embedding_study import COMPARED, HALVES, NAMES, Study


class Panel(NamedTuple):
    """One statistic; `log`: the axis; `line`: a value to draw for comparison."""

    statistic: str
    title: str
    log: bool = False
    line: float | None = None


class Family(NamedTuple):
    """The statistics of one figure, of tokens by themselves or against the text encoder at the same layer."""

    name: str
    title: str
    reference: str
    panels: tuple[Panel, ...]


FAMILIES = (
    Family("spread", "Size of the values", "", (
        Panel("mean", "mean of all values", line=0), Panel("std", "std of all values", log=True),
        Panel("std_median", "median std of a dimension", log=True),
    )),
    Family("concentration", "How few dimensions and tokens hold the second moment", "", (
        Panel("share_top_1", "largest dimension"), Panel("share_top_2", "2 largest dimensions"),
        Panel("share_top_8", "8 largest dimensions"), Panel("largest_token_share", "longest token of a sequence"),
    )),
    Family("correlation", "Correlation of the std of each dimension with the text encoder's", "same_layer", (
        Panel("pearson", "Pearson", line=1), Panel("spearman", "Spearman", line=1),
        Panel("log_pearson", "Pearson of logarithms", line=1),
    )),
    Family("ratio", "Ratio of the std of each dimension to the text encoder's", "same_layer", (
        Panel("ratio_min", "least", log=True, line=1), Panel("ratio_median", "median", log=True, line=1),
        Panel("ratio_max", "greatest", log=True, line=1), Panel("lacking_4", "dimensions below 1/4"),
        Panel("exceeding_4", "dimensions above 4"),
    )),
    Family("direction", "Cosine of tokens", "same_layer", (
        Panel("cosine_to_reference", "to the text encoder's mean direction", line=0),
        Panel("word_cosine", "to the same word in the text encoder", line=1),
    )),
    Family("distance", "Distance from the text encoder's distribution", "same_layer", (
        Panel("frechet_relative", "Fréchet distance / text encoder's variance", log=True),
    )),
    Family("dimensions", "How many directions the tokens use", "", (
        Panel("effective_rank", "effective rank"), Panel("pairwise_cosine", "mean cosine of two tokens", line=0),
    )),
)  # fmt: skip
_ORDER = tuple(NAMES)
_HEIGHT, _LEGEND = 3.6, 0.66  # inches of a figure, and of them for the legend below


def draw_families(study: Study, folder: Path) -> dict[str, str]:
    """Draw one PNG a family into `folder`; file names by family. The same study gives the same bytes."""
    return {family.name: _family(study, family, folder / f"{family.name}.png") for family in FAMILIES}


def _family(study: Study, family: Family, path: Path) -> str:
    figure, panels = _figure(len(family.panels), _HEIGHT)
    for axes, panel in zip(panels, family.panels, strict=True):
        _panel(axes, study, family, panel)
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.suptitle(family.title, fontsize=11)
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=4, frameon=False, fontsize=7.5)
    return _saved(figure, path, _LEGEND / _HEIGHT)


def _panel(axes: Any, study: Study, family: Family, panel: Panel) -> None:
    layers = sorted(study.layers)
    series = [
        (tokens, position_0)
        for tokens in (_ORDER if family.reference else _ORDER[:-1])
        for position_0 in (False, True)
        if any(study.get(tokens, panel.statistic, position_0, family.reference, n).value is not None for n in layers)
    ]
    if panel.line is not None:
        axes.axhline(panel.line, color="0.35", linewidth=0.8, linestyle=":")
    for number, (tokens, position_0) in enumerate(series):
        values = [study.get(tokens, panel.statistic, position_0, family.reference, n) for n in layers]
        # Beside each other, or equal values with and without position 0 would hide one another.
        shift = 0.5 * (number - (len(series) - 1) / 2) / max(len(series), 1)
        shown = [(i + shift, v) for i, v in enumerate(values) if v.value is not None]
        means = [v.value or 0.0 for _, v in shown]
        errors = [
            [m - (m if v.low is None else v.low) for m, (_, v) in zip(means, shown, strict=True)],
            [(m if v.high is None else v.high) - m for m, (_, v) in zip(means, shown, strict=True)],
        ]
        index = _ORDER.index(tokens)
        axes.errorbar(
            [x for x, _ in shown], means, yerr=[[max(0.0, e) for e in side] for side in errors],
            color=COLOURS[index], marker=MARKERS[index], linestyle="--" if position_0 else "-",
            markerfacecolor="white" if position_0 else COLOURS[index], markersize=4.5, linewidth=1.0, elinewidth=0.8,
            capsize=1.5, label=f"{NAMES[tokens]}{', with position 0' if position_0 else ''}",
        )  # fmt: skip
    if panel.log and all(
        (v.value or 0) > 0 for place, v in study.values.items() if place[3:] == (family.reference, panel.statistic)
    ):
        axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), [str(n) for n in layers])
    axes.set_xlabel("layer", fontsize=8)
    axes.set_title(panel.title, fontsize=9)
    _plain(axes)


def draw_outliers(study: Study, path: Path, count: int = 12) -> str:
    """The most outlying dimensions of each kind of token at the shown layer, without position 0; two-sided."""
    kinds = [tokens for tokens in COMPARED if tokens != HALVES]
    figure, panels = _figure(len(kinds), _HEIGHT)
    for axes, tokens in zip(panels, kinds, strict=True):
        rows = study.standing_out(tokens, False, "same_layer").head(count).iloc[::-1]
        colours = [COLOURS[0] if ratio < 1 else COLOURS[1] for ratio in rows["ratio"]]
        axes.barh(range(len(rows)), rows["ratio"] - 1, left=1, color=colours)
        axes.set_yticks(range(len(rows)), [str(d) for d in rows["dimension"]], fontsize=7)
        axes.set_xscale("log")
        for factor in (1 / 4, 4):
            axes.axvline(factor, color="0.35", linewidth=0.8, linestyle=":")
        axes.axvline(1, color="0.2", linewidth=0.8)
        axes.set_title(NAMES[tokens], fontsize=9)
        axes.set_xlabel("std / text encoder's std", fontsize=8)
        _plain(axes)
    panels[0].set_ylabel("dimension", fontsize=8)
    figure.suptitle(f"Most outlying dimensions, layer {study.shown_layer}, without position 0", fontsize=11)
    return _saved(figure, path, 0.0)


def _figure(columns: int, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(2.9 * columns, 7.5) + 0.3, height), dpi=120)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=7.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _saved(figure: Figure, path: Path, bottom: float) -> str:
    figure.tight_layout(rect=(0, bottom, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})  # the default metadata names the version of matplotlib
    return path.name
