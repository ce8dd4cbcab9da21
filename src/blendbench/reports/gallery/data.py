"""Build the page's data as one JSON object from the database."""

from typing import Any

import duckdb

from blendbench.core.metric_info import MetricInfo
from blendbench.core.numbers import number
from blendbench.reports.board import Board, Configuration
from blendbench.reports.formats import decision_word
from blendbench.reports.images import REFERENCE
from blendbench.results.store import Results

# Enough to separate two scores, and half the size of the page's data.
SIGNIFICANT_DIGITS = 6
_BATCH = 10_000  # scores that are in memory as rows


def gallery_data(results: Results, board: Board, names: dict[str, str]) -> dict[str, Any]:
    """Return everything that the page needs.

    `names`: file names of the images that exist, by their sha256. `cells` rows are [configuration, item, seed, cell id,
    image, no-op, error, scores]: the first three and `image` are indices into the lists of this object (image -1:
    none), scores follow `metrics`, each a number or the reason why it is missing.
    """
    labels = [entry.label for entry in board.configurations]
    metrics = [metric.name for metric in board.of_role("prompt", "artifact", "gain", "drift", "diagnostic")]
    cells = results.rows(
        """
        SELECT c.label, c.item, c.seed, c.cell_id, c.image_sha256, c.status, c.error, n.cell_id IS NOT NULL
        FROM current_cells c LEFT JOIN no_effect_cells n USING (experiment, label, item, seed)
        WHERE c.experiment = ? ORDER BY c.item, c.seed, c.label
        """,
        [board.experiment],
    )
    items = _items(results, board.experiment)
    seeds = sorted({seed for _, _, seed, *_ in cells})
    place = _places(list(names))
    scores: dict[str, list[float | str]] = {
        cell_id: [_reason("failed" if status == "failed" else "missing", error)] * len(metrics)
        for _, _, _, cell_id, _, status, error, _ in cells
    }
    _add_scores(scores, results, board.experiment, metrics)
    label_at, item_at = _places(labels), _places([item["id"] for item in items])
    return {
        "experiment": board.experiment,
        "baseline": board.baseline,
        **{key: board.run[key] for key in ("suite", "suite_sha256", "model_set", "model_set_sha256")},
        "date": str(board.run["data_date"])[:10],
        "metrics": [{key: getattr(board.metrics[name], key) for key in _METRIC_KEYS} for name in metrics],
        "configurations": [
            _configuration(entry, [board.metrics[name] for name in metrics]) for entry in board.configurations
        ],
        "items": [item | {"reference": place.get(item["reference"] or "", -1)} for item in items],
        "seeds": seeds,
        "images": list(names.values()),
        "cells": [
            [
                label_at[label],
                item_at[item],
                seeds.index(seed),
                cell_id,
                place.get(image or "", -1),
                int(no_op),
                error or "",
                scores[cell_id],
            ]
            for label, item, seed, cell_id, image, _, error, no_op in cells
        ],
    }


def image_hashes(results: Results, experiment: str) -> list[str]:
    """Return all image hashes of an experiment, references first."""
    references = [item["reference"] for item in _items(results, experiment) if item["reference"] is not None]
    generated = results.rows(
        """
        SELECT DISTINCT image_sha256 FROM current_cells
        WHERE experiment = ? AND image_sha256 IS NOT NULL ORDER BY 1
        """,
        [experiment],
    )
    return list(dict.fromkeys([*references, *(sha256 for (sha256,) in generated)]))


_METRIC_KEYS = ("name", "title", "role", "direction", "unit", "margin", "decimals")


def _configuration(entry: Configuration, metrics: list[MetricInfo]) -> dict[str, Any]:
    shown = {key: getattr(entry, key) for key in ("label", "strategy", "control", "no_op", "ok", "expected")}
    return shown | {"verdicts": [_verdict(entry, metric) for metric in metrics]}


def _verdict(entry: Configuration, metric: MetricInfo) -> list[str]:
    """Return the mean difference to the baseline, and its decision."""
    found = entry.entries[metric.name]
    if found.difference is None:
        return ["", ""]
    return [number(found.difference.mean, metric, signed=True), decision_word(found.effect)]


def _items(results: Results, experiment: str) -> list[dict[str, Any]]:
    rows = results.rows(
        f"""
        SELECT DISTINCT c.item, coalesce(i.prompt, ''), coalesce(i.reference_caption, ''), coalesce(i.relation, ''),
            {REFERENCE}
        FROM current_cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? ORDER BY c.item
        """,
        [experiment],
    )
    return [dict(zip(("id", "prompt", "caption", "relation", "reference"), row, strict=True)) for row in rows]


def _add_scores(scores: dict[str, list[float | str]], results: Results, experiment: str, metrics: list[str]) -> None:
    """Put each score, or the reason why it has no value, in its cell's place of the metric."""
    at = _places(metrics)

    def put(found: duckdb.DuckDBPyConnection) -> None:
        while rows := found.fetchmany(_BATCH):
            for cell_id, metric, value, status, error in rows:
                ok = status == "ok"
                scores[cell_id][at[metric]] = float(f"{value:.{SIGNIFICANT_DIGITS}g}") if ok else _reason(status, error)

    query = """
        SELECT cell_id, metric, value, status, error FROM current_scores
        WHERE experiment = ? AND list_contains(?, metric)
    """
    results.read(query, [experiment, metrics], put)


def _reason(status: str, error: str | None) -> str:
    return f"{status}: {error}" if error else status


def _places(names: list[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}
