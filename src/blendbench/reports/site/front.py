"""The plot of gain against cost, whose points show their figures and images."""

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from blendbench.reports.contact_sheet import ROWS
from blendbench.reports.images import PHOTOS, REFERENCE, PageImages, save_image
from blendbench.reports.standings import Standings, spread
from blendbench.results.store import Results
from blendbench.verdict.headline import BUDGETS
from blendbench.verdict.known import BASELINE
from blendbench.verdict.sentence import gain_noun

WIDTH, HEIGHT, LEFT, BOTTOM, EDGE = 760, 420, 56, 44, 14  # of the plot and its margins, in pixels
IMAGES = "points"


@dataclass(frozen=True)
class Sample:
    """Items whose images are shown, and the file of each image by label and item."""

    items: list[tuple[str, str]]  # id and prompt
    references: dict[str, str]
    files: dict[tuple[str, str], str]


def write_images(results: Results, experiment: str, images: PageImages, pages: Path) -> Sample:
    """Write the images of some items below the folder `pages`; those that cannot be read are left out."""
    folder = pages / experiment / IMAGES
    rows = results.rows(
        f"""
        SELECT c.item, i.prompt, c.label, c.image_sha256, {REFERENCE}
        FROM current_cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? AND c.status = 'ok' QUALIFY c.seed = min(c.seed) OVER () ORDER BY c.item, c.label
        """,
        [experiment],
    )
    prompts = {item: str(prompt) for item, prompt, *_ in rows}
    items = spread(list(prompts), ROWS)
    files: dict[tuple[str, str], str] = {}
    references: dict[str, str] = {}
    written: set[str] = set()

    def write(sha256: str | None) -> str | None:
        if sha256 and sha256 not in written and (image := images.load(sha256)) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            save_image(image, folder / f"{sha256[:16]}.webp", PHOTOS)
            written.add(sha256)
        return f"{experiment}/{IMAGES}/{sha256[:16]}.webp" if sha256 in written else None

    for item, _, label, sha256, reference in rows:
        if item in items:
            if (name := write(sha256)) is not None:
                files[str(label), item] = name
            if (name := write(reference)) is not None:
                references[item] = name
    return Sample([(item, prompts[item]) for item in items], references, files)


def front_html(standings: Standings, sample: Sample | None) -> str:
    """Return the plot as HTML with `$image` where the plain image belongs; nothing if there is no point."""
    known, losses, gains = standings.known, np.array(standings.losses) * 100, np.array(standings.gains)
    shown = [row for row in range(len(losses)) if np.isfinite([losses[row], gains[row]]).all()]
    if len(shown) < 2:
        return ""
    low, high = min(0.0, float(losses[shown].min())), max(100 * BUDGETS[0], float(losses[shown].max()))
    floor, top = min(0.0, float(gains[shown].min())), max(float(gains[shown].max()), known.metrics["gain"].margin)
    across = (WIDTH - LEFT - EDGE) / (high - low) * 0.98
    up = (HEIGHT - BOTTOM - EDGE) / (top - floor) * 0.98

    def x(loss: float) -> float:
        return round(LEFT + (min(max(loss, low), high) - low) * across + 4, 1)

    def y(gain: float) -> float:
        return round(HEIGHT - BOTTOM - (min(max(gain, floor), top) - floor) * up - 2, 1)

    lines = [
        *(_line(x(100 * b), EDGE, x(100 * b), HEIGHT - BOTTOM, "budget") for b in BUDGETS if 100 * b <= high),
        _line(x(0), EDGE, x(0), HEIGHT - BOTTOM, "axis"),
        _line(LEFT, y(0), WIDTH - EDGE, y(0), "axis"),
        *(_text(x(tick), HEIGHT - BOTTOM + 16, f"{tick:g} %", "middle") for tick in _ticks(low, high)),
        *(_text(LEFT - 6, y(tick) + 4, f"{tick:g}", "end") for tick in _ticks(floor, top)),
        _text((WIDTH + LEFT) / 2, HEIGHT - 6, "prompt lost", "middle"),
        _text(LEFT, EDGE - 2, f"{gain_noun(known.metrics['gain'].name)} gained", "start"),
    ]
    if len(standings.front) > 1:
        joined = " ".join(f"{x(losses[row])},{y(gains[row])}" for row in standings.front)
        lines.append(f'<polyline class="front" points="{joined}"/>')
    points: list[str] = []
    details: dict[int, dict[str, object]] = {}
    for row in sorted(shown, key=lambda row: (losses[row], row)):
        label = known.points[row].label
        kind = "base" if label == BASELINE else "control" if known.points[row].control else ""
        kind = "best" if row in standings.front else kind
        figures = _figures(standings, row, float(losses[row]), float(gains[row]))
        if (own := standings.measured.get(row)) is not None:
            lines += [
                _line(x(losses[row]), y(own.gain.low), x(losses[row]), y(own.gain.high), "bar"),
                _line(x(100 * own.loss.low), y(gains[row]), x(100 * own.loss.high), y(gains[row]), "bar"),
            ]
        points.append(
            f'<path class="point {kind}" d="{_mark(x(losses[row]), y(gains[row]), kind)}" tabindex="0" role="button"'
            f' data-point="{len(details)}"><title>{escape(label)}: {escape(figures)}</title></path>'
        )
        details[len(details)] = {"label": label, "figures": figures, "images": _images(sample, label)}
    data = json.dumps(details).replace("<", "\\u003c")
    return (
        '<figure class="live"><noscript>$image</noscript>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="Gain against cost of every configuration">'
        f"{''.join(lines + points)}</svg>"
        '<div class="detail" aria-live="polite"><p>Point at a configuration, or go through them with Tab.</p></div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def _figures(standings: Standings, row: int, loss: float, gain: float) -> str:
    noun = gain_noun(standings.known.metrics["gain"].name)
    if (own := standings.measured.get(row)) is None:
        return f"{gain:z.2f} {noun} for {loss:z.1f} % of the prompt"
    return (
        f"{gain:z.2f} {noun} [{own.gain.low:z.2f}, {own.gain.high:z.2f}] for {loss:z.1f} % of the prompt"
        f" [{100 * own.loss.low:z.1f}, {100 * own.loss.high:z.1f}]"
    )


def _images(sample: Sample | None, label: str) -> list[list[str | None]]:
    """Return prompt, reference, baseline's image and own image of each item."""
    if sample is None:
        return []
    return [
        [prompt, sample.references.get(item), sample.files.get((BASELINE, item)), sample.files.get((label, item))]
        for item, prompt in sample.items
    ]


def _ticks(low: float, high: float) -> list[float]:
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if (high - low) / step <= 8)
    first = int(np.ceil(low / step))
    return [round(tick * step, 2) for tick in range(first, int(np.floor(high / step)) + 1)]


def _mark(x: float, y: float, kind: str) -> str:
    if kind == "control":
        return f"M{x} {y - 7}l6 11h-12z"
    return f"M{x - 6} {y}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
