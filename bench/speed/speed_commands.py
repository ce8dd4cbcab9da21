"""The table of whole commands, for `speed_page.py`."""

from typing import Any

from blendbench.reports.formats import markdown_table

_COMMANDS = {
    "first_run": "first run on this machine, 48 cells at 1024²",
    "cells48": "48 new cells at 1024², all else cached",
    "idea": "one more strategy, 8 cells at 1024²",
}
_SPENT = (("until the first batch", "until_first_batch"), ("loading", "load"), ("compiling", "warm_up"))


def commands_table(part: dict[str, Any]) -> list[str]:
    """Whole commands in fresh processes: what a user waits for."""
    readings, rows = part["readings"], []
    for name, words in _COMMANDS.items():
        if found := readings.get(name):
            spent = [f"{found[key]:.0f}" for key in ("seconds", "sampling_s", "overhead_s")]
            parts = [f"{key} {found[f'{value}_s']:.0f} s" for key, value in _SPENT if f"{value}_s" in found]
            rows.append([words, str(len(found.get("all", [0]))), str(found["batches"]), *spent, ", ".join(parts)])
    if not rows:
        return []
    header = ["command", "processes, the median counts", "batches", "seconds", "sampling", "the rest", "of it"]
    lines = markdown_table(header, rows, right=(1, 2, 3, 4, 5))
    if found := readings.get("plain_command"):
        lines += [
            "",
            f"The plain loop as a whole command takes {found['whole_s']:.0f} s for the {found['cells']} cells, by the"
            f" pace of its first {found['loop']['cells']}.",
        ]
    if found := readings.get("bare_imports"):
        lines += ["", f"Importing torch, diffusers, transformers and open_clip alone takes {found['seconds']:.0f} s."]
    return ["## Whole commands, in a new process", "", *lines, ""]
