"""Contents of a results folder after a run, as the tests of runs compare them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from blendbench.results.store import open_results


def rows_of(results: Path, table: str) -> list[Any]:
    """Every row of a table, with its columns as attributes."""
    frame = open_results(results).query(f"FROM {table}").astype(object)
    frame = frame.where(frame.notna(), None)
    return [SimpleNamespace(**{str(key): value for key, value in row.items()}) for row in frame.to_dict("records")]


def outcome(results: Path) -> dict[str, set[Any]]:
    """Cells, scores and batch sizes of a results folder, without what differs between runs."""
    return {
        "cells": {(r.cell_id, r.status, r.image_sha256, r.conditioning_sha256) for r in rows_of(results, "cells")},
        "scores": {(r.cell_id, r.metric, r.value, r.status) for r in rows_of(results, "scores")},
        "batches": {(r.cell_id, r.batch_size) for r in rows_of(results, "cell_batches")},
    }
