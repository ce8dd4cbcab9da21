"""What plots share: colours, sizes for narrow screens, and labels that do not overlap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from matplotlib.transforms import Bbox

# Okabe & Ito (2008): distinguishable with every common colour blindness; markers and line styles repeat the difference.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.")
FAINT = "#a6a6a6"
# Few inches and many dots: shown at the width of a phone, the letters are still read.
WIDTH, DPI = 4.8, 160
# Where a label may stand: offsets from its point in points, nearest first.
_OFFSETS = sorted(
    (
        (dx * step, dy * step)
        for step, (dx, dy) in product((1.0, 1.8, 2.8, 4.0, 5.5), product((-1, 0, 1), (-1, 0, 1)))
        if dx or dy
    ),
    key=lambda offset: offset[0] ** 2 + offset[1] ** 2,
)


@dataclass(frozen=True)
class Label:
    """A text beside a point of a panel."""

    text: str
    x: float
    y: float
    colour: str
    size: float = 8
    bold: bool = False


def style_panel(panel: Any) -> None:
    """Give a panel thin grid lines and no frame above and at the right."""
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="0.92", linewidth=0.8)
    panel.set_axisbelow(True)


def place_labels(panel: Any, labels: Iterable[Label], points: Sequence[tuple[float, float]]) -> None:
    """Write labels beside their points, where they cover neither `points` nor each other.

    A label that stands apart from its point is joined to it by a thin line. The panel's limits and the layout of its
    figure must be final.
    """
    figure = panel.figure
    renderer = figure.canvas.get_renderer()
    frame = panel.get_window_extent(renderer)
    dot = figure.dpi / 72
    taken = [_box(panel.transData.transform(point), 3 * dot) for point in points]
    for label in labels:
        text = panel.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            fontsize=label.size,
            fontweight="bold" if label.bold else "normal",
            color=label.colour,
            va="center",
            zorder=9,
        )
        own = text.get_window_extent(renderer)
        place = panel.transData.transform((label.x, label.y))
        best, fewest = (0.0, 0.0), float("inf")
        for dx, dy in _OFFSETS:
            # From the point to the near edge of the text, whatever its length.
            centre = (place[0] + dx * 6 * dot + _sign(dx) * own.width / 2, place[1] + dy * 7 * dot)
            box = Bbox.from_bounds(centre[0] - own.width / 2, centre[1] - own.height / 2, own.width, own.height)
            outside = max(0.0, frame.x0 - box.x0) + max(0.0, box.x1 - frame.x1 - 4 * dot)
            outside += max(0.0, frame.y0 - box.y0) + max(0.0, box.y1 - frame.y1)
            overlaps = 10 * outside + sum(_overlap(box, other) for other in taken)
            if overlaps < fewest:
                best, fewest = (centre[0] - own.width / 2, centre[1]), overlaps
            if overlaps == 0:
                break
        text.set_position(((best[0] - place[0]) / dot, (best[1] - place[1]) / dot))
        placed = text.get_window_extent(renderer)
        taken.append(placed)
        near = (min(max(place[0], placed.x0), placed.x1), min(max(place[1], placed.y0), placed.y1))
        if (near[0] - place[0]) ** 2 + (near[1] - place[1]) ** 2 > (9 * dot) ** 2:
            ends = panel.transData.inverted().transform([place, near])
            panel.plot(*ends.T, color=label.colour, linewidth=0.6, zorder=2)


def _box(place: Sequence[float], half: float) -> Bbox:
    x, y = place
    return Bbox([[x - half, y - half], [x + half, y + half]])


def _overlap(first: Bbox, second: Bbox) -> float:
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return width * height if width > 0 and height > 0 else 0.0


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
