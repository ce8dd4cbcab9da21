"""Verify published results: do they belong to this code, are they whole, and do they come out again.

Nobody can see from a number whether it was measured. So items are chosen by chance, all their cells are generated
again, and every score is compared.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, require_regular_file
from blendbench.core.images import image_identity
from blendbench.results.export import import_published, published_data, published_experiments
from blendbench.results.packed import PART_OF_MARGIN, same_image
from blendbench.results.store import Results, open_results
from blendbench.run.loop import run
from blendbench.run.plan import Plan
from blendbench.run.progress import Reporter
from blendbench.run.provenance import metric_row

if TYPE_CHECKING:
    from blendbench.models.sets import ModelSet
    from blendbench.run.cluster import Cluster

_LARGEST = 1 << 28  # bytes of one file
_SHOWN = 5  # differing scores
# Other machines round otherwise: results count as the same below this part of a margin.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class Verification:
    """What was found: refused if there are `problems`.

    `items` were chosen, `cells` of them generated again, `same_pixels` of these with the published image, and `scores`
    compared.
    """

    experiment: str
    problems: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    cells: int = 0
    same_pixels: int = 0
    scores: int = 0


def submitted(folder: Path) -> tuple[Path, list[str]]:
    """Return where a folder's published data are, and their experiments.

    Errors: UsageError (no data, a link, a file too large).
    """
    data = published_data(folder)
    if data is None:
        raise UsageError(
            f"{printable(folder)}: no published data; `blendbench publish EXPERIMENT --out DIR` writes them"
        )
    for path in sorted(data.glob("*.parquet")):
        if path.is_symlink() or require_regular_file(path) > _LARGEST:
            raise UsageError(f"{printable(path)}: a link, or more than {_LARGEST:,} bytes; submit what was published")
    return data, published_experiments(data)


def named_models(data: Path, experiment: str) -> str:
    """Return the name of the model set that an experiment was submitted for."""
    with import_published(data, experiment) as results:
        ((name,),) = results.rows("SELECT model_set FROM current_sets JOIN runs USING (run_id)")
    return str(name)


def verify(
    data: Path, plan: Plan, models: "ModelSet", items: int, work: Path, cluster: "Cluster | None" = None
) -> Verification:
    """Compare the published results of an experiment with a plan of this code, and with cells generated again.

    `items`: how many to choose; `work`: a folder for their results.
    """
    with import_published(data, plan.experiment.name) as results:
        problems = [*_differences(results, plan, models)]
        if problems:
            return Verification(plan.experiment.name, problems)
        chosen = random.SystemRandom().sample(plan.items, min(items, len(plan.items)))
        names = [item.id for item in chosen]
        part = replace(plan, items=tuple(chosen), cells=tuple(cell for cell in plan.cells if cell.item.id in names))
        done = run(part, models, work, Reporter(), cluster=cluster)
        again = open_results(work)
        compared, wrong = _compared(results, again, names)
        if done.stopped:
            wrong.insert(0, f"nothing could be generated: {done.stopped}")
        published, own = (_images(each, names) for each in (results, again))
        same = sum(same_image(image, own[place]) for place, image in published.items() if own.get(place) and image)
        return Verification(plan.experiment.name, wrong, names, len(part.cells), same, compared)


def _differences(results: Results, plan: Plan, models: "ModelSet") -> Iterator[str]:
    """Yield everything that published results say otherwise than this code does."""
    yield from _other_setting(results, plan, models)
    yield from _other_metrics(results, plan)
    yield from _other_configurations(results, plan)
    yield from _other_items(results, plan)
    yield from _lacking(results, plan)


def _other_setting(results: Results, plan: Plan, models: "ModelSet") -> Iterator[str]:
    columns = ("suite_sha256", "model_set_sha256", "dtype", "sampler_sha256", "baseline")
    ((found),) = results.rows(f"SELECT {', '.join(columns)} FROM current_sets")
    here = (plan.suite.sha256, models.sha256, models.dtype, plan.sampler_sha256, plan.baseline.label)
    titles = (f"suite {plan.suite.name}", f"model set {models.name}", "precision", "sampler", "baseline")
    for title, theirs, ours in zip(titles, found, here, strict=True):
        if theirs != ours:
            yield f"stale or other {title}: {str(theirs)[:12]}, here {str(ours)[:12]}"


def _other_metrics(results: Results, plan: Plan) -> Iterator[str]:
    names = list(metric_row(plan.metrics[0]))
    rows = results.rows(f"SELECT {', '.join(names)}, scorer_sha256 FROM current_metrics")
    theirs = {row[0]: dict(zip([*names, "scorer_sha256"], row, strict=True)) for row in rows}
    ours = {metric.name: metric_row(metric) | {"scorer_sha256": metric.scorer_sha256} for metric in plan.metrics}
    yield from _unlike("metric", theirs, ours)


def _other_configurations(results: Results, plan: Plan) -> Iterator[str]:
    columns = ("source_sha256", "strategy", "family", "dose", "control", "params")
    theirs: dict[str, dict[str, Any]] = {}
    for label, *row in results.rows(
        f"SELECT label, {', '.join(columns[:-1])}, CAST(params AS VARCHAR) FROM current_cells GROUP BY ALL ORDER BY ALL"
    ):
        if label in theirs:
            yield f"configuration {printable(label)}: its cells differ in code or parameters"
        theirs[label] = dict(zip(columns, (*row[:-1], json.loads(row[-1])), strict=True))
    ours = {}
    for c in plan.configurations:
        own = (c.strategy.source_sha256, c.strategy.name, c.family, c.dose, c.strategy.control)
        ours[c.label] = dict(zip(columns, (*own, json.loads(json.dumps(dict(c.params)))), strict=True))
    yield from _unlike("configuration", theirs, ours)
    bounds = {c.strategy.name: (c.strategy.control, c.strategy.upper_bound) for c in plan.configurations}
    for name, control, bound in results.rows("SELECT strategy, control, upper_bound FROM strategies ORDER BY ALL"):
        if name in bounds and (control, bool(bound)) != bounds[name]:
            yield f"strategy {printable(name)}: not the control or upper bound that it is here"


def _other_items(results: Results, plan: Plan) -> Iterator[str]:
    columns = ("item", "prompt", "reference_sha256", "relation", "stratum", "split")
    rows = results.rows(f"SELECT {', '.join(columns)} FROM items JOIN current_sets USING (suite_sha256)")
    theirs = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    own = ((i.id, i.prompt, image_identity(i.reference), i.relation, i.stratum, i.split) for i in plan.items)
    ours = {row[0]: dict(zip(columns, row, strict=True)) for row in own}
    yield from _unlike("item", theirs, ours)


def _unlike(kind: str, theirs: dict[str, dict[str, Any]], ours: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield what only one side has, and what the sides say otherwise."""
    for name in sorted(ours.keys() - theirs.keys()):
        yield f"{kind} {printable(name)} is missing"
    for name in sorted(theirs.keys() - ours.keys()):
        hint = "; --plugin loads its code" if kind == "configuration" else ""
        yield f"{kind} {printable(name)} is unknown here{hint}"
    for name in sorted(theirs.keys() & ours.keys()):
        for column, value in ours[name].items():
            if theirs[name][column] != value:
                yield f"{kind} {printable(name)}: other {column} than here; stale?"
                break


