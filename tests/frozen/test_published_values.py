"""The values published at commit 2c1c9f5, against the published data of today and against a fresh run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from blendbench.results.export import import_published
from blendbench.results.store import Results, open_results

HERE = Path(__file__).parent
REPO = HERE.parents[1]

# Changed on purpose: (metric, label) -> reason, "*" for every label, and "image" for the image itself.
# These rows are not compared. README.md lists the same reasons.
CHANGED: dict[tuple[str, str], str] = {}

# Frozen file -> what names a row. Its other columns are the values.
KEYS = {
    "images": ["experiment", "label", "item", "seed"],
    "core_scores": ["label", "item", "seed", "metric"],
    "score_means": ["experiment", "label", "metric"],
    "embeddings": ["layer", "tokens", "position_0", "reference", "statistic"],
}
# Bits differ between kinds of CPU (README.md): three times the largest difference seen, by metric.
FRESH_TOLERANCE = {"blockiness": 3e-3, "effect_size": 5e-4, "grid_severity": 5e-4, "siglip_logit": 5e-3}
FRESH_TOLERANCE |= {"texture_change": 2e-3}
FRESH_DEFAULT = 2e-4

# ---- the only part that knows folders, tables and columns of today ----


@contextmanager
def published() -> Iterator[Results]:
    """Give the published data."""
    with import_published(REPO / "reports" / "data") as results:
        yield results


def read(results: Results) -> dict[str, pd.DataFrame]:
    """Read cells, scores and embedding statistics, in the words of the frozen files."""
    cells = """
        SELECT experiment, label, item, seed, status::VARCHAR AS status, image_sha256[:16] AS image
        FROM current_cells
    """
    scores = """
        SELECT experiment, label, item, seed, metric, metric_version, status::VARCHAR AS status, value
        FROM current_scores
    """
    embeddings = """
        SELECT layer, tokens, position_0, reference, statistic, value, low, high
        FROM current_embedding_analyses JOIN embedding_values USING (analysis_id)
        UNION ALL
        SELECT layer, tokens, position_0, reference, concat('dimension ', dimension, ' ', moment), value, NULL, NULL
        FROM (
            UNPIVOT (
                SELECT layer, tokens, position_0, reference, dimension, rank::DOUBLE AS rank, mean, std, share,
                    reference_mean, reference_std, reference_share, ratio
                FROM current_embedding_analyses JOIN embedding_dimensions USING (analysis_id)
            )
            ON rank, mean, std, share, reference_mean, reference_std, reference_share, ratio
            INTO NAME moment VALUE value
        )
    """
    queries = {"cells": cells, "scores": scores, "embeddings": embeddings}
    return {name: results.query(sql) for name, sql in queries.items()}


def run_on_cpu(experiment: Path, results: Path) -> None:
    """Run an experiment file as a user does."""
    command = [sys.executable, "-m", "blendbench", "run", str(experiment), "--results", str(results)]
    # One thread: more of them wait for each other on a busy machine, and give the same bits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--device", "cpu"], check=True, env=environment)


# ---- comparison ----


def summarize(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Bring what `read` gives into the form of the frozen files."""
    cells, scores, embeddings = rows["cells"], rows["scores"], rows["embeddings"]
    forms = {
        "images": "SELECT * FROM cells",
        "core_scores": "SELECT * EXCLUDE (experiment) FROM scores WHERE experiment = 'core'",
        # The digest pins every single value, the mean shows in which direction one moved.
        "score_means": """
            SELECT experiment, label, metric, min(metric_version) AS metric_version, count(value) AS scored,
                fsum(value ORDER BY item, seed) / count(value) AS mean,
                md5(string_agg(concat_ws(' ', status, value::VARCHAR), ',' ORDER BY item, seed))[:8] AS digest
            FROM scores GROUP BY experiment, label, metric
        """,
        "embeddings": "SELECT * FROM embeddings",
    }
    with duckdb.connect() as connection:
        for name, frame in (("cells", cells), ("scores", scores), ("embeddings", embeddings)):
            connection.register(name, frame)
        return {
            name: connection.execute(f"FROM ({sql}) ORDER BY {', '.join(KEYS[name])}").df()
            for name, sql in forms.items()
        }


def frozen(name: str) -> pd.DataFrame:
    """Read one frozen file."""
    with duckdb.connect() as connection:
        return connection.execute("FROM read_parquet(?)", [str(HERE / f"{name}.parquet")]).df()


def without_changed(rows: pd.DataFrame, changed: dict[tuple[str, str], str]) -> pd.DataFrame:
    """Leave out the rows that were changed on purpose."""
    metrics = rows["metric"] if "metric" in rows else ["image"] * len(rows)
    labels = rows["label"] if "label" in rows else ["*"] * len(rows)
    pairs = zip(metrics, labels, strict=True)
    return rows[[(metric, label) not in changed and (metric, "*") not in changed for metric, label in pairs]]


