"""The one reader of pairs."""

from pathlib import Path

from synthetic_results import Row, append, item_name, result_rows

from blendbench.results.pairs import read_pairs, read_strata
from blendbench.results.store import open_results


def test_pairs_know_the_stratum_of_each_item(tmp_path: Path) -> None:
    kinds = {item_name(index): "matched" if index % 2 else "unrelated" for index in range(4)}
    rows = [
        Row(row | {"stratum": kinds[row.item]}) if row.table == "items" else row
        for row in result_rows(tmp_path, items=4, images=False)
    ]
    append(tmp_path, "run1", *rows)
    results = open_results(tmp_path)
    assert read_strata(results, "core") == kinds
    (first, *_) = read_pairs(results, "core", "text_only", ["canary"])
    assert first.strata == kinds and set(first.items) == set(kinds)
