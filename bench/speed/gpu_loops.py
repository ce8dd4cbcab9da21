"""The 48 cells of speed.toml by the engine and by the plain loop, for `gpu.py`."""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import plain_loop
import torch

from blendbench.core.images import load_image
from blendbench.core.suites import load_suite
from blendbench.models.families.z_image.denoiser import ZImageDenoiser
from blendbench.models.families.z_image.text import Qwen3TextEncoder
from blendbench.models.residency import GIB
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.reports.findings import judge
from blendbench.results.images import ImageStore
from blendbench.results.state import open_state
from blendbench.results.store import open_results
from blendbench.run.experiments import list_experiments, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, make_plan
from blendbench.run.planning import plan_on_models
from blendbench.run.progress import Reporter
from blendbench.session import Session

EXPERIMENT = Path(__file__).with_name("speed.toml")
PLANTED = "planted_sink"  # names dimensions of the miniature


@dataclass
class Span:
    """Calls of a function, and the summed time between their first and last kernels."""

    calls: int = 0
    seconds: float = 0.0
    events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = field(default_factory=list)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, watched. On the GPU two events bracket its kernels: that costs microseconds and waits for nothing."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if not torch.cuda.is_available():
                began = time.perf_counter()
                result = call(*args, **kwargs)
                self.seconds += time.perf_counter() - began
                return result
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            result = call(*args, **kwargs)
            last.record()
            self.events.append((first, last))
            return result

        return watched

    def total(self) -> float:
        """Return the seconds in all."""
        if self.events:
            torch.cuda.synchronize()
        seen: float = sum(first.elapsed_time(last) for first, last in self.events) / 1000
        return self.seconds + seen


def watch(models: ModelSet) -> dict[str, Span]:
    """Count and time the forward passes of the engine's networks from here on."""
    assert isinstance(models.denoiser, ZImageDenoiser) and isinstance(models.text, Qwen3TextEncoder)
    pipeline = models.denoiser.pipeline
    watched = {
        "transformer": (pipeline.transformer, "forward"),
        "vae_decode": (pipeline.vae, "decode"),
        "text_encoder": (models.text.encoder, "forward"),
        "vision_language": (models.vision.model.model, "forward"),
    }
    spans = {name: Span() for name in watched}
    for name, (owner, method) in watched.items():
        setattr(owner, method, spans[name].around(getattr(owner, method)))
    return spans


def engine(options: argparse.Namespace) -> dict[str, Any]:
    """`blendbench run` on all cells, in this process: first on one item, which loads and compiles, then on all."""
    side, batch = options.shapes[0]
    plan, models = _plan(options, side, batch)
    began = time.perf_counter()
    name = f"{side}_{options.precision}" if options.precision else str(side)
    found: dict[str, Any] = {"side": side, "batch": batch, "precision": options.precision, "sha256": models.sha256}
    warm = make_plan(replace(plan.experiment, name="warm_up", items=1), plan.suite, models)
    quiet = Reporter(quiet=True)
    first = run(warm, models, options.work / f"warm_up_{name}", quiet)
    found["warm_up"] = {**asdict(first), "seconds": time.perf_counter() - began}
    spans = watch(models)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    done = run(plan, models, options.work / f"engine_{name}", quiet)
    found["run"] = asdict(done)
    found["residency"] = models.residency.name
    found["encodes_ahead"] = models.at_once("text", "vision", "generate")
    found["scores_meanwhile"] = models.at_once("generate", "score")
    found["seconds_a_cell"] = done.seconds / done.expected
    seconds = {name: span.total() for name, span in spans.items()}
    found["busy"] = {name: spent / done.seconds for name, spent in seconds.items()}
    found["ms_a_call"] = {name: seconds[name] * 1000 / span.calls for name, span in spans.items() if span.calls}
    found["calls"] = {name: span.calls for name, span in spans.items()}
    found["peak_gib"] = torch.cuda.max_memory_allocated() / GIB if torch.cuda.is_available() else None
    return found


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one item's peak memory by stage, within an enforced budget."""
    side, batch = options.shapes[0]
    plan, models = _plan(options, side, batch)
    done = run(plan, models, options.work / f"memory_{options.memory_budget}_{options.precision}", Reporter(quiet=True))
    return {
        "budget_gib": options.memory_budget,
        "plan": models.residency.name,
        "needs_gib": models.residency.needs / GIB,
        "ok": done.ok,
        "failed": done.failed,
        "peak_gib": done.peak_gib,
        "seconds": done.seconds,
    }


