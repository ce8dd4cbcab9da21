"""Write reports/reliability.md: what stopped commands, spoilt disks, damaged input and many cells do.

python bench/pages/reliability_page.py --data .reliability --out reports

`make reliability` runs the commands that measure; each leaves its figures in --data. Those of the last time stay for
what was not measured again. All figures stand beside the page, in reports/reliability.json.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blendbench.core.files import write_atomically
from blendbench.reports.formats import markdown_table

Rows = list[dict[str, Any]]
MUTATED = ("stats", "verdict", "identity", "metrics")
UNFINISHED = " The command was not finished: fewer than it is made for."


def crash_part(found: dict[str, Any]) -> list[str]:
    """Describe stopped commands and spoilt disks."""
    rows: Rows = [row for row in found["rows"] if row["trials"]]
    trials, differences = sum(row["trials"] for row in rows), sum(len(row["found"]) for row in rows)
    counts = {(row["command"], row["what"]): f"{row['trials']}" for row in rows}
    ways = list(dict.fromkeys(row["what"] for row in rows))
    return [
        f"**{trials:,} commands were stopped, or their disk was spoilt, and repeated: {differences} differences** from"
        f" commands that were left alone, and at most {max(row['repeated'] for row in rows)} cells generated again."
        f"{'' if found['finished'] else UNFINISHED}",
        "",
        "A command is killed with -9, at random moments and at file operations, or its disk is full, read-only or over"
        " quota. Then it is repeated, and every table, image and page is compared with those of a command that was left"
        " alone. Nothing half-written may be left. Half of the kills come at a random moment of the command's usual"
        " duration, and those that come just after its end count too. Trials:",
        "",
        *markdown_table(
            ["command", *ways],
            [
                [command, *(counts.get((command, way), "") for way in ways)]
                for command in dict.fromkeys(row["command"] for row in rows)
            ],
        ),
        *([""] if differences else []),
        *(f"- {difference}" for row in rows for difference in row["found"]),
    ]


def fuzz_part(found: dict[str, Any]) -> list[str]:
    """Describe damaged input."""
    rows: Rows = [row for row in found["rows"] if row["inputs"]]
    inputs, wrong = sum(row["inputs"] for row in rows), sum(row["found"] for row in rows)
    peak, slowest = max(row["peak_mib"] for row in rows), max(row["slowest"] for row in rows)
    return [
        f"**{inputs:,} damaged inputs: {wrong} tracebacks, crashes or hangs.** All others were read, or refused in one"
        f" line.{'' if found['finished'] else UNFINISHED}",
        "",
        "Each input is a file that is read, with bytes, lines or values changed. The slowest took"
        f" {slowest:.1f} s of CPU time; no process used more than {peak:,} MiB.",
        "",
        *markdown_table(
            ["reader", "inputs", "accepted", "refused in one line", "tracebacks, crashes, hangs"],
            [[row["reader"], *(f"{row[key]:,}" for key in ("inputs", "accepted", "refused", "found"))] for row in rows],
        ),
    ]


def soak_part(found: dict[str, Any]) -> list[str]:
    """Describe many cells: CPU seconds by number of cells, and the most memory."""
    rows: Rows = found["rows"]
    counts = sorted({row["cells"] for row in rows})
    peak = max(row["peak_mib"] for row in rows)
    table = []
    for stage in dict.fromkeys(row["stage"] for row in rows):
        of_stage = {row["cells"]: row for row in rows if row["stage"] == stage}
        seconds = [f"{of_stage[count]['cpu']:.1f} s" if count in of_stage else "" for count in counts]
        table.append([stage, *seconds, f"{max(row['peak_mib'] for row in of_stage.values()):,} MiB"])
    return [
        f"**{counts[-1]:,} cells of a stub engine: at most {peak:,} MiB** in each command.",
        "",
        "CPU time and peak memory of each command, in a process of its own. The stub stores images of 32 pixels, one"
        " for ten cells, and makes eight values a cell up; all else is what `blendbench` does.",
        "",
        *markdown_table(["command", *(f"{count:,} cells" for count in counts), "peak memory"], table),
    ]


def containment_part(found: dict[str, Any]) -> list[str]:
    """Describe what a process of its own costs."""
    low, cost, high = (f"{100 * part:.2f}" for part in (found["spread"][0], found["cost"], found["spread"][1]))
    return [
        f"**Calling strategies in a process of their own takes {cost} % of a run's time**, of {found['cells']} cells on"
        f" the miniature ({low} to {high} % in {found['pairs']} pairs of runs).",
        "",
        "The seconds of the calls, less those of the same calls in the run's own process, over the seconds of the run.",
    ]


def mutation_part(found: dict[str, Any]) -> list[str]:
    """Describe which changes of the source no test notices."""
    rows: Rows = found["rows"]
    tried, survived = sum(row["tried"] for row in rows), sum(len(row["survived"]) for row in rows)
    at_first = sum(row.get("at_first", len(row["survived"])) for row in rows)
    missing = [part for part in MUTATED if part not in [row["part"] for row in rows if row["tried"]]]
    return [
        f"**{survived} of {tried} changes of one operator or number were noticed by no test** of their part, {at_first}"
        " before tests were written for what this sample showed: that fraction is to be expected of other changes."
        f"{' Not measured: ' + ', '.join(missing) + '.' if missing else ''}",
        "",
        *markdown_table(
            ["part", "changes tried", "of all", "not noticed"],
            [
                [row["part"], f"{row['tried']}", f"{row['of']:,}", f"{len(row['survived'])}"]
                for row in rows
                if row["tried"]
            ],
        ),
        "",
        *(f"- `{where}`" for row in rows for where in row["survived"]),
    ]


def coverage_part(found: dict[str, Any]) -> list[str]:
    """Describe the lines that tests execute."""
    return [
        f"**{found['covered'] / found['lines']:.1%} of {found['lines']:,} lines** of the package are executed by tests"
        f" ({', '.join(found['tests'])}), without those that run in processes of their own.",
    ]


PARTS: dict[str, tuple[str, str, Callable[[Any], list[str]]]] = {
    "crash": ("Stopped commands and spoilt disks", "tests/crashes/crash.py", crash_part),
    "fuzz": ("Damaged input", "tests/fuzz/fuzz.py", fuzz_part),
    "soak": ("Many cells", "tests/scale/soak.py", soak_part),
    "containment": ("Strategies in a process of their own", "bench/pages/containment.py", containment_part),
    "mutation": ("Changes that tests notice", "tests/mutation/mutate.py", mutation_part),
    "coverage": ("Lines that tests execute", "pytest --cov", coverage_part),
}


def page(figures: dict[str, Any]) -> str:
    """Return the page: each part begins with the sentence that sums it up."""
    lines = ["# Reliability", ""]
    for name, (title, command, part) in PARTS.items():
        if name in figures:
            lines += [f"## {title}", "", *part(figures[name]), "", f"Measured by `{command}`.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".reliability"), help="folder of the figures")
    parser.add_argument("--out", type=Path, default=Path("reports"))
    given = parser.parse_args()
    stored = given.out / "reliability.json"
    figures = json.loads(stored.read_text()) if stored.exists() else {}
    figures |= {p: json.loads(path.read_text()) for p in PARTS if (path := given.data / f"{p}.json").exists()}
    write_atomically(stored, f"{json.dumps(figures, indent=1)}\n".encode())
    write_atomically(given.out / "reliability.md", page(figures).encode())
