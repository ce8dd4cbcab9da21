"""One run: what is left of the plan is drawn, measured and brought into the database."""

import fcntl
import platform
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from blendbench import __version__
from blendbench.engine.denoise import Drawn, draw
from blendbench.engine.encode import Embeddings
from blendbench.engine.measure import measure_cells
from blendbench.engine.pictures import FOLDER, picture_path, save_bytes
from blendbench.engine.plan import Cell, Plan
from blendbench.engine.progress import Reporter
from blendbench.errors import UsageError
from blendbench.hashing import sha256_bytes
from blendbench.models.sets import ModelSet
from blendbench.results.records import (
    CellRecord,
    ConditioningRecord,
    ItemRecord,
    Record,
    RunRecord,
    ScoreRecord,
    StageTimeRecord,
    StrategyRecord,
    SuiteRecord,
)
from blendbench.results.shards import ShardWriter, finished_cells, finished_scores
from blendbench.results.store import ingest
from blendbench.scoring import all_cards, get_metric

BATCH_SIZE = 16


@dataclass(frozen=True)
class Todo:
    """What is left of a plan."""

    cells: tuple[Cell, ...]
    adopt: tuple[CellRecord, ...]
    pictures: dict[str, str]
    missing_scores: dict[str, list[str]]
    known: dict[tuple[str, int], str]

    @property
    def empty(self) -> bool:
        return not (self.cells or self.adopt or self.missing_scores)


@dataclass(frozen=True)
class Summary:
    """What a run did. `ok`, `failed`, `expected` count the plan's cells as they are afterwards."""

    run_id: str | None
    experiment: str
    expected: int
    ok: int
    failed: int
    drawn: int
    reused: int
    scored: int
    seconds: float


def what_is_left(plan: Plan, models: ModelSet, results: Path) -> Todo:
    """Compare a plan with what the results folder holds; a cell whose picture file is gone is drawn again."""
    metrics = plan.experiment.metrics or tuple(all_cards())
    versions = {name: get_metric(name).version for name in metrics}
    done = {
        cell_id: record
        for cell_id, record in finished_cells(results).items()
        if record.picture_sha256 and picture_path(results, record.picture_sha256).is_file()
    }
    mine = finished_cells(results, plan.experiment.name)
    scores = finished_scores(results)
    missing = {
        cell.cell_id: lacking
        for cell in plan.cells
        if (lacking := [n for n in metrics if (cell.cell_id, n, versions[n]) not in scores])
    }
    known = {
        (str(record.conditioning_sha256), record.noise_seed): str(record.picture_sha256)
        for record in done.values()
        if (record.sampler_sha256, record.model_set_sha256, record.dtype)
        == (plan.sampler_sha256, models.sha256, models.dtype)
    }
    return Todo(
        cells=tuple(cell for cell in plan.cells if cell.cell_id not in done),
        adopt=tuple(done[c.cell_id] for c in plan.cells if c.cell_id in done and c.cell_id not in mine),
        pictures={c.cell_id: str(done[c.cell_id].picture_sha256) for c in plan.cells if c.cell_id in done},
        missing_scores=missing,
        known=known,
    )


def run(plan: Plan, models: ModelSet, results: Path, reporter: Reporter) -> Summary:
    """Do what is left of `plan` in `results`. Errors: UsageError if another run holds the folder."""
    began = datetime.now(UTC)
    todo = what_is_left(plan, models, results)
    if todo.empty:
        ingest(results)
        return Summary(None, plan.experiment.name, len(plan.cells), len(plan.cells), 0, 0, len(plan.cells), 0, 0.0)
    run_id = f"{began:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
    with _locked(results), ShardWriter(results, run_id) as shard, reporter:
        shard.append(_opening(plan, models, run_id, began, results))
        shard.append([_adopted(record, run_id, plan.experiment.name) for record in todo.adopt])
        pictures, failed = _draw(plan, models, results, todo, run_id, shard, reporter)
        scored = _score(plan, models, results, todo, pictures, run_id, shard, reporter)
    ingest(results)
    seconds = (datetime.now(UTC) - began).total_seconds()
    expected, drawn = len(plan.cells), len(todo.cells) - failed
    return Summary(
        run_id,
        plan.experiment.name,
        expected,
        expected - failed,
        failed,
        drawn,
        expected - len(todo.cells),
        scored,
        seconds,
    )


def _draw(
    plan: Plan, models: ModelSet, results: Path, todo: Todo, run_id: str, shard: ShardWriter, reporter: Reporter
) -> tuple[dict[str, str], int]:
    pictures, failed = dict(todo.pictures), 0
    if not todo.cells:
        return pictures, failed
    stage = reporter.stage("pictures", len(todo.cells))
    seen: set[str] = set()

    def emit(drawn: list[Drawn], conditionings: list[ConditioningRecord]) -> None:
        nonlocal failed
        fresh = [c for c in conditionings if c.conditioning_sha256 not in seen]
        seen.update(c.conditioning_sha256 for c in fresh)
        shard.append([*fresh, *(_cell_record(one, plan, models, run_id) for one in drawn)])
        pictures.update({one.cell.cell_id: one.picture_sha256 for one in drawn if one.picture_sha256})
        bad = sum(one.picture_sha256 is None for one in drawn)
        failed += bad
        stage.advance(len(drawn), bad)

    embeddings = Embeddings(results / "embeddings", models, plan.suite)
    draw(list(todo.cells), embeddings, models, results, BATCH_SIZE, dict(todo.known), emit)
    shard.append([StageTimeRecord(run_id, "pictures", stage.seconds, len(todo.cells))])
    return pictures, failed


