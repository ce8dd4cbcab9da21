"""What the gate says of candidates whose gain and costs are known, in a smaller form of the page on statistics."""

from pathlib import Path

import interval_coverage as coverage
import numpy as np
import pytest
import statistics_page
import truths
from interval_coverage import RankRates
from statistics_page import Promise, Trials
from truths import TRUTHS, Change, Simulation, Truth

from blendbench.verdict.sequential import LOOKS, looks

BY_NAME = {truth.name: truth for truth in TRUTHS}


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(80, 72)


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.name)
def test_no_wrong_outcome_is_common(simulation: Simulation, truth: Truth) -> None:
    outcomes = simulation.outcomes(truth)
    # 5 % and two standard errors of 80.
    assert max(outcomes[word] for word in truth.wrong) / 80 <= 0.10, outcomes
    assert truth.right not in truth.wrong and "undecided" not in truth.wrong


@pytest.mark.slow
def test_what_is_clear_is_found(simulation: Simulation) -> None:
    for name in ("a gain of .2, the prompt worse by .1", "ten known ones that are equal"):
        assert simulation.outcomes(BY_NAME[name])["trade"] >= 76
    assert simulation.outcomes(BY_NAME["ten known ones, one as good at no cost"])["dominated"] >= 35


@pytest.mark.slow
def test_a_candidate_that_loses_items_does_not_pass_and_one_that_loses_none_does(simulation: Simulation) -> None:
    rates = truths.pass_rates(simulation, Change(0.2))
    assert rates[0.10] <= 0.05 and rates[0.0] >= 0.9
    assert rates[0.0] >= rates[0.025] >= rates[0.05] >= rates[0.10]
    assert set(truths.pass_rates(Simulation(10, 24), Change(0.2)).values()) == {0.0}


@pytest.mark.slow
def test_the_first_look_is_at_whole_batches_of_images_at_the_same_risk() -> None:
    for items, batch, first in ((36, 1, 18), (36, 16, 16), (96, 16, 48), (36, 4, 16), (24, 16, 12), (30, 16, 15)):
        found = looks(items, batch)
        assert [look.items for look in found] == [first, items], (items, batch)
        assert [look.alpha for look in found] == [alpha for _, alpha in LOOKS]
    assert [look.items for look in looks(20, 8)] == [20]


def test_looks_that_are_paid_for_keep_the_level() -> None:
    paid, free = (truths.ideas_at_margin(100, 40, 6, paid) for paid in (True, False))
    assert paid <= 0.05 + 0.04 and free > 0.15
    assert truths.half_looks_at_margin(150, 80) <= 0.05 + 0.04


def test_skewed_changes_have_the_mean_and_spread_of_normal_ones_and_their_tail_on_the_bad_side() -> None:
    change = Change(0.3, 0.1)
    for tail in (1.0, -1.0):
        row = change.sample(np.random.default_rng(0), 200_000, tail)
        assert (row.mean(), row.std()) == pytest.approx((0.3, 0.1), rel=0.02)
        assert np.sign(((row - row.mean()) ** 3).mean()) == tail


@pytest.mark.parametrize(
    ("rate", "trials", "limit", "least", "kept"),
    [
        (0.04, 100, 0.05, False, True),
        (0.07, 100, 0.05, False, True),
        (0.20, 100, 0.05, False, False),
        (0.07, 5000, 0.05, False, False),
        (0.95, 100, 0.93, True, True),
        (0.90, 100, 0.93, True, True),
        (0.71, 100, 0.93, True, False),
    ],
)
def test_a_promise_is_broken_where_the_rate_contradicts_it(
    rate: float, trials: int, limit: float, least: bool, kept: bool
) -> None:
    assert Promise("x", rate, trials, limit, least).kept == kept


@pytest.mark.slow
def test_the_page_begins_each_section_with_its_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_page, "read_real", lambda _: {})
    monkeypatch.setattr(truths, "TRUTHS", tuple(truth for truth in TRUTHS if not truth.rivals))
    monkeypatch.setattr(coverage, "RESAMPLES", 49)
    monkeypatch.setattr(coverage, "rank_rates", lambda _: [RankRates("equal", 20, 24, 0.96, 1.0)])
    few = Trials(10, 4, {24: 4, 72: 4, 288: 1}, {24: 4}, 2, 2)
    promises = statistics_page.write_page(tmp_path / "statistics.md", tmp_path, few)
    lines = (tmp_path / "statistics.md").read_text().splitlines()
    assert lines[2].startswith(f"Of {len(promises)} promises")
    sections = [i for i, line in enumerate(lines) if line.startswith("## ")]
    assert len(sections) == 7
    assert all("%" in lines[i + 2] for i in sections[:-1])
    monkeypatch.setattr(statistics_page, "MOST_WRONG", -1.0)
    monkeypatch.setattr(statistics_page, "_intervals", lambda *_: ([], []))
    statistics_page.write_page(tmp_path / "broken.md", tmp_path, few)
    assert "do not hold: " in (tmp_path / "broken.md").read_text().splitlines()[2]
