"""Write reports/reliability.md: what commands that are killed leave, and what damaged input does.

python tests/crashes/crash.py --kills 200 --json crash.json
python tests/fuzz/fuzz.py --inputs 200000 --json fuzz.json
python bench/pages/reliability_page.py --crash crash.json --fuzz fuzz.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from blendbench.reports.formats import markdown_table

Rows = list[dict[str, Any]]


def page(crash: Rows, fuzz: Rows) -> str:
    """Return the page; each table below the sentence that sums it up."""
    trials, differences = sum(row["trials"] for row in crash), crash[-1]["differences"]
    inputs, found = sum(row["inputs"] for row in fuzz), sum(row["found"] for row in fuzz)
    peak, slowest = max(row["peak_mib"] for row in fuzz), max(row["slowest"] for row in fuzz)
    return "\n".join(
        [
            "# Reliability",
            "",
            f"{trials:,} commands were stopped in the middle and repeated: {differences} differences from commands that"
            f" were not. {inputs:,} damaged inputs were read or refused in one line, but for {found}.",
            "",
            "## Interrupted commands",
            "",
            "A command is killed with -9, at random moments and at file operations, or no file of it can grow, as on a"
            " full disk. Then it is repeated, and every table, image and page is compared with those of a command that"
            " was left alone. Written by `tests/crashes/crash.py`.",
            "",
            *markdown_table(
                ["command", "what happens", "trials", "remark"],
                [[row["command"], row["what"], f"{row['trials']}", row["remark"]] for row in crash],
            ),
            "",
            "## Damaged input",
            "",
            "Each input is a file that is read, with bytes, lines or values changed. The slowest took"
            f" {slowest:.1f} s of CPU time; no process used more than {peak:,} MiB. Written by `tests/fuzz/fuzz.py`.",
            "",
            *markdown_table(
                ["reader", "inputs", "accepted", "refused in one line", "tracebacks, crashes, hangs"],
                [
                    [row["reader"], *(f"{row[key]:,}" for key in ("inputs", "accepted", "refused", "found"))]
                    for row in fuzz
                ],
            ),
            "",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crash", type=Path, required=True)
    parser.add_argument("--fuzz", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("reports/reliability.md"))
    given = parser.parse_args()
    given.out.write_text(page(json.loads(given.crash.read_text()), json.loads(given.fuzz.read_text())))
