"""The rows of a run: what was meant to happen, with which code, models and machine."""

import functools
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import blendbench
from blendbench.core.hashing import sha256_bytes
from blendbench.core.suites import Item
from blendbench.metrics import get_metric
from blendbench.models.sets import ModelSet
from blendbench.results.images import image_name
from blendbench.run.generate import Drawn
from blendbench.run.image_cache import load_pixels, save_bytes, save_image
from blendbench.run.plan import Plan

_PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "duckdb")


Rows = dict[str, list[dict[str, Any]]]


def opening_rows(plan: Plan, models: ModelSet, run_id: str, began: datetime, results: Path) -> Rows:
    """What a run writes first: itself, its suite, items and strategies. Keeps the references among the images."""
    suite = plan.suite
    run = {
        "run_id": run_id,
        "experiment": plan.experiment.name,
        "started_at": began.isoformat(),
        "blendbench_version": blendbench.__version__,
        "git_commit": git_commit(),
        "model_set": models.name,
        "model_set_sha256": models.sha256,
        "suite": suite.name,
        "suite_sha256": suite.sha256,
        "device": models.device,
        "dtype": models.dtype,
        "sampler": plan.sampler,
        "sampler_sha256": plan.sampler_sha256,
        "baseline": plan.baseline.label,
        "environment": environment(),
        "items": [item.id for item in plan.items],
        "seeds": list(plan.experiment.seeds),
    }
    strategies = {c.strategy.name: c.strategy for c in plan.configurations}.values()
    # The weights first: what they need is known when they are here.
    weights, memory = models.weight_files(), models.residency
    scorers = scorer_hashes(plan.metrics, models)
    return {
        "runs": [run],
        "planned_configurations": [
            {"run_id": run_id, "label": label, "source_sha256": sha256} for label, sha256 in plan.sources.items()
        ],
        "metrics": plan.metric_rows(),
        "planned_metrics": [
            {"run_id": run_id, "metric": name, "metric_version": version, "scorer_sha256": scorers[name]}
            for name, version in plan.metrics.items()
        ],
        "memory_plans": [
            {
                "run_id": run_id,
                "residency": memory.name,
                "needed_bytes": memory.needs,
                "budget_bytes": memory.budget,
            }
        ],
        "weight_files": [
            {
                "model_set_sha256": models.sha256,
                "component": file.component,
                "file": file.file,
                "bytes": file.bytes,
                "sha256": file.sha256,
            }
            for file in weights
        ],
        "suites": [{"suite": suite.name, "suite_sha256": suite.sha256, "version": suite.version, "title": suite.title}],
        "items": _item_rows(plan.items, suite.sha256, results),
        "strategies": [
            {
                "strategy": s.name,
                "version": s.version,
                "source_sha256": s.source_sha256,
                "source": s.source,
                "equation": s.equation,
                "doc": s.doc,
                "control": s.control,
            }
            for s in strategies
        ],
    }


def scorer_hashes(metrics: Iterable[str], models: ModelSet) -> dict[str, str]:
    """Return the hash of the networks that each metric reads, "" for one that reads none, without loading them."""
    return {name: get_metric(name).scorer_sha256(models) for name in metrics}


def _item_rows(items: Sequence[Item], suite_sha256: str, results: Path) -> list[dict[str, Any]]:
    references = list(dict.fromkeys(item.reference for item in items))
    with ThreadPoolExecutor() as pool:
        kept = dict(zip(references, pool.map(functools.partial(_keep_reference, results), references), strict=True))
    return [
        {
            "suite_sha256": suite_sha256,
            "item": item.id,
            "prompt": item.prompt,
            "reference_sha256": kept[item.reference][0],
            "reference_caption": item.reference_caption,
            "relation": item.relation,
            "expect": asdict(item.expect) if item.expect else None,
            "reference_expect": asdict(item.reference_expect) if item.reference_expect else None,
            "reference_image": kept[item.reference][1],
        }
        for item in items
    ]


def _keep_reference(results: Path, reference: Path) -> tuple[str, str]:
    """Keep a reference among the images: its sha256, and the name of the PNG that it is kept as."""
    data = reference.read_bytes()
    is_png = reference.suffix.lower() == ".png"
    kept = save_bytes(results, data) if is_png else save_image(results, load_pixels(reference))
    return sha256_bytes(data), image_name(kept)


def cell_row(drawn: Drawn, plan: Plan, models: ModelSet, run_id: str) -> dict[str, Any]:
    """The row of one cell."""
    cell, configuration = drawn.cell, drawn.cell.configuration
    return {
        "cell_id": cell.cell_id,
        "run_id": run_id,
        "experiment": plan.experiment.name,
        "strategy": configuration.strategy.name,
        "params": dict(configuration.params),
        "label": configuration.label,
        "control": configuration.strategy.control,
        "item": cell.item.id,
        "seed": cell.seed,
        "suite_sha256": plan.suite.sha256,
        "sampler_sha256": plan.sampler_sha256,
        "model_set_sha256": models.sha256,
        "dtype": models.dtype,
        "status": "ok" if drawn.image_sha256 else "failed",
        "error": drawn.error,
        "conditioning_sha256": drawn.conditioning_sha256,
        "image_sha256": drawn.image_sha256,
        "noise_seed": cell.noise_seed,
        "tokens": drawn.tokens,
        "source_sha256": configuration.strategy.source_sha256,
    }


def environment() -> dict[str, str]:
    """Versions of Python, the platform and the packages that a pixel may depend on."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {"python": sys.version.split()[0], "platform": platform.platform(), **packages}


def git_commit() -> str | None:
    """The commit of the checkout that this program runs from; None for an installed package."""
    root = Path(blendbench.__file__).parents[2]
    if not (root / "pyproject.toml").is_file():
        return None
    try:
        called = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return called.stdout.strip() or None
