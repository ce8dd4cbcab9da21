"""Read a results folder's state in SQL, for a run that continues it."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from blendbench.results.schema import schema_sql, tables
from blendbench.results.shards import shard_paths
from blendbench.results.store import open_results

_AT_ONCE = 50_000  # cells whose scores are looked up together; all of them would take much memory


# The cells that an experiment counts on a suite: of each configuration, item and seed the newest.
_COUNTING = """
    SELECT c.cell_id FROM cells c JOIN runs r USING (run_id) WHERE c.experiment = ? AND c.suite_sha256 = ?
    QUALIFY row_number() OVER (PARTITION BY c.label, c.item, c.seed ORDER BY r.sequence DESC, c.cell_id) = 1
"""


class CellState(NamedTuple):
    """The latest row of a cell in any experiment."""

    status: str
    image_sha256: str | None
    conditioning_sha256: str | None
    noise_seed: int
    error: str | None


class PlannedScore(NamedTuple):
    """A cell to score, with the images it is measured on ("" if missing)."""

    cell_id: str
    image_sha256: str
    baseline_image_sha256: str


class MetricKey(NamedTuple):
    """A metric of a run, with its judging weights ("" without a network)."""

    name: str
    version: int
    paired: bool
    scorer_sha256: str


@dataclass(frozen=True)
class LastPlan:
    """The subject of an experiment's latest run."""

    suite_sha256: str
    model_set_sha256: str
    dtype: str
    sampler_sha256: str
    baseline: str
    items: list[str]
    seeds: list[int]
    sources: dict[str, str]  # by label
    metrics: dict[str, dict[str, Any]]  # columns of `metrics` and the scorer, by name


