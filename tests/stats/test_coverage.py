"""Intervals, bounds and power are what they say, in a smaller form of the page on statistics."""

from pathlib import Path

import coverage
import duckdb
import numpy as np
import pytest
from samples import REAL, UNLIMITED, kinds, read_real

from blendbench.core.errors import UsageError

# 300 samples at 93 %, less two and a half standard errors.
LEAST = 0.893


def _measured() -> dict[str, list[np.ndarray]]:
    """Differences as the probe gives them: most next to nothing, a few large, in other proportions by configuration."""
    rng = np.random.default_rng(0)
    return {
        REAL: [
            np.where(rng.random(24) < rate, -rng.uniform(0.2, 1, 24), rng.normal(0, 1e-4, 24))
            for rate in np.linspace(0.05, 0.9, 30)
        ]
    }


@pytest.mark.slow
def test_intervals_cover_every_kind_of_data_from_8_items_on() -> None:
    """Student's t and the bootstrap alone cover 30 to 75 % where few items carry the mean."""
    found = coverage.covers([kind for kind in kinds(_measured()) if kind.promised], 300, sizes=(8, 24))
    assert len(found) == 5 * 2
    for row in found:
        assert row.covered >= LEAST, row
    few = {row.kind: row.t_covered for row in found if row.items == 8}
    assert few["lost items"] < 0.5 and few["zero-inflated"] < 0.7


def test_on_normal_data_intervals_are_hardly_wider_than_t() -> None:
    (normal, *_) = kinds({})
    for row, most in zip(coverage.covers([normal], 60, sizes=(8, 24, 72)), (1.16, 1.07, 1.03), strict=True):
        assert 1 <= row.width / row.t_width <= most, row


def test_a_relative_loss_is_covered() -> None:
    assert min(coverage.loss_covers(100, sizes=(12, 48)).values()) >= 0.88


def test_the_bound_of_the_items_lost_holds() -> None:
    assert min(coverage.lost_bound_covers(4000).values()) >= 0.94


@pytest.mark.slow
def test_the_detectable_difference_has_the_power_it_says() -> None:
    power = coverage.power_at_detectable(300, sizes=(24,))
    assert set(power) == {(1, 24), (3, 24), (6, 24)}
    for rate in power.values():
        assert 0.8 - 0.07 <= rate <= 0.8 + 0.07


@pytest.mark.slow
def test_the_items_needed_settle_a_metric() -> None:
    for rate in coverage.settled_at_needed(80).values():
        assert rate >= 0.8 - 0.1


def _publish(folder: Path, values: dict[str, list[float]], high: str) -> None:
    rows = [
        (f"{label}-{item}", label, f"item-{item:02}", value)
        for label, row in values.items()
        for item, value in enumerate(row)
    ]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE r (cell_id VARCHAR, label VARCHAR, item VARCHAR, value DOUBLE)")
        connection.executemany("INSERT INTO r VALUES (?, ?, ?, ?)", rows)
        for name, query in {
            "cells": "SELECT 'core' AS experiment, cell_id, label, item FROM r",
            "scores": "SELECT cell_id, 'grid_severity' AS metric, 1 AS metric_version, value, 'ok' AS status FROM r",
            "metrics": f"SELECT 'grid_severity' AS metric, 1 AS metric_version, 0.0::DOUBLE AS low, {high} AS high",
        }.items():
            connection.execute(f"COPY ({query}) TO '{folder / name}.parquet' (FORMAT parquet)")


@pytest.mark.parametrize(("high", "kind"), [("1.0::DOUBLE", REAL), ("NULL::DOUBLE", UNLIMITED)])
def test_real_scores_are_differences_to_text_only_by_item(tmp_path: Path, high: str, kind: str) -> None:
    base, changed = [0.1] * 24, [0.1 + 0.01 * i for i in range(24)]
    # Of two, one does not change, and one has too few items to resample.
    _publish(tmp_path, {"text_only": base, "lerp": changed, "no-op": base, "few": changed[:9]}, high)
    found = read_real(tmp_path)
    assert set(found) == {kind} and len(found[kind]) == 1
    np.testing.assert_allclose(found[kind][0], 0.01 * np.arange(24), atol=1e-12)


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no cells\.parquet"):
        read_real(tmp_path)
