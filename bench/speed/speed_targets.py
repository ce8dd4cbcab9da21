"""Targets of full-size readings, for `speed_page.py`."""

from dataclasses import dataclass
from typing import Any

from blendbench.reports.formats import markdown_table

Part = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A figure of the file, what it is, and the bound that it is meant to keep."""

    key: str
    text: str
    bound: float
    most: bool
    digits: int = 2


_TARGETS = (
    Target("cells48_over_plain_command", "48 new cells as a command: times faster than the plain loop", 2.5, False),
    Target("idea_resident_over_sampling", "one more strategy in a session: wall time over sampling", 1.25, True),
    Target("ratio_1024", "1024², 48 cells: times faster than the plain loop", 2.25, False),
    Target("ratio_512", "512², 48 cells: times faster than the plain loop", 3.8, False),
    Target("ratio_1024_fp8", "the same at 1024² in fp8", 3.0, False),
    Target("ratio_512_fp8", "the same at 512² in fp8", 5.0, False),
    Target("transformer_busy_1024", "1024²: fraction of the wall time in the transformer", 0.90, False, 3),
    Target("busy_1024", "1024²: fraction of the wall time in transformer or VAE", 0.96, False, 3),
    Target("step_over_floor_1024", "1024²: a transformer step over its floor", 1.25, True),
    Target("peak_gib_staged_1024", "1024², one image, within 16 GiB: most memory, GiB", 13.0, True, 1),
    Target("peak_gib_resident_1024", "1024², one image, within 24 GiB: most memory, GiB", 15.2, True, 1),
    Target("peak_gib_fp8_1024", "1024², one image in fp8: most memory, GiB", 9.0, True, 1),
    Target("scoring_ms", "1024², batches of 16: artifact metrics, CLIP and SigLIP, ms an image", 5.0, True, 1),
)
# What the process of a command may spend beside sampling: this fraction of importing the libraries, and seconds.
_OVERHEAD = (
    ("idea_overhead_s", "one more strategy as a command: seconds beside sampling", 8.0),
    ("cells48_overhead_s", "48 new cells as a command: seconds beside sampling", 8.0),
    ("first_run_overhead_s", "first run on this machine: seconds beside sampling", 38.0),
)
_OF_IMPORTS = 0.8


def targets_table(part: Part) -> list[str]:
    """Compare targets with measurements."""
    rows = []
    imports = part.get("bare_imports_s")
    waits = [] if imports is None else [Target(k, t, _OF_IMPORTS * imports + s, True, 1) for k, t, s in _OVERHEAD]
    for target in (*waits, *_TARGETS):
        value = part.get(target.key)
        sign = "at most" if target.most else "at least"
        if value is None:
            shown, mark = "not measured", "–"
        else:
            shown = f"{value:.{target.digits}f}"
            read = round(value, target.digits)
            mark = "yes" if (read <= target.bound) == target.most or read == target.bound else "**no**"
        rows.append([target.text, f"{sign} {target.bound:.3g}", shown, mark])
    return markdown_table(["what", "target", "measured", "kept"], rows, right=(2,))