class State:
    """Answers questions about a results folder as it was when this was opened."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def finished_cells(self, cell_ids: Sequence[str]) -> dict[str, CellState]:
        """Return what is known of these cells, without the unknown ones."""
        rows = self._each(
            """
            SELECT c.cell_id, c.status, c.image_sha256, c.conditioning_sha256, c.noise_seed, c.error
            FROM cells c JOIN runs r USING (run_id)
            JOIN (SELECT unnest(string_split(?, ' ')) AS cell_id) USING (cell_id)
            QUALIFY row_number() OVER (PARTITION BY c.cell_id ORDER BY r.sequence DESC, c.run_id DESC) = 1
            """,
            [_joined(cell_ids)],
        )
        return {cell_id: CellState(*rest) for cell_id, *rest in rows}

    def is_complete(
        self,
        experiment: str,
        suite_sha256: str,
        cells: Sequence[tuple[str, str]],
        metrics: Sequence[MetricKey],
        present: Callable[[Iterable[str]], set[str]],
    ) -> bool:
        """Say whether an experiment has all of these cells, images and scores; no row of theirs is held in memory.

        `cells`: cell id and that of its baseline; `present`: which of some images exist undamaged.
        """
        self._ask(
            "CREATE OR REPLACE TEMP TABLE planned AS SELECT unnest(string_split(?, ' ')) AS cell_id,"
            " unnest(string_split(?, ' ')) AS baseline_id",
            [*map(_joined, zip(*cells, strict=True))],
        )
        self._ask(
            """
            CREATE OR REPLACE TEMP TABLE latest AS FROM (
                SELECT c.cell_id, c.status, c.image_sha256 FROM cells c JOIN runs r USING (run_id)
                JOIN planned USING (cell_id)
                QUALIFY row_number() OVER (PARTITION BY c.cell_id ORDER BY r.sequence DESC, c.run_id DESC) = 1
            ) WHERE status = 'ok'
            """
        )
        ((missing, outdated),) = self._ask(
            f"""
            SELECT (SELECT count(*) FROM planned ANTI JOIN latest USING (cell_id)),
                (SELECT count(*) FROM planned ANTI JOIN ({_COUNTING}) USING (cell_id))
            """,
            [experiment, suite_sha256],
        )
        if missing or outdated:
            return False
        images = self._connection.execute("SELECT DISTINCT image_sha256 FROM latest")
        while rows := images.fetchmany(2048):
            if len(present(image for (image,) in rows)) < len(rows):
                return False
        self._plan_metrics(metrics)
        ((settled,),) = self._ask(
            """
            SELECT count(*) FROM scores s
            JOIN latest l ON l.cell_id = s.cell_id AND l.image_sha256 = s.image_sha256
            JOIN planned p ON p.cell_id = s.cell_id JOIN latest b ON b.cell_id = p.baseline_id
            JOIN wanted_metrics m ON m.metric = s.metric AND m.metric_version = s.metric_version
                AND m.scorer_sha256 = s.scorer_sha256
            WHERE s.status <> 'failed'
                AND s.baseline_image_sha256 = CASE WHEN m.paired THEN b.image_sha256 ELSE '' END
            """
        )
        return bool(settled == len(cells) * len(metrics))

    def outdated_members(self, experiment: str, suite_sha256: str, cell_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return rows of `cells` to append under a new run.

        The experiment then counts these cells. Those are finished cells that only other experiments or suites have, and
        those with a newer cell of the same configuration, item and seed.
        """
        table = tables()["cells"]
        rows = self._ask(
            f"""
            WITH counting AS ({_COUNTING}), outdated AS MATERIALIZED (
                SELECT DISTINCT unnest(string_split(?, ' ')) AS cell_id EXCEPT SELECT cell_id FROM counting
            )
            SELECT {table.names} FROM (
                SELECT c.*, r.sequence FROM cells c JOIN outdated USING (cell_id) JOIN runs r USING (run_id)
                WHERE c.status = 'ok'
            )
            QUALIFY row_number() OVER (PARTITION BY cell_id ORDER BY sequence DESC, run_id DESC) = 1
            ORDER BY cell_id
            """,
            [experiment, suite_sha256, _joined(cell_ids)],
        )
        names = [column.name for column in table.columns]
        return [dict(zip(names, row, strict=True)) | {"params": json.loads(row[names.index("params")])} for row in rows]

    def missing_scores(self, cells: Sequence[PlannedScore], metrics: Sequence[MetricKey]) -> Iterator[tuple[str, str]]:
        """Yield cell id and metric of unsettled scores, in the given order.

        `ok`, `unscorable` and `skipped` are settled for the images, version and weights that they belong to, and
        `failed` is measured again: a score that was skipped for a part that is there now has another key.
        """
        for start in range(0, len(cells) if metrics else 0, _AT_ONCE):
            yield from self._missing_scores(cells[start : start + _AT_ONCE], metrics)

    def _missing_scores(self, cells: Sequence[PlannedScore], metrics: Sequence[MetricKey]) -> list[tuple[str, str]]:
        self._ask(
            "CREATE OR REPLACE TEMP TABLE wanted AS SELECT unnest(string_split(?, ' ')) AS cell_id,"
            " unnest(string_split(?, ' ')) AS image, unnest(string_split(?, ' ')) AS baseline,"
            " unnest(range(?)) AS place",
            [*map(_joined, zip(*cells, strict=True)), len(cells)],
        )
        self._plan_metrics(metrics)
        settled = """
            scores s
            JOIN wanted w ON w.cell_id = s.cell_id AND w.image = s.image_sha256
            JOIN wanted_metrics m ON m.metric = s.metric AND m.metric_version = s.metric_version
                AND m.scorer_sha256 = s.scorer_sha256
            WHERE s.status <> 'failed' AND s.baseline_image_sha256 = CASE WHEN m.paired THEN w.baseline ELSE '' END
        """
        # Most cells have all scores: these are counted away before any missing one is looked for.
        self._ask(
            f"""
            CREATE OR REPLACE TEMP TABLE wanted AS FROM wanted ANTI JOIN (
                SELECT s.cell_id FROM {settled} GROUP BY s.cell_id HAVING count(*) = {len(metrics)}
            ) complete USING (cell_id)
            """
        )
        return self._ask(
            f"""
            WITH settled AS (SELECT s.cell_id, s.metric FROM {settled})
            SELECT w.cell_id, m.metric FROM wanted w, wanted_metrics m
            ANTI JOIN settled s ON s.cell_id = w.cell_id AND s.metric = m.metric
            ORDER BY w.place, m.place
            """
        )

    def _plan_metrics(self, metrics: Sequence[MetricKey]) -> None:
        self._ask(
            "CREATE OR REPLACE TEMP TABLE wanted_metrics AS SELECT unnest(?) AS metric, unnest(?) AS metric_version,"
            " unnest(?) AS paired, unnest(?) AS scorer_sha256, unnest(range(?)) AS place",
            [*map(list, zip(*metrics, strict=True)), len(metrics)],
        )

    def known_images(self, sampler_sha256: str, model_set_sha256: str, dtype: str) -> list[tuple[str, int, str]]:
        """Return (conditioning, noise seed, image) of finished cells of a setting."""
        return self._ask(
            """
            SELECT conditioning_sha256, noise_seed, arg_max(image_sha256, (r.sequence, c.cell_id))
            FROM cells c JOIN runs r USING (run_id)
            WHERE c.status = 'ok' AND conditioning_sha256 IS NOT NULL
                AND c.sampler_sha256 = ? AND c.model_set_sha256 = ? AND c.dtype = ?
            GROUP BY ALL
            """,
            [sampler_sha256, model_set_sha256, dtype],
        )

    def last_plan(self, experiment: str) -> LastPlan | None:
        """Return what the latest run of an experiment planned, or None."""
        runs = self._ask(
            """
            SELECT run_id, suite_sha256, model_set_sha256, dtype, sampler_sha256, baseline, items, seeds
            FROM runs WHERE experiment = ? ORDER BY sequence DESC, run_id DESC LIMIT 1
            """,
            [experiment],
        )
        if not runs:
            return None
        run_id, suite, models, dtype, sampler, baseline, items, seeds = runs[0]
        sources = self._ask("SELECT label, source_sha256 FROM planned_configurations WHERE run_id = ?", [run_id])
        names = ["scorer_sha256", *(column.name for column in tables()["metrics"].columns)]
        metrics = self._ask(
            f"SELECT {', '.join(names)} FROM planned_metrics JOIN metrics USING (metric, metric_version)"
            " WHERE run_id = ?",
            [run_id],
        )
        cards = [dict(zip(names, row, strict=True)) for row in metrics]
        return LastPlan(
            suite_sha256=suite,
            model_set_sha256=models,
            dtype=dtype,
            sampler_sha256=sampler,
            baseline=baseline,
            items=json.loads(items),
            seeds=json.loads(seeds),
            sources=dict(sources),
            metrics={str(card["metric"]): card for card in cards},
        )

    def embedding_files(self, cell_ids: Sequence[str]) -> dict[str, set[str]]:
        """Return the recorded hidden-state files of these cells, by cell id."""
        rows = self._ask(
            "SELECT cell_id, list(sha256) FROM cell_embeddings JOIN (SELECT unnest(?) AS cell_id) USING (cell_id)"
            " GROUP BY cell_id",
            [list(cell_ids)],
        )
        return {cell_id: set(files) for cell_id, files in rows}

    def pace(self) -> dict[str, float]:
        """Return seconds per thing by stage, each of the latest run with it."""
        rows = self._ask(
            """
            SELECT stage, arg_max(t.seconds / t.count, (r.sequence, r.run_id))
            FROM stage_times t JOIN runs r USING (run_id) WHERE t.count > 0 GROUP BY stage
            """
        )
        return dict(rows)

    def _each(self, sql: str, parameters: list[Any]) -> Iterator[tuple[Any, ...]]:
        """Yield rows without holding all of them twice."""
        found = self._connection.execute(sql, parameters)
        while rows := found.fetchmany(2048):
            yield from rows

    def _ask(self, sql: str, parameters: list[Any] | None = None) -> list[Any]:
        return self._connection.execute(sql, parameters or []).fetchall()


def _joined(hashes: Iterable[str]) -> str:
    """Join hashes for SQL to split; a list parameter takes far more memory."""
    return " ".join(hashes)


@contextmanager
def open_state(results_dir: Path | str) -> Iterator[State]:
    """Open a results folder, which may be empty. Errors: UsageError."""
    if shard_paths(results_dir):
        with open_results(results_dir).connect() as connection:
            # A second thread wants buffers of its own, and is no faster for these questions.
            connection.execute("SET threads = 1")
            yield State(connection)
    else:
        with duckdb.connect() as connection:
            connection.execute(schema_sql())  # no question reads a view
            yield State(connection)