def plain(options: argparse.Namespace) -> dict[str, Any]:
    """Time the plain loop at each side, within its budget, after one cell to warm up."""
    found: dict[str, Any] = {}
    loaded = None
    for side, batch in options.shapes:
        plan, models = _plan(options, side, batch)
        loaded = loaded or plain_loop.load(models)
        plain_loop.run_plain(plan, loaded, options.work / "plain_warm_up", 1)
        out = options.work / f"plain_{side}"
        found[str(side)] = plain_loop.run_plain(plan, loaded, out, options.cells, options.budget / len(options.shapes))
    return found


def difference(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the engine's images with the plain loop's, in 8-bit levels: mean, and the worst cell's mean."""
    (side, _), means = options.shapes[0], []
    engine = options.work / f"engine_{side}"
    plain = sorted((options.work / f"plain_{side}").glob("*.png"))
    with open_state(engine) as state:
        cells = state.finished_cells([path.stem for path in plain])
    for path in plain:
        ours = ImageStore(engine).load(str(cells[path.stem].image_sha256))
        means.append(float(np.abs(ours.astype(np.int16) - load_image(path).pixels).mean()))
    return {"cells": len(means), "mean_levels": float(np.mean(means)), "worst_levels": max(means)}


def fp8(options: argparse.Namespace) -> dict[str, Any]:
    """Compare the engine's images in fp8 with those in bfloat16, in 8-bit levels: mean, and the worst cell's mean."""
    side, _ = options.shapes[0]
    query = "SELECT label, item, seed, image_sha256 FROM current_cells WHERE status = 'ok'"
    folders = [options.work / f"engine_{side}", options.work / f"engine_{side}_fp8"]
    wide, narrow = ({row[:3]: row[3] for row in open_results(folder).rows(query)} for folder in folders)
    stores = [ImageStore(folder) for folder in folders]
    means = []
    for key in sorted(wide.keys() & narrow.keys()):
        one, other = (
            store.load(image).astype(np.int16) for store, image in zip(stores, (wide[key], narrow[key]), strict=True)
        )
        means.append(float(np.abs(one - other).mean()))
    return {"cells": len(means), "mean_levels": float(np.mean(means)), "worst_levels": max(means)}


def resident(options: argparse.Namespace) -> dict[str, Any]:
    """Check ideas in a session whose models are loaded: wall time to the verdict, over the time of sampling."""
    side, batch = options.shapes[0]
    session = Session(options.models, options.work / "session", options.device, quiet=True)
    session.models.file = session.models.file.model_copy(
        update={"sampler": session.models.file.sampler.overridden({"height": side, "width": side, "batch_size": batch})}
    )
    items = options.items or 8
    found: list[dict[str, Any]] = []
    session.check("lerp:alpha=0.4", items=items, sequential=False)  # loads, compiles, and generates the baseline
    spans = watch(session.models)
    for dose in range(options.repeats):
        before = spans["transformer"].total() + spans["vae_decode"].total()
        began = time.perf_counter()
        done = session.check(f"lerp:alpha=0.4{dose + 1}", items=items, sequential=False)
        seconds = time.perf_counter() - began
        sampling = spans["transformer"].total() + spans["vae_decode"].total() - before
        found.append({"seconds": seconds, "sampling_s": sampling, "cells": done.generated, "outcome": done.outcome})
    chosen = sorted(found, key=lambda one: one["seconds"])[len(found) // 2]
    return {**chosen, "over_sampling": chosen["seconds"] / chosen["sampling_s"], "all": found}


def experiments(options: argparse.Namespace) -> dict[str, Any]:
    """Run every experiment of bench/ on the first items: cells, failures and seconds of each, and findings not run."""
    side, batch = options.shapes[0]
    models = load_model_set(options.models, options.device, {"height": side, "width": side, "batch_size": batch})
    suite = load_suite(options.suite)
    found: dict[str, Any] = {}
    for name in options.names or [name for name in list_experiments() if name != PLANTED]:
        plan = make_plan(replace(load_experiment(name), items=options.items, seeds=(0,)), suite, models)
        done = run(plan, models, options.work / "experiments", Reporter(quiet=True))
        found[name] = {
            "cells": done.expected,
            "failed": done.failed,
            "scores_failed": done.scores_failed,
            "seconds": done.seconds,
        }
    rows = judge(open_results(options.work / "experiments")).rows()
    found["findings_not_run"] = [row["id"] for row in rows if row["verdict"] == "not run"]
    return found


def _precision(options: argparse.Namespace) -> tuple[tuple[str, str], ...]:
    return (("precision", options.precision),) if options.precision else ()


def _plan(options: argparse.Namespace, side: int, batch: int) -> tuple[Plan, ModelSet]:
    experiment = replace(
        load_experiment(EXPERIMENT),
        suite=options.suite,
        sampler=(("height", side), ("width", side), ("batch_size", batch), *_precision(options)),
    )
    experiment = experiment if options.items is None else replace(experiment, items=options.items)
    return plan_on_models(experiment, str(options.models), options.device, memory_budget=options.memory_budget)
