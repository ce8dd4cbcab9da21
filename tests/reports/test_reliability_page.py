"""The reliability page: each part begins with its counts, and says if its command was not finished."""

from typing import Any

import pytest
from reliability_page import page

FIGURES: dict[str, Any] = {
    "crash": {
        "finished": True,
        "rows": [
            {"command": "run", "what": "killed with -9", "trials": 200, "remark": "9", "repeated": 2, "found": []},
            {"command": "site", "what": "over quota", "trials": 7, "remark": "", "repeated": 0, "found": ["x differs"]},
        ],
    },
    "fuzz": {
        "finished": False,
        "rows": [
            {"reader": "suite", "inputs": 30, "accepted": 9, "refused": 20, "found": 1, "slowest": 2, "peak_mib": 90}
        ],
    },
    "soak": {
        "finished": True,
        "rows": [
            {"stage": "plan", "cells": 100, "cpu": 1.0, "peak_mib": 300},
            {"stage": "plan", "cells": 200, "cpu": 2.0, "peak_mib": 310},
        ],
    },
    "mutation": {
        "finished": True,
        "rows": [{"part": "stats", "tried": 60, "of": 819, "survived": ["stats/a.py:3: 1 -> 2"]}],
    },
}
SENTENCES = {
    "crash": "**207 commands were stopped, or their disk was spoilt, and repeated: 1 differences**",
    "fuzz": "**30 damaged inputs: 1 tracebacks, crashes or hangs.**",
    "soak": "**200 cells of a stub engine: at most 310 MiB**",
    "mutation": "**1 of 60 changes of one operator or number were noticed by no test**",
}


@pytest.mark.parametrize("part", SENTENCES)
def test_a_part_begins_with_its_counts(part: str) -> None:
    text = page({part: FIGURES[part]})
    assert text.count("## ") == 1
    assert SENTENCES[part] in text
    assert ("not finished" in text) == (part == "fuzz")


def test_all_parts_are_on_one_page_with_their_commands() -> None:
    text = page(FIGURES)
    assert all(sentence in text for sentence in SENTENCES.values())
    assert "| plan | 1.0 s | 2.0 s | 310 MiB |" in text
    assert "| run | 200 |  |" in text and "| site |  | 7 |" in text and "- x differs" in text
    assert "tests/mutation/mutate.py" in text
