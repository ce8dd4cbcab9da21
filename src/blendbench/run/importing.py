"""Bring images that were made elsewhere into a results folder, and score them like generated ones."""

import functools
import math
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from blendbench.core.errors import Problems, UsageError
from blendbench.core.files import printable, read_file
from blendbench.core.hashing import sha256_bytes, sha256_json
from blendbench.core.images import BYTE_LIMIT, load_image_bytes
from blendbench.core.suites import Suite
from blendbench.metrics import all_metrics
from blendbench.metrics.shared import SCORERS
from blendbench.models.sets import ModelSet
from blendbench.registry.parameters import Parameter
from blendbench.registry.strategies import Configuration, Strategy
from blendbench.results.images import ImageStore
from blendbench.results.imported import MODEL_SET
from blendbench.results.shards import ShardWriter, shard_paths
from blendbench.results.store import ingest, open_results
from blendbench.run.experiments import Experiment
from blendbench.run.lock import folder_lock
from blendbench.run.matching import Found, Pairing, Unit
from blendbench.run.pixels import PixelCache
from blendbench.run.plan import Cell, Plan, PlannedMetric, judged_by, scorer_sha256
from blendbench.run.progress import Reporter
from blendbench.run.provenance import identity_columns, run_row, write_opening
from blendbench.run.resume import missing_scores
from blendbench.run.score import Scorer, Scores

BASELINE = "text_only"


@dataclass(frozen=True)
class ImportReport:
    """The result of an import: how many cells and scores, and of how many pairs the noise is the same.

    `hidden`: labels that were compared with other images of the baseline, and are left out from now on.
    """

    experiment: str
    label: str
    items: int
    pairs: int
    same_noise: int
    scored: int
    scores_failed: int
    hidden: tuple[str, ...]


@dataclass(frozen=True)
class Stored:
    """An image in the store: `origin` is what the column `imported` holds."""

    image_sha256: str
    size: tuple[int, int]
    origin: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ImportedStrategy(Strategy):
    """What made imported images: nothing is known of it but the images, whose hash stands for its code."""

    images_sha256: str

    @property
    def source_sha256(self) -> str:
        """Return the hash of the images."""
        return self.images_sha256

    @property
    def doc(self) -> str:
        """Return nothing: no code is known."""
        return ""


@dataclass(frozen=True)
class Import:
    """A pairing whose images are stored, with its identities.

    Images are compared with those of one baseline only, as generated ones are with those of one model set: the hash of
    the baseline's images stands for the model set.
    """

    pairing: Pairing
    stored: Mapping[Path, Stored]
    suite: Suite

    @functools.cached_property
    def baseline_sha256(self) -> str:
        """Return the hash of all images of the baseline's folder that belong to items."""
        return self._images_sha256(self.pairing.numbered)

    @functools.cached_property
    def candidate_sha256(self) -> str:
        """Return the hash of the candidate's images."""
        return self._images_sha256(self.pairing.candidate)

    def found(self, cell: Cell) -> Found:
        """Return the image of a cell."""
        is_baseline = cell.configuration.strategy.name == BASELINE
        return (self.pairing.baseline if is_baseline else self.pairing.candidate)[cell.item.id, cell.seed]

    def image(self, cell: Cell) -> Stored:
        """Return the stored image of a cell."""
        return self.stored[self.found(cell).path]

    def plan(self, models: ModelSet, experiment: str, label: str, dose: float | None, judged: bool) -> Plan:
        """Return the cells of both, as a run plans them."""
        baseline = _configuration(BASELINE, None, self.baseline_sha256)
        candidate = _configuration(label, dose, self.candidate_sha256)
        items = {item.id: item for item in self.suite.items}
        cells = []
        for configuration, images in ((baseline, self.pairing.baseline), (candidate, self.pairing.candidate)):
            for (name, number), image in images.items():
                # Scores are kept by cell: the same file for another item is another cell.
                sha256 = self.stored[image.path].image_sha256
                key = ["imported", configuration.key(), judged_by(items[name]), name, number, sha256]
                cells.append(Cell(sha256_json(key), configuration, items[name], number, image.noise_seed or 0))
        measured = [m for m in all_metrics().values() if judged or not any(map(m.reads, SCORERS))]
        return Plan(
            experiment=Experiment(experiment, "Imported images", self.suite.name, self.pairing.numbers, BASELINE),
            suite=self.suite,
            baseline=baseline,
            configurations=(baseline, candidate),
            items=tuple(items[name] for name in self.pairing.items),
            cells=tuple(cells),
            sampler={},
            sampler_sha256="",
            metrics=tuple(PlannedMetric(metric, scorer_sha256(metric, self.suite, models)) for metric in measured),
        )

    def cell_row(self, cell: Cell, plan: Plan, run_id: str) -> dict[str, Any]:
        """Return the row of a cell: what is not known of its making is NULL."""
        image = self.image(cell)
        return identity_columns(cell, plan, run_id) | {
            "model_set_sha256": self.baseline_sha256,
            "dtype": "",
            "noise_seed": self.found(cell).noise_seed,
            "status": "ok",
            "image_sha256": image.image_sha256,
            "imported": image.origin,
        }

    def _images_sha256(self, images: Mapping[Unit, Found]) -> str:
        return sha256_json(sorted([*unit, self.stored[image.path].image_sha256] for unit, image in images.items()))


