"""The page about hidden states, a pure function of one analysis."""

import math
from pathlib import Path

from blendbench.core.files import write_atomically
from blendbench.core.numbers import MINUS
from blendbench.reports.embedding_plots import FAMILIES, plot_families, plot_outliers
from blendbench.reports.embedding_study import HALVES, NAMES, REFERENCE, Study, Value, read_study
from blendbench.reports.folders import make_folder
from blendbench.reports.formats import blocks, markdown_table
from blendbench.results.store import Results

FOLDER = "embeddings"  # of the plots, beside the page
_SINK = 1.5  # position 0 is called a sink if the text encoder's std with it is this many times the std without it
_OWN = (
    ("tokens", "tokens"),
    ("mean", "mean"),
    ("std", "std"),
    ("std_median", "median std of a dimension"),
    ("share_top_2", "share of the 2 largest dimensions"),
    ("largest_token_share", "share of the longest token"),
    ("effective_rank", "effective rank"),
    ("pairwise_cosine", "cosine of two tokens"),
)
_AGAINST = (
    ("pearson", "Pearson"),
    ("spearman", "Spearman"),
    ("log_pearson", "Pearson of logarithms"),
    ("ratio_median", "median ratio"),
    ("lacking_4", "below 1/4"),
    ("exceeding_4", "above 4"),
    ("cosine_to_reference", "cosine to its mean direction"),
    ("word_cosine", "cosine of equal words"),
    ("frechet_relative", "Fréchet / its variance"),
)


def write_embeddings(results: Results, out: Path, analysis_id: str | None = None) -> tuple[Study, Path]:
    """Write `<out>/embeddings.md` and its plots, by default of the latest."""
    study = read_study(results, analysis_id)
    path = make_folder(out) / "embeddings.md"
    plot_families(study, out / FOLDER)
    plot_outliers(study, out / FOLDER / "outliers.webp")
    write_atomically(path, render_embeddings(study).encode())
    return study, path


def render_embeddings(study: Study) -> str:
    """Render the page as markdown."""
    layer = study.shown_layer
    lines = blocks(
        "# Hidden states of the encoders",
        findings(study)[0],
        _introduction(study),
        "## Findings",
        [f"- {sentence}" for sentence in findings(study)[1:]],
        f"## Tokens by themselves, layer {layer}",
        "Position 0 is the chat template's first token. The std over all values is what is usually quoted; it follows "
        "the largest dimensions and, if one token carries them, the number of tokens. The median over dimensions of "
        "the std does not.",
        _table(study, [t for t in study.kinds if t != HALVES], "", _OWN),
        f"## Against the text encoder at the same layer, layer {layer}",
        f"Correlations and ratios are of the standard deviations of each dimension. The row `{NAMES[HALVES]}` is "
        "the text encoder against itself: differences as small as its own are no finding.",
        _table(study, [t for t in study.kinds if t != REFERENCE], "same_layer", _AGAINST),
        *_conditioning_section(study),
        f"## Outlying dimensions, layer {layer}, without position 0",
        "Two-sided: by the larger of ratio and 1 / ratio.",
        _outlier_table(study),
        f"![outlying dimensions]({FOLDER}/outliers.webp)",
        "## By layer",
        *(f"![{family.title}]({FOLDER}/{family.name}.webp)" for family in FAMILIES),
        'Every number, and those of the other layers: `blendbench sql "FROM embedding_statistics WHERE layer = '
        f'{layer}"`; the dimensions: `blendbench sql "FROM embedding_outliers"`. What each statistic is: '
        "[docs/embeddings.md](../docs/embeddings.md).",
    )
    return "\n".join(lines)


def _introduction(study: Study) -> str:
    prompts = f"{study.items} prompt{'s' if study.items > 1 else ''}"
    return (
        f"Model set `{study.model_set}` ({study.model_set_sha256[:12]}), suite `{study.suite}` "
        f"({study.suite_sha256[:12]}), {prompts}, each alone through the text encoder and once with its reference "
        f"image through Qwen3-VL. Layers {', '.join(map(str, study.layers))} ({MINUS}1 is the last, after the final "
        f"norm); conditionings are made from layer {study.text_layer}. {study.dim} dimensions. "
        "Written by `blendbench embeddings` from the database; intervals are 95 %, over prompts."
    )


def findings(study: Study) -> list[str]:
    """Return what follows from the numbers of the shown layer, in sentences."""
    return [_sink_sentence(study), _pearson_sentence(study), *_outlier_sentences(study)]


