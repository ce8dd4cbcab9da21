"""Blind votes: what is taken in, what is refused, and how the views set them against the metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata
from synthetic_results import MODELS, SUITE, item_name, sha, write_results

from blendbench.core.errors import UsageError
from blendbench.results.store import open_results
from blendbench.results.votes import take_in_votes

ITEMS = 4
LABELS = ("text_only", "canary", "lerp:alpha=0.3,align=area", "vision_only")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_results(tmp_path, items=ITEMS, images=False)
    return tmp_path


def vote(number: int, left: str, right: str, choice: str, item: int = 1, **changes: Any) -> dict[str, Any]:
    """A vote between two configurations at one item, seed 0."""
    name = item_name(item)
    return {
        "vote_id": sha("vote", number)[:32],
        "voter": "me",
        "question": "artifact",
        "item": name,
        "seed": 0,
        "left_cell": sha("cell", left, name, 0),
        "right_cell": sha("cell", right, name, 0),
        "choice": choice,
        "seconds": 1.5,
        "voted_at": "2026-11-22T10:00:00.000Z",
    } | changes


def write(folder: Path, *votes: dict[str, Any], **changes: Any) -> Path:
    """A file as the gallery exports it."""
    head = {"format": "blendbench-votes", "version": 1, "experiment": "core"}
    path = folder / "votes.json"
    path.write_text(json.dumps(head | {"suite_sha256": SUITE, "model_set_sha256": MODELS, "votes": votes} | changes))
    return path


def test_votes_come_back_from_the_shards_and_count_once(folder: Path) -> None:
    first = write(folder, vote(1, "text_only", "canary", "left"))
    assert take_in_votes(first, folder) == (1, 1)
    assert take_in_votes(first, folder) == (0, 1)
    # A later export of the same session holds the earlier votes too.
    assert take_in_votes(
        write(folder, vote(1, "text_only", "canary", "left"), vote(2, "canary", "text_only", "equal")), folder
    ) == (1, 2)
    (folder / "blendbench.duckdb").unlink()
    rows = open_results(folder).query("FROM votes ORDER BY choice")
    assert [str(choice) for choice in rows["choice"]] == ["left", "equal"]


@pytest.mark.parametrize(
    ("votes", "changes", "message"),
    [
        ([vote(1, "text_only", "canary", "both")], {}, "choice"),
        ([vote(1, "text_only", "canary", "left", item=1, seed=1)], {}, "no cell"),
        ([vote(1, "text_only", "nobody", "left")], {}, "no cell"),
        ([vote(1, "text_only", "canary", "left")], {"experiment": "other"}, "no cell"),
        ([], {"format": "something"}, "format"),
        ([], {"version": 2}, "version"),
        ([vote(1, "text_only", "canary", "left", colour="red")], {}, "colour"),
        ([vote(1, "text_only", "canary", "left", seconds=-1)], {}, "seconds"),
        # One good vote beside a bad one: nothing may be half-taken.
        ([vote(1, "text_only", "canary", "left"), vote(2, "text_only", "nobody", "left")], {}, "no cell"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(
    folder: Path, votes: list[dict[str, Any]], changes: dict[str, Any], message: str
) -> None:
    before = sorted(path.name for path in (folder / "shards").iterdir())
    with pytest.raises(UsageError, match=message) as caught:
        take_in_votes(write(folder, *votes, **changes), folder)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (folder / "shards").iterdir()) == before


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_file_that_is_no_export_is_refused(folder: Path, text: str) -> None:
    path = folder / "votes.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"votes\.json"):
        take_in_votes(path, folder)
    with pytest.raises(UsageError, match="no such file"):
        take_in_votes(folder / "gone.json", folder)


def _random_votes(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    votes = []
    for number in range(count):
        left, right = rng.choice(LABELS, 2, replace=False)
        choice = str(rng.choice(["left", "right", "equal"]))
        votes.append(vote(number, str(left), str(right), choice, item=int(rng.integers(1, ITEMS))))
    return votes


def test_agreement_and_correlations_equal_numpy(folder: Path) -> None:
    take_in_votes(write(folder, *_random_votes(np.random.default_rng(0), 60)), folder)
    results = open_results(folder)
    pairs = results.query("FROM vote_differences WHERE metric = 'grid_energy'")
    preference, difference = pairs["preference"].to_numpy(float), pairs["difference"].to_numpy()
    row = results.query("FROM vote_agreement WHERE metric = 'grid_energy'").iloc[0]
    decided = preference * difference != 0
    assert (row["votes"], row["decided"]) == (60, decided.sum())
    assert row["agreement"] == pytest.approx((preference * difference < 0)[decided].mean())  # lower is better
    ranks = np.sign(difference) * rankdata(abs(difference))
    for column, values in (("correlation", difference), ("rank_correlation", ranks)):
        expected = (preference * values).sum() / np.sqrt((preference**2).sum() * (values**2).sum())
        assert row[column] == pytest.approx(expected)


def test_it_does_not_matter_which_image_stood_left(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write_results(other, items=ITEMS, images=False)
    votes = _random_votes(np.random.default_rng(1), 20)
    turned = {"left": "right", "right": "left", "equal": "equal"}
    swapped = [
        v | {"left_cell": v["right_cell"], "right_cell": v["left_cell"], "choice": turned[v["choice"]]}
        if index % 2
        else v
        for index, v in enumerate(votes)
    ]
    take_in_votes(write(folder, *votes), folder)
    take_in_votes(write(other, *swapped), other)
    query = "SELECT metric, agreement, correlation, rank_correlation FROM vote_agreement"
    a, b = (open_results(place).query(query).set_index("metric") for place in (folder, other))
    assert np.allclose(a, b, equal_nan=True)


def test_voters_who_see_what_a_metric_measures_agree_with_it(folder: Path) -> None:
    votes = [vote(n, "text_only", "canary", "left", item=n) for n in range(1, ITEMS)]
    votes += [vote(10 + n, "canary", "text_only", "right", item=n) for n in range(1, ITEMS)]
    take_in_votes(write(folder, *votes), folder)
    rows = open_results(folder).query("FROM vote_agreement").set_index("metric")
    assert rows.loc[["grid_energy", "attribute_adherence", "blockiness"], "agreement"].tolist() == [1.0, 1.0, 1.0]
    assert rows.loc["grid_energy", "correlation"] < -0.99 and rows.loc["attribute_adherence", "correlation"] > 0.99
    assert np.isnan(rows.loc["effect_size", "agreement"])  # neither direction is better
