"""What `blendbench measure` prints for people: a sentence and a table of the values of images."""

from collections.abc import Collection, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from blendbench.core.files import printable
from blendbench.core.numbers import fixed
from blendbench.metrics import get_metric
from blendbench.metrics.registry import METRICS
from blendbench.registry.entries import SHIPPED

_NOTHING = {"blank": "one colour", "noise": "noise alone"}
_SEEN = {
    "visible_grid": "grid visible",
    "faint_grid": "a grid that is too faint to be seen",
    "resized_grid": "grid visible, enlarged together with the image",
    "seams": "steps at the borders of patches",
    "tile_seams": "seams between a decoder's tiles",
}
# What keeps the metrics from knowing by the image alone.
_DOUBTS = {
    "periodic_content": "its content repeats with the patch grid",
    "jpeg": "blocks of JPEG lie on the patch grid",
    "jpeg_history": "blocks of JPEG lie on the patch grid",
    "resampled": "it was enlarged or blurred, which hides a grid",
    "size_differs": "it was cropped or resized, which moves a grid",
    "not_whole_patches": "its size is no multiple of the patch grid",
}
_DRAWING = "lines of its content lie on the patch grid"
_ADVICE = "measure the same prompt and seed without the blend too, and compare"
_COLUMNS = ("grid_severity", "effect_size", "facts_siglip", "embedding_style_gain", "color_elsewhere")


def sentence(record: dict[str, Any]) -> str:
    """Say what is wrong with an image, and what shows it where the image alone cannot."""
    flags: Collection[str] = record["flags"]
    if record["status"] == "unreadable":
        return f"not measured: {record['error']}"
    if nothing := [word for flag, word in _NOTHING.items() if flag in flags]:
        return f"shows nothing: {nothing[0]}"
    shown = [flag for flag in _SEEN if flag in flags and not (flag == "faint_grid" and "visible_grid" in flags)]
    seen = "; ".join(_SEEN[flag] for flag in shown)
    doubts = dict.fromkeys(word for flag, word in _DOUBTS.items() if flag in flags)
    severity, limit = record["values"].get("grid_severity"), get_metric("grid_severity").info.threshold
    if not seen and severity is None:
        reason = record.get("unscorable", {}).get("grid_severity") or record.get("error")
        return f"whether a grid is visible cannot be measured: {reason}"
    if not seen and limit is not None and severity >= limit:
        doubts[_DRAWING] = None
    found = seen or "no grid visible"
    return f"{found}, but {' and '.join(doubts)}: {_ADVICE}" if doubts else found


def value_table(record: dict[str, Any], units: dict[str, tuple[str, str, int]]) -> Table:
    """Return a row a metric of one image: its role, value and unit. `units`: role, unit and decimals by metric."""
    table = Table(box=None, header_style="bold")
    for title in ("metric", "role", "value", "unit"):
        table.add_column(title, justify="right" if title == "value" else "left", overflow="fold")
    for name, value in sorted(record["values"].items(), key=lambda entry: (units[entry[0]][0], entry[0])):
        role, unit, decimals = units[name]
        table.add_row(name, role, "–" if value is None else fixed(value, decimals), Text(unit))
    return table


def image_table(records: Sequence[dict[str, Any]], units: dict[str, tuple[str, str, int]]) -> Table:
    """Return a row an image: its sentence, the values that matter most, and those of metrics that are not shipped."""
    own = sorted(name for name, entry in METRICS.entries().items() if entry.origin != SHIPPED)
    names = [name for name in (*_COLUMNS, *own) if any(name in record["values"] for record in records)]
    table = Table(box=None, header_style="bold")
    for title in ("image", *names, ""):
        table.add_column(title, justify="right" if title in names else "left", overflow="fold")
    for record in records:
        values = [(record["values"].get(name), units[name][2]) for name in names]
        shown = ["–" if value is None else fixed(value, decimals) for value, decimals in values]
        table.add_row(Text(printable(record["path"])), *shown, Text(sentence(record)))
    return table