def _sink_sentence(study: Study) -> str:
    kept, left = (study.get(REFERENCE, "std", p).value or 0.0 for p in (True, False))
    share, rest = (study.get(REFERENCE, "share_top_2", p).value or 0.0 for p in (True, False))
    figures = (
        f"the text encoder's std is {_significant(kept)} with position 0 and {_significant(left)} without; its two "
        f"largest dimensions hold {share:.1%} of the second moment with it and {rest:.1%} without"
    )
    if left > 0 and not 1 / _SINK < kept / left < _SINK:
        return f"**Position 0 is an attention sink**: {figures}. Statistics with it depend on the number of tokens."
    return f"**Position 0 is no attention sink here**: {figures}."


def _pearson_sentence(study: Study) -> str:
    parts = []
    for position_0 in (True, False):
        raw, logs = (study.get("vl_text", name, position_0, "same_layer").value for name in ("pearson", "log_pearson"))
        parts.append(
            f"{_correlation(raw)} against {_correlation(logs)} {'with' if position_0 else 'without'} position 0"
        )
    return (
        "Qwen3-VL's text tokens and the text encoder, per-dimension std: raw Pearson against Pearson of logarithms is "
        + ", ".join(parts)
        + ". Where the two part, a few large dimensions decide the raw one."
    )


def _outlier_sentences(study: Study) -> list[str]:
    sentences = []
    for tokens in ("vl_text", "vl_image"):
        lacking, exceeding = (
            int(study.get(tokens, f"{side}_4", False, "same_layer").value or 0) for side in ("lacking", "exceeding")
        )
        sentences.append(
            f"{NAMES[tokens]}: of {study.dim} dimensions {lacking} have less than a quarter of the text encoder's std "
            f"and {exceeding} more than four times (without position 0); a test for large ratios alone flags "
            f"{exceeding}."
        )
    return sentences


def _conditioning_section(study: Study) -> list[str | list[str]]:
    shown = [(name, title) for name, title in _AGAINST if name != "word_cosine"]
    rows = [
        [
            str(layer),
            NAMES[tokens],
            *(value_text(study.get(tokens, name, False, "text_layer", layer), name) for name, _ in shown),
        ]
        for layer in study.layers
        if layer != study.text_layer
        for tokens in (REFERENCE, "vl_text", "vl_image")
    ]
    if not rows:
        return []
    header = ["layer", "tokens", *(title for _, title in shown)]
    return [
        f"## Other layers against the text encoder's layer {study.text_layer}, without position 0",
        "What a blend of that layer with the text meets, since conditionings keep the text of that one layer.",
        markdown_table(header, rows, right=range(2, len(header))),
    ]


def _table(study: Study, kinds: list[str], reference: str, shown: tuple[tuple[str, str], ...]) -> list[str]:
    rows = [
        [
            NAMES[tokens],
            "with" if position_0 else "without",
            *(value_text(study.get(tokens, name, position_0, reference), name) for name, _ in shown),
        ]
        for tokens in kinds
        for position_0 in (True, False)
        if reference or not position_0 or study.has_position_0(tokens)
    ]
    header = ["tokens", "position 0", *(title for _, title in shown)]
    return markdown_table(header, rows, right=range(2, len(header)))


def _outlier_table(study: Study, count: int = 8) -> list[str]:
    rows = [
        [
            NAMES[tokens],
            str(row.dimension),
            _significant(row.ratio),
            "lacks" if row.ratio < 1 else "exceeds",
            _significant(row.std),
            _significant(row.reference_std),
            f"{row.share:.1%}",
            f"{row.reference_share:.1%}",
        ]
        for tokens in ("vl_text", "vl_image")
        for row in study.outlying(tokens)[:count]
    ]
    header = ["tokens", "dimension", "ratio", "", "std", "text encoder's", "share of second moment", "text encoder's"]
    return markdown_table(header, rows, right=(1, 2, 4, 5, 6, 7))


def value_text(value: Value, statistic: str, interval: bool = True) -> str:
    """Write a value, with its interval if it has one; a dash if it is unknown."""
    if value.value is None:
        return "–"
    if statistic in ("tokens", "items") or statistic.startswith(("lacking", "exceeding")):
        return f"{value.value:.0f}"
    write = _correlation if any(p in statistic for p in ("pearson", "spearman", "cosine", "share")) else _significant
    if not interval or value.low is None or value.high is None:
        return write(value.value)
    return f"{write(value.value)} [{write(value.low)}, {write(value.high)}]"


def _correlation(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 3) + 0.0:.3f}".replace("-", MINUS)


def _significant(value: float) -> str:
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 6)}f}".replace("-", MINUS)