def _score(
    plan: Plan, models: ModelSet, results: Path, todo: Todo, pictures: dict[str, str], run_id: str,
    shard: ShardWriter, reporter: Reporter,
) -> int:  # fmt: skip
    cells = [cell for cell in plan.cells if cell.cell_id in pictures and cell.cell_id in todo.missing_scores]
    if not cells:
        return 0
    stage = reporter.stage("scores", sum(len(todo.missing_scores[cell.cell_id]) for cell in cells))

    def emit(records: list[ScoreRecord]) -> None:
        shard.append(records)
        stage.advance(len(records), sum(record.status == "failed" for record in records))

    measure_cells(cells, pictures, todo.missing_scores, plan, models, results, emit)
    shard.append([StageTimeRecord(run_id, "scores", stage.seconds, stage.done)])
    return stage.done


def _opening(plan: Plan, models: ModelSet, run_id: str, began: datetime, results: Path) -> list[Record]:
    metrics = plan.experiment.metrics or tuple(all_cards())
    cards = [get_metric(name).card for name in metrics]
    shown = ("name", "title", "version", "kind", "direction", "unit", "margin", "decimals")
    suite = plan.suite
    records: list[Record] = [
        RunRecord(
            run_id=run_id,
            experiment=plan.experiment.name,
            started_at=began.isoformat(),
            blendbench_version=__version__,
            git_commit=_git_commit(),
            model_set=models.name,
            model_set_sha256=models.sha256,
            suite=suite.name,
            suite_sha256=suite.sha256,
            device=models.device,
            dtype=models.dtype,
            sampler=plan.sampler,
            environment=_environment(),
            metrics={card.name: card.version for card in cards},
            metric_cards=[{key: getattr(card, key) for key in shown} for card in cards],
            plan={
                "items": [item.id for item in plan.items],
                "seeds": list(plan.experiment.seeds),
                "labels": [configuration.label for configuration in plan.configurations],
            },
        ),
        SuiteRecord(suite.name, suite.sha256, suite.version, suite.title),
    ]
    for item in plan.items:
        data = item.reference.read_bytes()
        sha256 = sha256_bytes(data)
        picture = None
        if item.reference.suffix.lower() == ".png":
            picture = picture_path(Path(FOLDER).parent, save_bytes(results, data)).as_posix()
        records.append(
            ItemRecord(
                suite.sha256,
                item.id,
                item.prompt,
                sha256,
                item.reference_caption,
                item.relation,
                asdict(item.expect) if item.expect else None,
                asdict(item.reference_expect) if item.reference_expect else None,
                picture,
            )
        )
    strategies = {c.strategy.name: c.strategy for c in plan.configurations}.values()
    records += [
        StrategyRecord(s.name, s.version, s.source_sha256, s.source, s.equation, s.doc, s.control) for s in strategies
    ]
    return records


def _cell_record(drawn: Drawn, plan: Plan, models: ModelSet, run_id: str) -> CellRecord:
    cell, configuration = drawn.cell, drawn.cell.configuration
    return CellRecord(
        cell_id=cell.cell_id, run_id=run_id, experiment=plan.experiment.name, strategy=configuration.strategy.name,
        params=dict(configuration.params), label=configuration.label, control=configuration.strategy.control,
        item=cell.item.id, seed=cell.seed, suite_sha256=plan.suite.sha256, sampler_sha256=plan.sampler_sha256,
        model_set_sha256=models.sha256, dtype=models.dtype, status="ok" if drawn.picture_sha256 else "failed",
        error=drawn.error, conditioning_sha256=drawn.conditioning_sha256, picture_sha256=drawn.picture_sha256,
        noise_seed=cell.noise_seed, tokens=drawn.tokens, source_sha256=configuration.strategy.source_sha256,
    )  # fmt: skip


def _adopted(record: CellRecord, run_id: str, experiment: str) -> CellRecord:
    return CellRecord(**{**asdict(record), "run_id": run_id, "experiment": experiment})


def _environment() -> dict[str, str]:
    packages = {}
    for name in ("torch", "diffusers", "transformers", "open_clip_torch", "numpy", "duckdb"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {"python": sys.version.split()[0], "platform": platform.platform(), **packages}


def _git_commit() -> str | None:
    try:
        called = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return called.stdout.strip() or None


@contextmanager
def _locked(results: Path) -> Iterator[None]:
    results.mkdir(parents=True, exist_ok=True)
    with (results / "run.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{results}: another run is writing here; wait for it or give --results another folder"
            ) from None
        yield
