"""Rows of a run: plan, code, models, machine and outcomes."""

import functools
import math
import platform
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import blendbench
from blendbench.core.images import image_identity, load_image
from blendbench.core.suites import Item
from blendbench.core.version import commit
from blendbench.results.images import ImageStore, image_name
from blendbench.run.inputs import reference_tokens
from blendbench.run.plan import Cell, Plan, PlannedMetric

if TYPE_CHECKING:
    from blendbench.models.sets import ModelSet
    from blendbench.results.shards import ShardWriter
    from blendbench.run.generate import GeneratedImage

_PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "duckdb")
Row = dict[str, Any]


def run_row(plan: Plan, run_id: str) -> Row:
    """Return the row of a run, but for what made its images (`made_by`)."""
    return {
        "run_id": run_id,
        "experiment": plan.experiment.name,
        "started_at": datetime.now(UTC).isoformat(),
        "blendbench_version": blendbench.__version__,
        "git_commit": commit(),
        "suite": plan.suite.name,
        "suite_sha256": plan.suite.sha256,
        "sampler": plan.sampler,
        "sampler_sha256": plan.sampler_sha256,
        "environment": environment(),
        "baseline": plan.baseline.label,
        "items": [item.id for item in plan.items],
        "seeds": list(plan.experiment.seeds),
    }


def made_by(models: "ModelSet") -> Row:
    """Return a run's columns of a model set."""
    return {
        "model_set": models.name,
        "model_set_sha256": models.sha256,
        "hidden_states": models.facts.hidden_states,
        "blocks": models.facts.blocks,
        "trained_to_show": models.file.trained_to_show,
        "device": models.device,
        "dtype": models.dtype,
    }


def write_models(shard: "ShardWriter", models: "ModelSet", run_id: str) -> None:
    """Write which networks share the memory, and the files of their weights."""
    memory = models.residency
    plan = {"run_id": run_id, "residency": memory.name, "needed_bytes": memory.needs, "budget_bytes": memory.budget}
    files = [{"model_set_sha256": models.sha256, **asdict(file)} for file in models.weight_files()]
    shard.append_all({"memory_plans": [plan], "weight_files": files})


def write_opening(shard: "ShardWriter", plan: Plan, run: Row, store: ImageStore) -> None:
    """Write a run's own rows first, and keep the references among the images."""
    suite, run_id = plan.suite, run["run_id"]
    stated = {"suite": suite.name, "suite_sha256": suite.sha256, "version": suite.version, "title": suite.title}
    strategies = {c.strategy.name: c.strategy for c in plan.configurations}.values()
    columns = ("version", "source_sha256", "source", "equation", "doc", "control", "upper_bound")
    shard.append_all(
        {
            "runs": [run],
            "planned_configurations": [
                {"run_id": run_id, "label": c.label, "source_sha256": c.strategy.source_sha256}
                for c in plan.configurations
            ],
            "planned_metrics": [
                {"run_id": run_id, "metric": m.name, "metric_version": m.version, "scorer_sha256": m.scorer_sha256}
                for m in plan.metrics
            ],
            "metrics": [metric_row(metric) for metric in plan.metrics],
            "suites": [stated | {"primaries": dict(suite.primaries)}],
            "items": _item_rows(plan.items, suite.sha256, store),
            "strategies": [{"strategy": s.name} | {name: getattr(s, name) for name in columns} for s in strategies],
        }
    )


def metric_row(metric: PlannedMetric) -> Row:
    """Return a metric's `metrics` row, with NULL where its range is open."""
    info = asdict(metric.metric.info)
    low, high = (None if math.isinf(end) else end for end in info.pop("range"))
    return {"metric": info.pop("name"), "metric_version": info.pop("version"), "low": low, "high": high, **info}


def _item_rows(items: Sequence[Item], suite_sha256: str, store: ImageStore) -> list[Row]:
    references = list(dict.fromkeys(item.reference for item in items))
    with ThreadPoolExecutor() as pool:
        kept = dict(zip(references, pool.map(functools.partial(_keep_reference, store), references), strict=True))
    return [
        {name: getattr(item, name) for name in ("prompt", "reference_caption", "relation", "stratum", "split")}
        | {
            "suite_sha256": suite_sha256,
            "item": item.id,
            "reference_sha256": image_identity(item.reference),
            "expect": asdict(item.expect) if item.expect else None,
            "reference_expect": asdict(item.reference_expect) if item.reference_expect else None,
            "reference_image": image_name(kept[item.reference][0]),
            "reference_flags": kept[item.reference][1],
        }
        for item in items
    ]


def _keep_reference(store: ImageStore, reference: Path) -> tuple[str, list[str]]:
    """Store a reference as encoders see it; return its hash and flags."""
    loaded = load_image(reference)
    return store.save(loaded.pixels), list(loaded.flags)


def cell_row(image: "GeneratedImage", plan: Plan, models: "ModelSet", run_id: str) -> Row:
    """Return the row of one cell."""
    return planned_columns(image.cell, plan, models, run_id) | {
        "status": "ok" if image.image_sha256 else "failed",
        "error": image.error,
        "conditioning_sha256": image.conditioning_sha256,
        "image_sha256": image.image_sha256,
        "tokens": image.tokens,
    }


def planned_columns(cell: Cell, plan: Plan, models: "ModelSet", run_id: str) -> Row:
    """Return what a plan says of a cell, whichever run generates it."""
    return identity_columns(cell, plan, run_id) | {
        "model_set_sha256": models.sha256,
        "dtype": models.dtype,
        "image_tokens": reference_tokens(cell.configuration, cell.item, plan.suite, models.image_tokens),
    }


def identity_columns(cell: Cell, plan: Plan, run_id: str) -> Row:
    """Return what a plan says of a cell, whatever made its image."""
    configuration = cell.configuration
    return {
        "cell_id": cell.cell_id,
        "run_id": run_id,
        "experiment": plan.experiment.name,
        "strategy": configuration.strategy.name,
        "source_sha256": configuration.strategy.source_sha256,
        "params": dict(configuration.params),
        "label": configuration.label,
        "family": configuration.family,
        "dose": configuration.dose,
        "control": configuration.strategy.control,
        "item": cell.item.id,
        "seed": cell.seed,
        "split": cell.item.split,
        "suite_sha256": plan.suite.sha256,
        "sampler_sha256": plan.sampler_sha256,
        "noise_seed": cell.noise_seed,
    }


def batch_row(cell: Cell, batch_size: int, run_id: str) -> Row:
    """Return the row that says with how many others an image was generated."""
    return {"cell_id": cell.cell_id, "run_id": run_id, "batch_size": batch_size}


def environment() -> dict[str, str]:
    """Return versions of Python, platform and packages that affect pixels."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {"python": sys.version.split()[0], "platform": platform.platform(), **packages}