def import_images(
    pairing: Pairing,
    suite: Suite,
    models: ModelSet,
    results: Path,
    reporter: Reporter,
    *,
    experiment: str,
    label: str,
    dose: float | None,
    judged: bool,
) -> ImportReport:
    """Store the images of a pairing, and score what has no scores yet.

    `judged`: also by metrics that need a network of `models`; without it only the others are measured.
    Errors: UsageError (an image that cannot be read, sizes that differ, a folder that cannot be written, an experiment
    with generated images).
    """
    with folder_lock(results):
        before = _labels(results, experiment) if shard_paths(results) else set()
        store = ImageStore(results)
        made = Import(pairing, _stored(pairing, store), suite)
        plan = made.plan(models, experiment, label, dose, judged)
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        run = run_row(plan, run_id) | {"model_set": MODEL_SET, "model_set_sha256": made.baseline_sha256}
        with ShardWriter(results, run_id) as shard, reporter:
            write_opening(shard, plan, run | {"device": models.device, "dtype": ""}, store)
            shard.append("cells", [made.cell_row(cell, plan, run_id) for cell in plan.cells])
            scored = failed = 0
            for scores in _scores(made, plan, models, results, reporter):
                shard.append_lines(scores.lines)
                scored, failed = scored + len(scores.lines), failed + len(scores.errors)
        ingest(results)
    return ImportReport(
        experiment=experiment,
        label=plan.configurations[-1].label,
        items=len(pairing.items),
        pairs=len(pairing.candidate),
        same_noise=pairing.same_noise,
        scored=scored,
        scores_failed=failed,
        hidden=tuple(sorted(before - _labels(results, experiment))),
    )


def _labels(results: Path, experiment: str) -> set[str]:
    """Return what an experiment of imported images shows. Errors: UsageError for one of generated images."""
    rows = open_results(results).rows(
        "SELECT label, count(*) FILTER (imported IS NULL) FROM current_cells WHERE experiment = ? GROUP BY label",
        [experiment],
    )
    if any(generated for _, generated in rows):
        raise UsageError(f"--experiment {experiment}: holds generated images, which these would hide; name another one")
    return {label for label, _ in rows}


def _scores(made: Import, plan: Plan, models: ModelSet, results: Path, reporter: Reporter) -> Iterator[Scores]:
    """Yield missing scores; a batch holds images of one size."""
    images = {cell.cell_id: made.image(cell).image_sha256 for cell in plan.cells}
    missing = missing_scores(plan, images, results)
    by_size: defaultdict[tuple[int, int], dict[str, tuple[str, ...]]] = defaultdict(dict)
    for cell in plan.cells:
        if cell.cell_id in missing:
            by_size[made.image(cell).size][cell.cell_id] = missing[cell.cell_id]
    scorer = Scorer(plan, models, images, PixelCache(ImageStore(results)))
    progress = reporter.stage("scores", sum(map(len, missing.values())))
    for part in by_size.values():
        for scores in scorer.score_rest(part):
            yield scores
            progress.advance(len(scores.lines), len(scores.errors))


def _stored(pairing: Pairing, store: ImageStore) -> dict[Path, Stored]:
    """Store every image of a pairing, and all of the baseline's. Errors: UsageError with all that cannot be."""
    problems, stored = Problems(), {}
    for image in dict.fromkeys([*pairing.candidate.values(), *pairing.numbered.values()]):
        with problems.collected():
            stored[image.path] = _store(image, store)
    problems.check()
    for unit, image in pairing.candidate.items():
        name = pairing.baseline[unit].path
        (height, width), (rows, columns) = stored[image.path].size, stored[name].size
        if (height, width) != (rows, columns):
            problems.add(
                f"{printable(image.path)}: {width} x {height} pixels; its baseline {printable(name)} has"
                f" {columns} x {rows}; paired images must have one size"
            )
    problems.check()
    return stored


def _store(image: Found, store: ImageStore) -> Stored:
    data = read_file(image.path, BYTE_LIMIT)
    loaded = load_image_bytes(data, str(image.path))
    origin = {"file": image.path.name, "sha256": sha256_bytes(data), "flags": list(loaded.flags)}
    height, width = loaded.pixels.shape[:2]
    return Stored(store.save(loaded.pixels), (height, width), origin)


def _configuration(name: str, dose: float | None, images_sha256: str) -> Configuration:
    # A default that no dose equals, so that labels show the dose.
    own = {} if dose is None else {"dose": Parameter("dose", float, math.nan)}
    strategy = ImportedStrategy(
        name=name,
        version=1,
        source="imported",
        equation="",
        function=_made_elsewhere,
        inputs=("text",),
        own=own,
        select={},
        doses=tuple(own),
        images_sha256=images_sha256,
    )
    return Configuration(strategy, {} if dose is None else {"dose": dose})


def _made_elsewhere() -> NoReturn:
    raise UsageError("imported images are made elsewhere")
