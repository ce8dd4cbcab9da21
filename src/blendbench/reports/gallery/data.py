"""What the page shows, as one JSON object: a pure function of the database."""

from typing import Any

import pandas as pd

from blendbench.reports.board import BASELINE, Board, Configuration
from blendbench.reports.formats import number, verdict
from blendbench.results.store import Results

# Enough to tell two scores apart, and half the size of the page's data.
SIGNIFICANT_DIGITS = 6


def gallery_data(results: Results, board: Board, names: dict[str, str]) -> dict[str, Any]:
    """All that the page knows. `names`: file names of the images that are there, by their sha256.

    `cells` rows are [configuration, item, seed, cell id, image, no-op, error, scores]: the first three and `image`
    are indices into the lists of this object (image -1: none), scores follow `metrics`, each a number or the reason
    why there is none.
    """
    labels = [entry.label for entry in board.configurations]
    metrics = [metric.name for metric in board.of_kind("adherence", "artifact", "reference", "drift", "effect")]
    metrics += [name for name in board.metrics if name not in metrics]
    cells = results.query(
        """
        SELECT c.label, c.item, c.seed, c.cell_id, c.image_sha256, c.error, n.cell_id IS NOT NULL AS no_op
        FROM current_cells c LEFT JOIN no_effect_cells n USING (experiment, label, item, seed)
        WHERE c.experiment = ? ORDER BY c.item, c.seed, c.label
        """,
        [board.experiment],
    )
    items = _items(results, board.experiment)
    seeds = sorted({int(seed) for seed in cells["seed"]})
    images = list(names)
    place = {sha256: index for index, sha256 in enumerate(images)}
    scores = _scores(results, board.experiment, metrics)
    label_at, item_at = _places(labels), _places(items["item"].tolist())
    return {
        "experiment": board.experiment,
        "baseline": BASELINE,
        "suite": board.run["suite"],
        "suite_sha256": board.run["suite_sha256"],
        "model_set": board.run["model_set"],
        "model_set_sha256": board.run["model_set_sha256"],
        "date": str(board.run["data_date"])[:10],
        "metrics": [
            {key: getattr(board.metrics[name], key) for key in ("name", "title", "kind", "direction", "unit")}
            | {"margin": board.metrics[name].margin, "decimals": board.metrics[name].decimals}
            for name in metrics
        ],
        "configurations": [_configuration(board, entry, metrics) for entry in board.configurations],
        "items": [
            {
                "id": row["item"],
                "prompt": row["prompt"],
                "caption": row["reference_caption"],
                "relation": row["relation"],
                "reference": place.get(row["reference_sha256"], -1),
            }
            for row in items.to_dict("records")
        ],
        "seeds": seeds,
        "images": [names[sha256] for sha256 in images],
        "cells": [
            [
                label_at[row["label"]],
                item_at[row["item"]],
                seeds.index(row["seed"]),
                row["cell_id"],
                place.get(row["image_sha256"], -1),
                int(row["no_op"]),
                _text(row["error"]),
                scores.get(row["cell_id"], ["missing"] * len(metrics)),
            ]
            for row in cells.to_dict("records")
        ],
    }


def _configuration(board: Board, entry: Configuration, metrics: list[str]) -> dict[str, Any]:
    return {
        "label": entry.label,
        "strategy": entry.strategy,
        "control": entry.control,
        "no_op": entry.no_op,
        "ok": entry.ok,
        "expected": entry.expected,
        "verdicts": [_verdict(board, entry, name) for name in metrics],
    }


def _verdict(board: Board, entry: Configuration, name: str) -> list[str]:
    """Mean difference to the baseline as text, and what the leaderboard says of it."""
    found = entry.entries.get(name)
    if found is None or found.effect is None:
        return ["", ""]
    metric = board.metrics[name]
    return [number(found.effect.mean, metric, signed=True), verdict(found, metric)]


def _items(results: Results, experiment: str) -> pd.DataFrame:
    return results.query(
        """
        SELECT DISTINCT c.item, coalesce(i.prompt, '') AS prompt, coalesce(i.relation, '') AS relation,
            coalesce(i.reference_caption, '') AS reference_caption, i.reference_sha256, i.reference_image
        FROM current_cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? ORDER BY c.item
        """,
        [experiment],
    )


def image_sources(results: Results, experiment: str) -> dict[str, str]:
    """Paths relative to the results folder, by sha256: references first, then what was generated."""
    items = _items(results, experiment)
    sources = {
        str(row["reference_sha256"]): str(row["reference_image"])
        for row in items.to_dict("records")
        if isinstance(row["reference_image"], str)
    }
    drawn = results.query(
        """
        SELECT DISTINCT image_sha256 AS sha256 FROM current_cells
        WHERE experiment = ? AND image_sha256 IS NOT NULL ORDER BY 1
        """,
        [experiment],
    )["sha256"]
    return sources | {sha256: f"images/{sha256[:2]}/{sha256}.png" for sha256 in drawn}


def _scores(results: Results, experiment: str, metrics: list[str]) -> dict[str, list[float | str]]:
    rows = results.query(
        """
        SELECT cell_id, metric, value, status, error FROM unit_scores
        WHERE experiment = ? AND cell_id IS NOT NULL ORDER BY ALL
        """,
        [experiment],
    )
    at = _places(metrics)
    scores: dict[str, list[float | str]] = {}
    for cell_id, metric, value, status, error in rows.itertuples(index=False, name=None):
        if metric in at:
            held = scores.setdefault(cell_id, ["missing"] * len(metrics))
            held[at[metric]] = float(f"{value:.{SIGNIFICANT_DIGITS}g}") if status == "ok" else _reason(status, error)
    return scores


def _reason(status: str, error: object) -> str:
    text = _text(error)
    return f"{status}: {text}" if text else status


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _places(names: list[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}