def differences(
    expected: pd.DataFrame,
    found: pd.DataFrame,
    keys: list[str],
    changed: dict[tuple[str, str], str],
    tolerance: pd.Series | None = None,
) -> list[str]:
    """Name every expected row that is missing or has another value, in one line each.

    Rows that are only in `found` are no difference: a publication may grow. `tolerance` is one of each metric's value.
    """
    assert not found.duplicated(keys).any(), "a row is there twice"
    kept = without_changed(expected, changed)
    both = kept.merge(found, on=keys, how="left", suffixes=("", "_found"), indicator="in")
    lines = pd.Series("", index=both.index)
    lines[both["in"] == "left_only"] = "missing"
    for column in [name for name in expected.columns if name not in keys]:
        old, new = both[column], both[f"{column}_found"]
        same = (old == new) | (old.isna() & new.isna())
        if tolerance is not None and column == "value":
            same = (old - new).abs() <= both["metric"].map(tolerance)
        lines[(lines == "") & ~same] = f"{column} " + old.astype(str) + " -> " + new.astype(str)
    wrong = both[lines != ""]
    return [f"{' '.join(map(str, key))}: {lines[index]}" for index, *key in wrong[keys].itertuples()]


@pytest.fixture(scope="module")
def today() -> dict[str, pd.DataFrame]:
    """Give the published data of today in the form of the frozen files."""
    with published() as results:
        return summarize(read(results))


@pytest.mark.parametrize("name", KEYS)
def test_published_data_have_the_frozen_values(name: str, today: dict[str, pd.DataFrame]) -> None:
    found = differences(frozen(name), today[name], KEYS[name], CHANGED)
    assert not found, f"{len(found)} differ, among them:\n" + "\n".join(found[:20])


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("images", "image"),
        ("core_scores", "value"),
        ("score_means", "mean"),
        ("score_means", "digest"),
        ("embeddings", "value"),
    ],
)
def test_one_changed_value_is_found(name: str, column: str, today: dict[str, pd.DataFrame]) -> None:
    changed = today[name].copy()
    old = changed.at[7, column]
    changed.at[7, column] = old[::-1] if isinstance(old, str) else old + 1e-6
    assert len(differences(frozen(name), changed, KEYS[name], {})) == 1
    assert len(differences(frozen(name), today[name].drop(index=7), KEYS[name], {})) == 1


def test_changes_on_purpose_are_only_those_that_happened(today: dict[str, pd.DataFrame]) -> None:
    for metric, label in CHANGED:
        others = {key: reason for key, reason in CHANGED.items() if key != (metric, label)}
        found = [line for name in KEYS for line in differences(frozen(name), today[name], KEYS[name], others)]
        assert found, f"{metric}, {label}: nothing of it differs; take it out of CHANGED"


def test_a_change_on_purpose_covers_its_own_rows_alone(today: dict[str, pd.DataFrame]) -> None:
    changed = today["core_scores"].copy()
    changed["value"] += 1
    everything = differences(frozen("core_scores"), changed, KEYS["core_scores"], {})
    one_metric = differences(frozen("core_scores"), changed, KEYS["core_scores"], {("style_gain", "*"): "a test"})
    one_label = differences(frozen("core_scores"), changed, KEYS["core_scores"], {("style_gain", "canary"): "a test"})
    cells = len(frozen("images").query("experiment == 'core'"))
    assert len(everything) == len(frozen("core_scores")) == 23 * cells
    assert len(everything) - len(one_metric) == cells
    assert len(everything) - len(one_label) == 24 * 2


@pytest.mark.trained
def test_a_fresh_run_of_core_has_the_frozen_values(tmp_path: Path) -> None:
    text = (REPO / "bench" / "core.toml").read_text(encoding="utf-8")
    assert text.count("seeds = [0, 1]") == 1
    part = tmp_path / "core.toml"
    part.write_text(text.replace("seeds = [0, 1]", "seeds = [0]\nitems = 1"), encoding="utf-8")
    run_on_cpu(part, tmp_path / "results")
    expected = frozen("core_scores").query("item == '01-red-square-green-triangle' and seed == 0")
    assert len(expected) == 20 * 23  # configurations x metrics
    found = summarize(read(open_results(tmp_path / "results")))["core_scores"]
    tolerance = pd.Series(FRESH_DEFAULT, index=expected["metric"].unique())
    tolerance.update(pd.Series(FRESH_TOLERANCE))
    wrong = differences(expected, found, KEYS["core_scores"], CHANGED, tolerance)
    assert not wrong, f"{len(wrong)} differ, among them:\n" + "\n".join(wrong[:20])
