"""Write the miniature's report: `python -m miniature.page`.

It says how good the miniature is, and whether it is a faithful stand-in.

A pure function of the measures that `miniature.evaluate` wrote, of the core experiment's results and
of the analysis of hidden states (`blendbench embeddings`) in the same results.
"""

import argparse
import itertools
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blendbench
from blendbench.core.numbers import number
from blendbench.reports.board import Board, read_board
from blendbench.reports.embedding_study import NAMES, Study, latest_analysis, read_study
from blendbench.reports.embeddings import value_text
from blendbench.reports.formats import markdown_table
from blendbench.results.export import open_folder

Measures = dict[str, dict[str, dict[str, float]]]
_TARGETS: tuple[tuple[str, tuple[tuple[str, str], ...], float], ...] = (
    (
        "probe on rendered images: every attribute",
        tuple(("probe_rendered", name) for name in ("objects", "style", "background", "position", "size")),
        0.99,
    ),
    ("text_only generation, 9 steps: colour and shape of all objects", (("generation", "objects"),), 0.90),
    ("the same, single objects", (("generation", "single_object"),), 0.95),
    ("style right where the prompt names it", (("generation", "style_named"),), 0.85),
    (
        "matched caption first among 64 (CLIP, SigLIP)",
        (("clip", "first_of_64"), ("siglip", "first_of_64")),
        0.90,
    ),
    (
        "Qwen3-VL: caption attributes",
        tuple(("vision_language", name) for name in ("colour", "shape", "size", "background", "style")),
        0.95,
    ),
)
_SPEED = 3.0
_ADHERENCE = "attribute_adherence"
_ALPHAS = (0.1, 0.3, 0.5, 1.0)
# What should move with alpha all the way, and whether it falls.
_DOSED = (
    ("attribute_adherence", True),
    ("clip_cosine", True),
    ("siglip_cosine", True),
    ("grid_severity", False),
    ("color_bleeding", False),
    ("color_drift", False),
    ("effect_size", False),
)


@dataclass(frozen=True)
class Claim:
    """A property of a faithful stand-in, whether it is shown, and figures."""

    text: str
    shown: bool | None
    figures: str