def _lacking(results: Results, plan: Plan) -> Iterator[str]:
    """Report cells that are not there, and scores of cells that are."""
    have = set(results.rows("SELECT label, item, seed FROM current_cells"))
    wanted = {(cell.configuration.label, cell.item.id, cell.seed) for cell in plan.cells}
    if missing := wanted - have:
        yield f"{len(missing)} of {len(wanted)} cells are missing, such as {' '.join(map(str, min(missing)))}"
    if more := have - wanted:
        yield f"{len(more)} cells are not in the experiment, such as {printable(' '.join(map(str, min(more))))}"
    ((scores,),) = results.rows(
        "SELECT count(*) FROM current_scores s JOIN current_cells c USING (experiment, cell_id) WHERE c.status = 'ok'"
    )
    ((ok,),) = results.rows("SELECT count(*) FROM current_cells WHERE status = 'ok'")
    if scores != ok * len(plan.metrics):
        yield f"{ok * len(plan.metrics) - scores} scores are missing"


def _compared(theirs: Results, ours: Results, items: Sequence[str]) -> tuple[int, list[str]]:
    """Return how many scores were compared, and a line for each that differs, at most a few."""
    query = """
        SELECT u.label, u.item, u.seed, u.metric, u.status, u.value, m.margin FROM unit_scores u
        JOIN current_metrics m USING (experiment, metric) WHERE list_contains(?, u.item) ORDER BY ALL
    """
    published, own = ({tuple(row[:4]): row[4:] for row in each.rows(query, [list(items)])} for each in (theirs, ours))
    wrong = []
    for place in sorted(own):
        status, value, margin = own[place]
        their_status, their_value, _ = published.get(place, ("missing", None, 0))
        allowed = margin * (_TOLERANCE + 1 / PART_OF_MARGIN) or 1e-3 * max(1.0, abs(value or 0.0))
        if their_status != status or (value is not None and abs(value - their_value) > allowed):
            label, item, seed, metric = map(str, place)
            said, found = (
                f"{number:.4g}" if number is not None else state
                for state, number in ((their_status, their_value), (status, value))
            )
            wrong.append(f"{label}, {item}, seed {seed}: {metric} is {said}, and generated again {found}")
    more = [f"and {len(wrong) - _SHOWN} more scores"] if len(wrong) > _SHOWN else []
    return len(own), [*wrong[:_SHOWN], *more]


def _images(results: Results, items: Sequence[str]) -> dict[tuple[Any, ...], str]:
    rows = results.rows(
        "SELECT label, item, seed, image_sha256 FROM current_cells WHERE status = 'ok' AND list_contains(?, item)",
        [list(items)],
    )
    return {tuple(row[:3]): row[3] for row in rows}
