"""Conversion of a results folder from format 1 of the shards, once.

Format 1 called images pictures, had no order but the clock, and no score said which images it was measured on. Ids of
cells are kept: they cannot be computed from the data, so a run of this version plans its own cells beside them.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, require_regular_file
from blendbench.core.hashing import canonical_json, sha256_json
from blendbench.results.schema import FORMAT, RowChecker, RowError, parse_line, tables
from blendbench.results.shards import FOLDER, shard_paths

OLD_FOLDER = "shards-format-1"
_NEW_FOLDER = "shards-format-2"  # until everything is written
_TABLES = {
    "suite": "suites",
    "item": "items",
    "strategy": "strategies",
    "cell": "cells",
    "score": "scores",
    "stage_time": "stage_times",
    "stage_memory": "stage_memory",
    "memory_plan": "memory_plans",
    "weight_file": "weight_files",
    "cell_batch": "cell_batches",
    "conditioning": "conditionings",
    "embedding_analysis": "embedding_analyses",
    "embedding_value": "embedding_values",
    "embedding_dimension": "embedding_dimensions",
    "cell_embedding": "cell_embeddings",
    "vote": "votes",
}
_RENAMED = {"picture_sha256": "image_sha256", "reference_picture": "reference_image"}
_ROLES = {"adherence": "prompt", "reference": "gain", "effect": "diagnostic"}
_PAIRED = frozenset(
    (
        *("clip_shift", "color_bleeding", "color_drift", "content_override", "effect_size", "saturation_shift"),
        *("style_gain", "texture_change", "tone_drift"),
    )
)
_BATCH = 4096

Place = tuple[str, str, int, str, str, str]  # label, item, seed, suite, model set and sampler
Record = dict[str, Any]
Known = Mapping[tuple[str, int], Mapping[str, float | None]]  # by metric and version


@dataclass
class _Seen:
    """Facts of lines read so far that later lines need."""

    images: dict[str, str] = field(default_factory=dict)  # by cell
    places: dict[str, Place] = field(default_factory=dict)  # by cell
    at: dict[tuple[str, Place], str] = field(default_factory=dict)  # images by experiment and place
    sources: dict[tuple[str, str], str] = field(default_factory=dict)  # by experiment and label
    scorers: dict[tuple[str, int], str] = field(default_factory=dict)  # by metric and version

    def read(self, record: Record) -> None:
        """Remember what a record says."""
        if record.get("record") == "cell" and record.get("status") == "ok":
            names = ("label", "item", "seed", "suite_sha256", "model_set_sha256", "sampler_sha256")
            cell_id, place = str(record["cell_id"]), tuple(record[name] for name in names)
            self.images[cell_id] = str(record.get("picture_sha256"))
            self.places[cell_id] = place
            self.at[str(record["experiment"]), place] = self.images[cell_id]
            self.sources[str(record["experiment"]), str(record["label"])] = str(record.get("source_sha256", ""))
        elif record.get("record") == "score" and record.get("scorer_sha256"):
            self.scorers[record["metric"], record["metric_version"]] = str(record["scorer_sha256"])


def convert(folder: Path, known: Known) -> int:
    """Convert a results folder of format 1 to the present one.

    The result: how many rows it now has. The old shards stay in `shards-format-1/`. `known` are `low`, `high` and
    `threshold` of metrics: format 1 did not hold them. Errors: UsageError for a folder of another format, and naming
    shard and line of a bad record.
    """
    old, kept, fresh = folder / FOLDER, folder / OLD_FOLDER, folder / _NEW_FOLDER
    if old.is_dir():
        paths = shard_paths(folder)
        if not paths:
            raise UsageError(f"{printable(old)}: no shards here; name a results folder")
        if kept.exists():
            raise UsageError(f"{printable(kept)}: there already; move it away, or the folder is converted")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        rows = convert_shards(paths, fresh, known)
        old.rename(kept)
    elif kept.is_dir() and fresh.is_dir():
        rows = 0  # killed between two renames
    else:
        raise UsageError(f"{printable(folder)}: no results here; name a results folder")
    if (folder / "pictures").is_dir() and not (folder / "images").exists():
        (folder / "pictures").rename(folder / "images")
    fresh.rename(old)
    return rows or sum(_count(path) for path in shard_paths(folder))


def convert_shards(paths: Iterable[Path], target: Path, known: Known) -> int:
    """Write each shard of format 1 into `target`; return the row count.

    Errors: UsageError naming shard and line of a bad record.
    """
    ordered = sorted(paths, key=lambda path: (_started_at(path), path.name))
    final = _Seen()
    for path in ordered:
        for _, record in _records(path):
            final.read(record)
    now, total, checker = _Seen(), 0, RowChecker()
    for sequence, path in enumerate(ordered, start=1):
        header = {"format": FORMAT, "sequence": sequence, "run_id": path.name.removesuffix(".jsonl")}
        waiting: dict[str, list[Record]] = defaultdict(list)
        with (target / path.name).open("x", encoding="utf-8") as file:
            file.write(f"{canonical_json(header)}\n")
            for number, table, row in _rows(path, now, final, known):
                try:
                    waiting[table].append(tables()[table].complete(row))
                except RowError as error:
                    raise _error(path, number, str(error)) from None
                total += 1
                if len(waiting[table]) == _BATCH:
                    _write(file, checker, path, table, waiting.pop(table))
            for table, rows in waiting.items():
                _write(file, checker, path, table, rows)
    return total


def _write(file: Any, checker: RowChecker, path: Path, table: str, rows: list[Record]) -> None:
    try:
        file.writelines(f"{line}\n" for line in checker.lines(table, rows))
    except RowError as error:
        raise UsageError(f"{printable(path)}: {error}; move the shard away or restore it") from None


def _rows(path: Path, now: _Seen, final: _Seen, known: Known) -> Iterator[tuple[int, str, Record]]:
    """Yield line, table and row of everything that a shard of format 1 holds."""
    run: Record = {}
    for number, record in _records(path):
        now.read(record)
        kind = record.get("record")
        try:
            if kind == "run":
                run = record
                for table, row in _run_rows(record, final, known):
                    yield number, table, row
            elif kind == "score":
                yield number, "scores", _score_row(record, run, now, final)
            elif kind in _TABLES:
                yield number, _TABLES[kind], _plain_row(record)
            else:
                raise _error(path, number, "not a record of format 1")
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise _error(path, number, f"not a record of format 1 ({error})") from None


def _plain_row(record: Record) -> Record:
    row = {_RENAMED.get(name, name): value for name, value in record.items() if name != "record"}
    if record["record"] == "item" and row.get("reference_image"):
        row["reference_image"] = f"images/{str(row['reference_image']).removeprefix('pictures/')}"
    if record["record"] == "vote":
        row["question"] = _ROLES.get(row["question"], row["question"])
    return row


def _run_rows(run: Record, final: _Seen, known: Known) -> Iterator[tuple[str, Record]]:
    plan, cards = run.get("plan") or {}, {card["name"]: card for card in run.get("metric_cards") or []}
    # A plan of format 1 begins with the baseline.
    labels = plan.get("labels") or ["text_only"]
    kept = {name: value for name, value in run.items() if name not in ("record", "metrics", "metric_cards", "plan")}
    yield (
        "runs",
        kept
        | {
            "sampler_sha256": sha256_json(run["sampler"]),
            "baseline": labels[0],
            "items": plan.get("items") or [],
            "seeds": plan.get("seeds") or [],
        },
    )
    for label in labels:
        source = final.sources.get((run["experiment"], label))
        if source is not None:
            yield "planned_configurations", {"run_id": run["run_id"], "label": label, "source_sha256": source}
    for name, version in run["metrics"].items():
        yield "metrics", _metric_row(name, version, cards.get(name), known.get((name, version), {}))
        scorer = final.scorers.get((name, version), "")
        yield (
            "planned_metrics",
            {"run_id": run["run_id"], "metric": name, "metric_version": version, "scorer_sha256": scorer},
        )


def _metric_row(name: str, version: int, card: Record | None, known: Mapping[str, float | None]) -> Record:
    # The oldest runs had no cards.
    card = card or {"title": name, "kind": "diagnostic", "direction": "none", "unit": "", "margin": 0.0, "decimals": 4}
    return {
        "metric": name,
        "metric_version": version,
        "title": card["title"],
        "role": _ROLES.get(card["kind"], card["kind"]),
        "direction": card["direction"],
        "unit": card["unit"],
        "margin": card["margin"],
        "decimals": card["decimals"],
        "paired": name in _PAIRED,
        **known,
    }


def _score_row(record: Record, run: Record, now: _Seen, final: _Seen) -> Record:
    """Return a score with the images its cells had when it was written."""
    cell_id, baseline = record["cell_id"], ""
    if record["metric"] in _PAIRED:
        labels = (run.get("plan") or {}).get("labels") or ["text_only"]
        place = now.places.get(cell_id) or final.places[cell_id]
        key = (str(run["experiment"]), (labels[0], *place[1:]))
        baseline = now.at.get(key) or final.at.get(key, "")
    row = {name: value for name, value in record.items() if name != "record"}
    return row | {
        "scorer_sha256": record.get("scorer_sha256") or "",
        "image_sha256": now.images.get(cell_id) or final.images[cell_id],
        "baseline_image_sha256": baseline,
    }


def _records(path: Path) -> Iterator[tuple[int, Record]]:
    require_regular_file(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # a torn last line was never acknowledged
            try:
                record = parse_line(line)
            except RowError as error:
                raise _error(path, number, str(error)) from None
            if "format" in record:
                raise UsageError(f"{printable(path)}: of format {record['format']} already; nothing to convert")
            yield number, record


def _started_at(path: Path) -> str:
    """Return when a shard's first run, analysis or vote was; else the earliest."""
    for _, record in _records(path):
        if time := record.get("started_at") or record.get("voted_at"):
            return str(time)
    return ""


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1


def _error(path: Path, line: int, problem: str) -> UsageError:
    return UsageError(f"{printable(path)}:{line}: {problem}; move the shard away or restore it")
