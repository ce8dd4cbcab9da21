"""Publication: pages together with the data that they are made from, so that anybody can check the one by the other.

`reports/data/<name>.jsonl.gz` holds the records of one experiment (or of the analysis of hidden states) as shards do:
unpacked, they are a results folder without images. Pages are written from these data and not from the folder that a
run happens to have, which may hold more.
"""

import gzip
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.reports.board import read_board
from blendbench.reports.embeddings import write_embeddings
from blendbench.reports.findings import write_findings
from blendbench.reports.folders import made
from blendbench.reports.leaderboard import drawn, gallery_beside, render, write_leaderboard
from blendbench.results.records import (
    CellRecord,
    ConditioningRecord,
    EmbeddingAnalysisRecord,
    EmbeddingDimensionRecord,
    EmbeddingValueRecord,
    ItemRecord,
    Record,
    RunRecord,
    ScoreRecord,
    StrategyRecord,
    SuiteRecord,
    to_line,
)
from blendbench.results.shards import FOLDER as SHARDS
from blendbench.results.shards import read_shards
from blendbench.results.store import ingest, open_results

DATA = "data"
EMBEDDINGS = "embeddings"


def publish(results_dir: Path, out: Path, experiments: list[str] | None = None) -> list[Path]:
    """Write the data of `experiments` (default: all that were run) to `out`/data and every page that they give.

    Returns the pages. Errors: UsageError if there are no results, or none of an experiment.
    """
    with open_results(results_dir) as results:
        known = [str(name) for name in results.query("SELECT DISTINCT experiment FROM runs ORDER BY 1")["experiment"]]
    chosen = experiments or known
    for unknown in sorted(set(chosen) - set(known)):
        raise UsageError(f"{unknown}: no results of this experiment{suggest(unknown, known)}")
    records = read_shards(results_dir).records
    for name in chosen:
        _pack(_of_experiment(records, results_dir, name), out / DATA / f"{name}.jsonl.gz")
    analysis = list(_of_analysis(records))
    if analysis:
        _pack(analysis, out / DATA / f"{EMBEDDINGS}.jsonl.gz")
    with unpacked(out / DATA) as folder:
        (folder / "images").symlink_to((results_dir / "images").absolute(), target_is_directory=True)
        pages = [write_leaderboard(folder, out, name)[1] for name in _experiments(out)]
        if (out / DATA / f"{EMBEDDINGS}.jsonl.gz").is_file():
            pages.append(write_embeddings(folder, out)[1])
        return [*pages, write_findings(folder, out)[1]]


def differing(out: Path) -> list[str]:
    """Pages in `out` whose text is not what their stored data give. Errors: UsageError if there are no stored data."""
    wrong = []
    with unpacked(out / DATA) as folder, tempfile.TemporaryDirectory() as fresh:
        with open_results(folder) as results:
            for name in _experiments(out):
                board = read_board(results, name)
                text = render(results, board, drawn(out / name), gallery_beside(out, name))
                wrong += [name] if _text(out / f"{name}.md") != text else []
        pages = [write_findings(folder, Path(fresh))[1]]
        if (out / DATA / f"{EMBEDDINGS}.jsonl.gz").is_file():
            pages.append(write_embeddings(folder, Path(fresh))[1])
        wrong += [page.stem for page in pages if _text(out / page.name) != _text(page)]
    return sorted(wrong)


@contextmanager
def unpacked(data: Path) -> Iterator[Path]:
    """A results folder, with its database, made of the stored data; it is gone afterwards."""
    files = sorted(data.glob("*.jsonl.gz"))
    if not files:
        raise UsageError(f"{data}: no stored data; `blendbench publish` writes them")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / SHARDS).mkdir()
        for file in files:
            (folder / SHARDS / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
        ingest(folder)
        yield folder


def _experiments(out: Path) -> list[str]:
    names = [path.name.removesuffix(".jsonl.gz") for path in sorted((out / DATA).glob("*.jsonl.gz"))]
    return [name for name in names if name != EMBEDDINGS]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _pack(records: Iterable[Record], path: Path) -> None:
    made(path.parent)
    lines = "".join(f"{to_line(record)}\n" for record in records)
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))  # the same records, the same bytes


def _of_experiment(records: Iterable[Record], results_dir: Path, name: str) -> list[Record]:
    """What a page of an experiment reads: its current cells with their scores, and what describes them."""
    with open_results(results_dir) as results:
        cells = set(results.query("SELECT cell_id FROM current_cells WHERE experiment = ?", [name])["cell_id"])
        versions = results.query("SELECT metric, metric_version FROM current_metrics WHERE experiment = ?", [name])
    metrics = {str(row["metric"]): int(row["metric_version"]) for row in versions.to_dict("records")}
    records = list(records)
    own = {r.cell_id: r for r in records if isinstance(r, CellRecord) and r.cell_id in cells and r.experiment == name}
    runs = {r.run_id: r for r in records if isinstance(r, RunRecord) and r.experiment == name}
    last = max(runs.values(), key=lambda run: (run.started_at, run.run_id))
    used = {cell.run_id for cell in own.values()} | {last.run_id}
    suites, strategies = {cell.suite_sha256 for cell in own.values()}, {cell.strategy for cell in own.values()}
    conditionings = {cell.conditioning_sha256 for cell in own.values()}
    kept: dict[object, Record] = {}
    for record in records:
        match record:
            case SuiteRecord() if record.suite_sha256 in suites:
                kept["suite", record.suite_sha256] = record
            case ItemRecord() if record.suite_sha256 in suites:
                kept["item", record.suite_sha256, record.item] = record
            case StrategyRecord() if record.strategy in strategies:
                kept["strategy", record.strategy, record.source_sha256] = record
            case ConditioningRecord() if record.conditioning_sha256 in conditionings:
                kept["conditioning", record.conditioning_sha256] = record
            case ScoreRecord() if record.cell_id in own and metrics.get(record.metric) == record.metric_version:
                kept["score", record.cell_id, record.metric] = record
    described = [kept[key] for key in sorted(kept, key=str)]
    return [*(runs[run_id] for run_id in sorted(used)), *described, *(own[cell_id] for cell_id in sorted(own))]


def _of_analysis(records: Iterable[Record]) -> Iterator[Record]:
    """The latest analysis of hidden states."""
    records = list(records)
    analyses = [record for record in records if isinstance(record, EmbeddingAnalysisRecord)]
    if not analyses:
        return
    last = max(analyses, key=lambda record: (record.started_at, record.analysis_id))
    yield last
    parts = (r for r in records if isinstance(r, EmbeddingValueRecord | EmbeddingDimensionRecord))
    yield from (record for record in parts if record.analysis_id == last.analysis_id)
