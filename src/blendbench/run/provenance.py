"""The records of a run: what was meant to happen, with which code, models and machine."""

import functools
import platform
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, astuple, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import blendbench
from blendbench.core.hashing import sha256_bytes
from blendbench.core.suites import Item
from blendbench.models.sets import ModelSet
from blendbench.results.records import (
    CellRecord,
    ItemRecord,
    MemoryPlanRecord,
    Record,
    RunRecord,
    StrategyRecord,
    SuiteRecord,
    WeightFileRecord,
)
from blendbench.run.generate import Drawn
from blendbench.run.image_cache import image_name, load_pixels, save_bytes, save_image
from blendbench.run.plan import Plan

_PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "duckdb")


def opening_records(plan: Plan, models: ModelSet, run_id: str, began: datetime, results: Path) -> list[Record]:
    """What a run writes first: itself, its suite, items and strategies. Keeps the references among the images."""
    suite = plan.suite
    run = RunRecord(
        run_id=run_id,
        experiment=plan.experiment.name,
        started_at=began.isoformat(),
        blendbench_version=blendbench.__version__,
        git_commit=git_commit(),
        model_set=models.name,
        model_set_sha256=models.sha256,
        suite=suite.name,
        suite_sha256=suite.sha256,
        device=models.device,
        dtype=models.dtype,
        sampler=plan.sampler,
        environment=environment(),
        metrics=plan.metrics,
        metric_cards=plan.metric_cards(),
        plan=plan.expected(),
    )
    strategies = {c.strategy.name: c.strategy for c in plan.configurations}.values()
    # The weights first: what they need is known when they are here.
    weights, memory = models.weight_files(), models.residency
    return [
        run,
        MemoryPlanRecord(run_id, memory.name, memory.needs, memory.budget),
        *(WeightFileRecord(models.sha256, *astuple(file)) for file in weights),
        SuiteRecord(suite.name, suite.sha256, suite.version, suite.title),
        *_item_records(plan.items, suite.sha256, results),
        *(
            StrategyRecord(s.name, s.version, s.source_sha256, s.source, s.equation, s.doc, s.control)
            for s in strategies
        ),
    ]


def _item_records(items: Sequence[Item], suite_sha256: str, results: Path) -> list[ItemRecord]:
    references = list(dict.fromkeys(item.reference for item in items))
    with ThreadPoolExecutor() as pool:
        kept = dict(zip(references, pool.map(functools.partial(_keep_reference, results), references), strict=True))
    return [
        ItemRecord(
            suite_sha256=suite_sha256,
            item=item.id,
            prompt=item.prompt,
            reference_sha256=kept[item.reference][0],
            reference_caption=item.reference_caption,
            relation=item.relation,
            expect=asdict(item.expect) if item.expect else None,
            reference_expect=asdict(item.reference_expect) if item.reference_expect else None,
            reference_image=kept[item.reference][1],
        )
        for item in items
    ]


def _keep_reference(results: Path, reference: Path) -> tuple[str, str]:
    """Keep a reference among the images: its sha256, and the name of the PNG that it is kept as."""
    data = reference.read_bytes()
    is_png = reference.suffix.lower() == ".png"
    kept = save_bytes(results, data) if is_png else save_image(results, load_pixels(reference))
    return sha256_bytes(data), image_name(kept)


def cell_record(drawn: Drawn, plan: Plan, models: ModelSet, run_id: str) -> CellRecord:
    """The line of one cell."""
    cell, configuration = drawn.cell, drawn.cell.configuration
    return CellRecord(
        cell_id=cell.cell_id,
        run_id=run_id,
        experiment=plan.experiment.name,
        strategy=configuration.strategy.name,
        params=dict(configuration.params),
        label=configuration.label,
        control=configuration.strategy.control,
        item=cell.item.id,
        seed=cell.seed,
        suite_sha256=plan.suite.sha256,
        sampler_sha256=plan.sampler_sha256,
        model_set_sha256=models.sha256,
        dtype=models.dtype,
        status="ok" if drawn.image_sha256 else "failed",
        error=drawn.error,
        conditioning_sha256=drawn.conditioning_sha256,
        image_sha256=drawn.image_sha256,
        noise_seed=cell.noise_seed,
        tokens=drawn.tokens,
        source_sha256=configuration.strategy.source_sha256,
    )


def adopted_record(record: CellRecord, run_id: str, experiment: str) -> CellRecord:
    """A cell that another experiment has finished, as a cell of this one."""
    return replace(record, run_id=run_id, experiment=experiment)


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
