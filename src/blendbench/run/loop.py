"""Run: find what is left of the plan, do it and ingest it."""

import functools
import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from blendbench.core.errors import UsageError
from blendbench.models.sets import ModelSet
from blendbench.results.shards import FOLDER as SHARDS
from blendbench.results.store import DatabaseHeldError, ingest
from blendbench.run.contained import end_child
from blendbench.run.lock import folder_lock
from blendbench.run.plan import Plan
from blendbench.run.preflight import refuse_hopeless
from blendbench.run.progress import Reporter
from blendbench.run.resume import remaining_work

if TYPE_CHECKING:
    from blendbench.run.cluster import Cluster


@dataclass(frozen=True)
class RunReport:
    """The result of a run.

    `expected` cells are in the plan; of these `ok` and `failed` are so now, `generated` were finished by this run
    (`images` of them with an image of their own), `reused` before it. `scored` and `scores_failed` count values;
    `untried` cells were left because the run stopped early, for the reason in `stopped`. Of
    `kept` cells the embeddings are now there that were not. `seconds` is wall time, by stage in `stages`. `residency`
    names the memory plan, `batch_size` the images generated at once in the end, `peak_gib` the most GPU memory that was
    allocated, by stage. `run_id` is None if nothing was left to do. `repeated` cells were generated again, `differing`
    of them with other pixels; `repeats_failed` could not be.
    """

    experiment: str
    expected: int
    ok: int
    reused: int
    run_id: str | None = None
    failed: int = 0
    generated: int = 0
    images: int = 0
    scored: int = 0
    scores_failed: int = 0
    untried: int = 0
    stopped: str | None = None
    kept: int = 0
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    residency: str | None = None
    batch_size: int = 0
    peak_gib: dict[str, float] = field(default_factory=dict)
    repeated: int = 0
    differing: int = 0
    repeats_failed: int = 0


def run(
    plan: Plan,
    models: ModelSet,
    results: Path,
    reporter: Reporter,
    keep: bool = False,
    wanted: Collection[str] = (),
    cluster: "Cluster | None" = None,
    repeat: float = 0.0,
) -> RunReport:
    """Do what is left of `plan` in `results`.

    `keep`: also keep the embeddings of every stage, and record where. `wanted`: labels without which nothing is to be
    generated. `cluster`: the workers that load the networks, in place of this process. `repeat`: percentage of the
    plan's different images to generate again, in another order and other batches, and compare (table `repeats`).
    Errors: UsageError if `repeat` is not from 0 to 100, if another run holds the folder, if the models' identity is
    only a stand-in, or if what is wanted cannot be generated.
    """
    if models.provisional:
        # A stand-in for the identity of weights must name no cell: nothing would ever find that cell again.
        raise UsageError(f"{models.name}: its weights are not all here or not hashed yet; `blendbench run` does both")
    if not 0 <= repeat <= 100:  # NaN is neither
        raise UsageError(f"repeat={repeat}: write a percentage from 0 to 100")
    began = time.perf_counter()
    with folder_lock(results), ExitStack() as after:
        after.callback(end_child)  # the process that calls strategies holds what memory held when it began
        remaining = remaining_work(plan, models, results)
        refuse_hopeless(plan, remaining.refused, wanted)
        reused, failed = len(plan.cells) - len(remaining.cells) - len(remaining.refused), len(remaining.refused)
        report = RunReport(plan.experiment.name, len(plan.cells), ok=reused, reused=reused, failed=failed)
        if repeat or not remaining.empty:
            # Here, because a run with nothing to do must not wait for torch.
            from blendbench.models.residency import GIB
            from blendbench.run.work import Work

            if cluster is None:
                work = Work(plan, models, results, remaining, reporter, repeat=repeat)
            else:
                from blendbench.run.cluster_engine import ClusterEngine

                engine = functools.partial(ClusterEngine, cluster)
                work = Work(plan, models, results, remaining, reporter, engine, repeat)
            work.do()
            left = work.failed + work.untried
            report = replace(
                report,
                run_id=work.run_id,
                ok=len(plan.cells) - left,
                failed=work.failed,
                generated=len(remaining.cells) + failed - left,
                images=work.clock.counts["save"],
                scored=work.clock.counts["measure"],
                scores_failed=work.scores_failed,
                untried=work.untried,
                stopped=work.stopped,
                stages={stage: round(seconds, 3) for stage, seconds in work.clock.seconds.items()},
                residency=models.residency.name,
                batch_size=work.engine.batch_size,
                peak_gib={stage: round(peak / GIB, 3) for stage, peak in work.engine.peaks.items()},
                repeated=work.repeated,
                differing=work.differing,
                repeats_failed=work.repeats_failed,
            )
        if keep:
            from blendbench.run.keep import keep_embeddings

            report = replace(report, kept=keep_embeddings(plan, models, results, reporter))
        _bring_in(results, plan.experiment.name)
    return replace(report, seconds=round(time.perf_counter() - began, 3))


def _bring_in(results: Path, experiment: str) -> None:
    """Ingest what a run has appended. Errors: UsageError that says where it is."""
    try:
        ingest(results)
    except DatabaseHeldError as error:
        raise UsageError(
            f"the run is complete and safe in {results / SHARDS}, only not in the database yet ({error}); any command"
            f" that reads results brings it in, such as `blendbench leaderboard {experiment} --results {results}`"
        ) from error
