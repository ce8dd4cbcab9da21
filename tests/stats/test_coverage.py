"""Intervals, bounds and power are what they say, in a smaller form of the page on statistics."""

from pathlib import Path

import interval_coverage as coverage
import numpy as np
import pytest
from samples import REAL, UNLIMITED, kinds, read_real
from synthetic_results import CONFIGURATIONS, INCOMPLETE, NO_OP, Row, append, result_rows

from blendbench.core.errors import UsageError
from blendbench.results.export import export_experiments
from blendbench.results.pairs import read_pairs
from blendbench.results.store import open_results
from blendbench.stats.clusters import cluster_means

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


@pytest.mark.parametrize(("high", "kind"), [(1.0, REAL), (None, UNLIMITED)])
def test_real_scores_are_differences_to_text_only_by_item(tmp_path: Path, high: float | None, kind: str) -> None:
    def with_range(row: Row) -> Row:
        limited = row.table == "metrics" and row.metric == "grid_energy"
        return row.changed(low=0.0, high=high) if limited else row

    append(tmp_path / "run", "run1", *map(with_range, result_rows(tmp_path / "run", items=24, images=False)))
    opened = open_results(tmp_path / "run")
    export_experiments(opened, ["core"], tmp_path / "data")
    found = read_real(tmp_path / "data")
    # What does nothing is left out, and what failed on an item has too few to resample.
    changed = [label for label in CONFIGURATIONS if label not in ("text_only", NO_OP, INCOMPLETE)]
    metrics = {REAL: ["attribute_adherence"], UNLIMITED: []}
    metrics[kind].append("grid_energy")
    assert {name: len(rows) for name, rows in found.items()} == {
        name: len(changed) * len(named) for name, named in metrics.items() if named
    }
    (pairs,) = (p for p in read_pairs(opened, "core", "text_only", ["canary"]) if p.metric.name == "grid_energy")
    means = cluster_means(pairs.differences, pairs.items)
    # Published values are rounded to a five-hundredth of the margin.
    assert any(np.allclose(row, means, atol=0.005 / 500) for row in found[kind])


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published data"):
        read_real(tmp_path)
