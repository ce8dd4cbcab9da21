"""Measure what the process of its own costs a run whose strategies are not shipped.

    python bench/pages/containment.py --pairs 6 --json containment.json

The same cells are generated and scored on the miniature with their strategy in a child process and in this one, in
turn, into fresh folders. What counts is CPU time, of children too: other work on the machine changes it least.
"""

import argparse
import json
import resource
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from blendbench.core.conditioning import Conditioning
from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.loading import load_plugin
from blendbench.registry.strategies import Configuration, Sources
from blendbench.run import blend, contained
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.progress import Reporter

PLUGIN = '''
from typing import Annotated

from blendbench.blending import Range, strategy


@strategy("own_shift", source="a test", equation="T + alpha (mean(V) - mean(T))", dose="alpha", dose_grid=(0.3,))
def own_shift(text, vision, *, alpha: Annotated[float, Range(0, 1)] = 0.3):
    """Move every text token towards the mean image token."""
    return text.hidden + alpha * (vision.hidden.mean(0) - text.hidden.mean(0))
'''
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def plan_of(models: ModelSet, items: int) -> Plan:
    """Plan cells of a strategy that is not shipped."""
    grids = (Grid("own_shift", (("alpha", ALPHAS),)),)
    experiment = replace(load_experiment("smoke"), name="containment", items=items, controls=False, strategies=grids)
    return make_plan(experiment, load_suite("miniature"), models)


def in_process(configuration: Configuration, sources: Sources, seed: int) -> Conditioning:
    """Call a strategy as shipped ones are called."""
    return configuration.blend(sources, seed)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def measure(pairs: int, items: int) -> dict[str, Any]:
    """Return CPU seconds of runs with and without a child process, and the median of their ratio less 1."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "own.py").write_text(PLUGIN)
        load_plugin(Path(name, "own.py"))
        models = load_model_set("miniature", "cpu")
        plan = plan_of(models, items)

        def whole_run(folder: str, own_process: bool) -> float:
            began = cpu_seconds()
            with patch.object(blend, "call", contained.call if own_process else in_process):
                report = run(plan, models, Path(name, folder), Reporter(quiet=True))
            assert (report.failed, report.generated) == (0, len(plan.cells))
            return cpu_seconds() - began

        whole_run("warm", True)
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for number in range(pairs):
            for own_process in (number % 2 == 0, number % 2 == 1):
                seconds[own_process].append(whole_run(f"{number}-{own_process}", own_process))
    ratios = [own / none - 1 for own, none in zip(seconds[True], seconds[False], strict=True)]
    return {
        "cells": len(plan.cells),
        "pairs": pairs,
        "own_process": [round(value, 2) for value in seconds[True]],
        "in_process": [round(value, 2) for value in seconds[False]],
        "cost": round(statistics.median(ratios), 4),
        "spread": [round(value, 4) for value in (min(ratios), max(ratios))],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--items", type=int, default=4)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    found = measure(given.pairs, given.items)
    given.json.write_text(json.dumps(found, indent=1))
    print(found)
