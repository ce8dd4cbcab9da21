"""Measure what the process of its own costs a run whose strategies are not shipped.

    python bench/pages/containment.py --pairs 6 --json containment.json

The same cells are generated and scored on the miniature with their strategy in a child process and in this one, in
turn, into fresh folders.
"""

import argparse
import json
import statistics
import tempfile
import time
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


def measure(pairs: int, items: int) -> dict[str, Any]:
    """Return what calling strategies takes of the seconds of a run, with a child process and without.

    Whole runs differ by more than the cost from one to the next, so the calls alone are timed. The start of the child
    belongs to the first call.
    """
    with tempfile.TemporaryDirectory() as name:
        Path(name, "own.py").write_text(PLUGIN)
        load_plugin(Path(name, "own.py"))
        models = load_model_set("miniature", "cpu")
        plan = plan_of(models, items)

        def whole_run(folder: str, own_process: bool) -> tuple[float, float]:
            calls, call = 0.0, contained.call if own_process else in_process

            def timed(*given: Any) -> Conditioning:
                nonlocal calls
                began = time.perf_counter()
                try:
                    return call(*given)
                finally:
                    calls += time.perf_counter() - began

            began = time.perf_counter()
            with patch.object(blend, "call", timed):
                report = run(plan, models, Path(name, folder), Reporter(quiet=True))
            assert (report.failed, report.generated) == (0, len(plan.cells))
            return calls, time.perf_counter() - began

        whole_run("warm", True)
        found: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
        for number in range(pairs):
            for own_process in (number % 2 == 0, number % 2 == 1):
                found[own_process].append(whole_run(f"{number}-{own_process}", own_process))
    pairs_of = zip(found[True], found[False], strict=True)
    costs = [(own - none) / whole for (own, _), (none, whole) in pairs_of]
    return {
        "cells": len(plan.cells),
        "pairs": pairs,
        "own_process": [[round(value, 4) for value in one] for one in found[True]],
        "in_process": [[round(value, 4) for value in one] for one in found[False]],
        "cost": round(statistics.median(costs), 5),
        "spread": [round(value, 5) for value in (min(costs), max(costs))],
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