def wilson(share: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a fraction out of n (E. B. Wilson 1927)."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def quality_table(measures: Measures) -> list[str]:
    """Compare targets with measured fractions, by each group's worst."""
    rows = []
    for text, places, least in _TARGETS:
        group, name = min(places, key=lambda place: measures[place[0]][place[1]]["value"])
        share, n = measures[group][name]["value"], measures[group][name]["n"]
        low, high = wilson(share, n)
        part = f" ({name})" if len(places) > 1 else ""
        rows.append(
            [text + part, f"{least:.0%}", f"{share:.1%} [{low:.1%}, {high:.1%}]", f"{n:.0f}", _mark(share >= least)]
        )
    speed = measures["speed"]["images_a_second"]["value"]
    rows.append(
        [
            "images a second, 9 steps, batch 16 (where this was run)",
            f"{_SPEED:g}",
            f"{speed:.1f}",
            "",
            _mark(speed >= _SPEED),
        ]
    )
    return markdown_table(["what", "at least", "measured, 95 % interval", "n", "reached"], rows)


def _mark(reached: bool | None) -> str:
    return "undecided" if reached is None else ("yes" if reached else "**no**")


def stand_in_claims(board: Board, study: Study | None) -> list[Claim]:
    """Judge the five properties, from the core experiment or embeddings."""
    return [
        _text_stays(board),
        _image_breaks(board),
        *_monotone(board),
        _style_transfers(board),
        kinds_differ(study),
    ]


def _difference(board: Board, label: str, metric: str) -> tuple[float, float, float] | None:
    configuration = board.configuration(label)
    found = configuration.entries[metric].difference if configuration and metric in configuration.entries else None
    return (found.mean, found.low, found.high) if found else None


def _shown(board: Board, metric: str, values: tuple[float, float, float]) -> str:
    mean, low, high = (number(value, board.metrics[metric], signed=True) for value in values)
    return f"{mean} [{low}, {high}]"


def _text_stays(board: Board) -> Claim:
    text = "(a) Qwen3-VL's text tokens at alpha 1 stay near text_only (attribute adherence lost: less than 0.1)"
    values = _difference(board, "vision_only:tokens=text", _ADHERENCE)
    if values is None:
        return Claim(text, None, "not measured")
    return Claim(text, values[1] > -0.1, _shown(board, _ADHERENCE, values))


def _image_breaks(board: Board) -> Claim:
    text = "(b) image tokens at alpha 1 lose the prompt (attribute adherence lost: more than 0.1)"
    values = _difference(board, "vision_only", _ADHERENCE)
    if values is None:
        return Claim(text, None, "not measured")
    return Claim(text, values[2] < -0.1, _shown(board, _ADHERENCE, values))


def _monotone(board: Board) -> list[Claim]:
    claims = []
    for metric, falls in _DOSED:
        values = [_difference(board, f"lerp:alpha={alpha:g}", metric) for alpha in _ALPHAS]
        text = f"(c) {metric} {'falls' if falls else 'rises'} with alpha (0, {', '.join(f'{a:g}' for a in _ALPHAS)})"
        found = [value for value in values if value is not None]
        if len(found) < len(values):
            claims.append(Claim(text, None, "not measured"))
            continue
        margin, sign = board.metrics[metric].margin, -1 if falls else 1
        steps = [sign * (b - a) for a, b in itertools.pairwise([0.0, *(value[0] for value in found)])]
        # No step goes back by more than the margin, and in the end it has moved by more than the margin for sure.
        moved = min(sign * end for end in found[-1][1:])
        figures = ", ".join(_shown(board, metric, value) for value in found)
        lost = _difference(board, f"lerp:alpha={_ALPHAS[-1]:g}", "collapsed")
        if board.metrics[metric].role == "artifact" and lost is not None:
            figures += (
                f"; images that show nothing, which count as the worst, at the end: {_shown(board, 'collapsed', lost)}"
            )
        claims.append(Claim(text, min(steps) >= -margin and moved > margin, figures))
    return claims


def _style_transfers(board: Board) -> Claim:
    text = "(d) the reference's style comes over for some configuration, more than for the controls"
    metric = "reference_style"
    gains = {
        c.label: values
        for c in board.configurations
        if not c.control and (values := _difference(board, c.label, metric)) is not None
    }
    controls = [
        _difference(board, name, metric) for name in ("noise_reference", "unrelated_reference", "blank_reference")
    ]
    if not gains or any(value is None for value in controls):
        return Claim(text, None, "not measured")
    label = max(gains, key=lambda name: gains[name][1])
    highest = max(value[0] for value in controls if value)
    best_control = number(highest, board.metrics[metric], signed=True)
    figures = f"`{label}` {_shown(board, metric, gains[label])}; best control {best_control}"
    return Claim(text, gains[label][1] > max(highest, 0.0), figures)


def kinds_differ(study: Study | None) -> Claim:
    """Property (e), from the analysis of hidden states.

    None if it was not made.
    """
    text = "(e) per-dimension spread: text tokens close to the text encoder's, image tokens of another kind"
    if study is None:
        return Claim(text, None, "not measured")
    figures = []
    for tokens in ("vl_text", "vl_image"):
        spearman, logarithms, least, greatest = (
            value_text(study.get(tokens, name, False, "same_layer"), name)
            for name in ("spearman", "log_pearson", "ratio_min", "ratio_max")
        )
        figures.append(f"{NAMES[tokens]}: Spearman {spearman}, of logarithms {logarithms}, ratios {least}..{greatest}")
    near = study.get("vl_text", "spearman", False, "same_layer").low
    far = study.get("vl_image", "spearman", False, "same_layer").high
    shown = None if near is None or far is None else near > 0.9 and far < near - 0.1
    return Claim(text, shown, "; ".join(figures))


def page(
    board: Board, study: Study | None, measures: Measures, training: list[dict[str, Any]], sheet: str | None = None
) -> str:
    """Write the report as markdown; `sheet` is the path of the sample images."""
    sheet_lines = [f"![64 images of text_only on held-out scenes]({sheet})", ""] if sheet else []
    stages = markdown_table(
        ["stage", "seconds trained", "steps' batch", "scenes", "last loss", "on"],
        [
            [
                r["stage"],
                f"{r['recipe']['seconds']:g}",
                str(r["recipe"]["batch"]),
                str(r["scenes"]),
                f"{r['loss']:.4f}",
                r["device"],
            ]
            for r in training
        ],
    )
    claims = markdown_table(
        ["property", "shown", "figures"],
        [[claim.text, _mark(claim.shown), claim.figures] for claim in stand_in_claims(board, study)],
    )
    lines = [
        "# The miniature model set",
        "",
        "Measured on scenes whose combinations of colour, shape and style no stage but the probe was trained on.",
        "",
        "## Quality",
        "",
        *quality_table(measures),
        "",
        *sheet_lines,
        "## A faithful stand-in?",
        "",
        f"Differences to text_only with 95 % intervals, from experiment `{board.experiment}`. (c): no step goes back by"
        " more than the metric's margin, and at alpha 1 the whole interval is beyond it. (e) without position 0, from"
        " `blendbench embeddings`.",
        "",
        *claims,
        "",
        "Where the grid does not rise with alpha, the reason is how such a blend breaks here: tokens between the two"
        " languages give blurred and mixed colours. A grid comes from captions longer than any that was trained on,"
        " which is what the canary is.",
        "",
        "## Training record",
        "",
        *stages,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measures", type=Path, required=True)
    parser.add_argument(
        "--training", type=Path, default=Path(blendbench.__file__).parent / "models/miniature/weights/training.jsonl"
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--experiment", default="core")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    measures = json.loads(arguments.measures.read_text())
    training = [json.loads(line) for line in arguments.training.read_text().splitlines()]
    results = open_folder(arguments.results)
    board = read_board(results, arguments.experiment)
    analysis = latest_analysis(results, board.run["model_set_sha256"])
    study = read_study(results, analysis) if analysis else None
    sheet = arguments.measures.with_suffix(".webp")
    name = os.path.relpath(sheet, arguments.out.parent) if sheet.is_file() else None
    arguments.out.write_text(page(board, study, measures, training, name))


if __name__ == "__main__":
    main()
