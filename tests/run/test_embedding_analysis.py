"""The analysis of hidden states: each view encoded once and kept, numbers equal to those made by hand."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from blendbench.core.errors import UsageError
from blendbench.core.suites import Suite, load_suite
from blendbench.core.tokens import Tokens
from blendbench.models.families.z_image.text import Qwen3TextEncoder
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.models.vision import VisionEncoder
from blendbench.reports.embedding_study import read_study
from blendbench.reports.embeddings import findings
from blendbench.results.query import read_only_rows
from blendbench.results.store import open_results
from blendbench.run.embedding_analysis import Analysis, plan_analysis, run_analysis
from blendbench.run.lock import folder_lock
from blendbench.run.progress import Reporter

GUIDE = Path(__file__).parents[2] / "docs" / "embeddings.md"
ITEMS, LAYERS = 3, (-1, -2, -3)


@pytest.fixture(scope="module")
def models(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu")


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite("miniature")


@pytest.fixture(scope="module")
def analysis(models: ModelSet, suite: Suite) -> Analysis:
    return plan_analysis(models, suite, ITEMS, LAYERS)


@pytest.fixture(scope="module")
def results(analysis: Analysis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysed")
    assert run_analysis(analysis, folder, Reporter(quiet=True))
    return folder


def value(results: Path, layer: int, tokens: str, position_0: bool, reference: str, statistic: str) -> float:
    rows = open_results(results).query(
        "SELECT value FROM embedding_statistics WHERE layer = ? AND tokens = ? AND position_0 = ? AND reference = ?"
        " AND statistic = ?",
        [layer, tokens, position_0, reference, statistic],
    )
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def rows_by_hand(models: ModelSet, suite: Suite, layer: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rows of each kind with and without position 0, straight from the encoders."""
    text, vision = [], []
    for item in suite.items[:ITEMS]:
        text.append(models.text.encode_layers(item.prompt, (layer,))[layer])
        vision.append(models.vision.encode(item.reference, item.prompt, (layer,))[layer])

    def stacked(parts: list[Any], keep: Callable[[Any], Any]) -> tuple[np.ndarray, np.ndarray]:
        chosen = [keep(part) for part in parts]
        whole = np.concatenate([p.hidden[c].numpy() for p, c in zip(parts, chosen, strict=True)])
        places = np.concatenate([np.arange(len(c))[c.numpy()] for c in chosen])
        return whole, whole[places > 0]

    return {
        "text_encoder": stacked(text, lambda e: e.kinds >= 0),
        "vl_text": stacked(vision, lambda e: e.kinds < 2),
        "vl_markers": stacked(vision, lambda e: e.kinds == 2),
        "vl_image": stacked(vision, lambda e: e.kinds == 3),
    }


@pytest.mark.parametrize("layer", [-2, -3])
def test_numbers_are_those_of_the_rows(results: Path, models: ModelSet, suite: Suite, layer: int) -> None:
    rows = rows_by_hand(models, suite, layer)
    for tokens, both in rows.items():
        for position_0, mine in zip((True, False), both, strict=True):
            reference = rows["text_encoder"][0 if position_0 else 1]
            assert value(results, layer, tokens, position_0, "", "tokens") == len(mine)
            assert value(results, layer, tokens, position_0, "", "std") == pytest.approx(mine.std(), rel=1e-5)
            if tokens != "text_encoder":
                ratio = np.median(mine.std(0) / reference.std(0))
                found = value(results, layer, tokens, position_0, "same_layer", "ratio_median")
                assert found == pytest.approx(ratio, rel=1e-4)


def test_other_layers_are_also_compared_with_that_of_the_conditionings(
    results: Path, models: ModelSet, suite: Suite
) -> None:
    image, text = (rows_by_hand(models, suite, n)[k][1] for n, k in ((-3, "vl_image"), (-2, "text_encoder")))
    expected = np.corrcoef(image.std(0), text.std(0))[0, 1]
    assert value(results, -3, "vl_image", False, "text_layer", "pearson") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL))
def test_the_queries_of_the_guide_find_rows(results: Path, query: str) -> None:
    assert len(read_only_rows(open_results(results), query)) > 0


def test_the_guide_names_every_statistic(results: Path) -> None:
    """Names that differ in a trailing part alone may be written once: `share_top_1`, `_2`."""
    names = open_results(results).query("SELECT DISTINCT statistic FROM embedding_statistics")["statistic"]
    guide = GUIDE.read_text(encoding="utf-8")
    missing = [n for n in names if f"`{n}`" not in guide and f"`_{n.rsplit('_', 1)[-1]}`" not in guide]
    assert missing == []


def test_image_tokens_have_no_position_0(results: Path) -> None:
    for statistic in ("tokens", "std", "effective_rank"):
        both = [value(results, -2, "vl_image", position_0, "", statistic) for position_0 in (True, False)]
        assert both[0] == both[1]
    both = [value(results, -2, "vl_text", position_0, "", "tokens") for position_0 in (True, False)]
    assert both[0] - both[1] == ITEMS


def test_each_view_is_encoded_once_and_kept(
    analysis: Analysis, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for kind, name in ((Qwen3TextEncoder, "encode_layers"), (VisionEncoder, "encode")):
        inner = getattr(kind, name)

        def counted(self: Any, *args: Any, inner: Any = inner, kind: type = kind) -> Any:
            calls.append(kind.__name__)
            return inner(self, *args)

        monkeypatch.setattr(kind, name, counted)
    run_analysis(analysis, tmp_path, Reporter(quiet=True))
    assert sorted(calls) == ["Qwen3TextEncoder"] * ITEMS + ["VisionEncoder"] * ITEMS
    fewer = replace(analysis, layers=(-3,), items=analysis.items[:2])
    assert run_analysis(fewer, tmp_path, Reporter(quiet=True))
    assert len(calls) == 2 * ITEMS
    assert not run_analysis(analysis, tmp_path, Reporter(quiet=True))
    query = "SELECT statistic, layer, tokens, value FROM embedding_values WHERE analysis_id = ? ORDER BY ALL"
    found = [open_results(folder).query(query, [analysis.analysis_id]) for folder in (results, tmp_path)]
    assert found[0].equals(found[1])


def test_an_analysis_that_was_cut_off_is_made_again(analysis: Analysis, results: Path, tmp_path: Path) -> None:
    shard = next((results / "shards").glob("embeddings-*.jsonl"))
    torn = tmp_path / "shards" / shard.name
    torn.parent.mkdir()
    torn.write_bytes(shard.read_bytes()[:-200])
    (tmp_path / "embeddings").symlink_to(results / "embeddings")
    assert run_analysis(analysis, tmp_path, Reporter(quiet=True))
    count = "SELECT count(*) AS n FROM embedding_values"
    assert open_results(tmp_path).query(count).equals(open_results(results).query(count))


def test_statistics_are_written_for_use_elsewhere(
    analysis: Analysis, results: Path, models: ModelSet, suite: Suite, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "statistics.safetensors"
    assert not run_analysis(analysis, results, Reporter(quiet=True), path)
    with safe_open(path, "np") as file:
        metadata, names = file.metadata(), set(file.keys())
        kept, left = (file.get_tensor(f"text_encoder.layer-3.{w}_position_0.std") for w in ("with", "without"))
        mean = file.get_tensor("vl_image.layer-2.without_position_0.mean")
    assert len(names) == 4 * len(LAYERS) * 2 * 2
    assert metadata["suite_sha256"] == suite.sha256
    assert metadata["model_set_sha256"] == models.sha256
    rows = rows_by_hand(models, suite, -3)["text_encoder"]
    np.testing.assert_allclose(kept, rows[0].std(0), rtol=1e-4)
    np.testing.assert_allclose(left, rows[1].std(0), rtol=1e-4)
    np.testing.assert_allclose(mean, rows_by_hand(models, suite, -2)["vl_image"][1].mean(0), atol=1e-5)


def test_what_cannot_be_analysed_is_reported_in_one_line(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    for layer in (-99, 0, 3):
        with pytest.raises(UsageError, match=rf"--layers: {layer} is outside -7..-1"):
            plan_analysis(models, suite, None, (-2, layer))
    longer = replace(suite.items[0], id="long", prompt="a red circle and " * 60)
    with pytest.raises(UsageError, match=r"item long: .*64"):
        run_analysis(
            plan_analysis(models, replace(suite, items=(longer,)), None, (-2,)), tmp_path, Reporter(quiet=True)
        )
    assert not list(tmp_path.glob("shards/*"))


def test_a_run_in_the_same_folder_is_not_disturbed(analysis: Analysis, tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(UsageError, match="another run"):
        run_analysis(analysis, tmp_path, Reporter(quiet=True))


def test_one_item_has_values_without_intervals(models: ModelSet, suite: Suite, tmp_path: Path) -> None:
    run_analysis(plan_analysis(models, suite, 1, (-2,)), tmp_path, Reporter(quiet=True))
    rows = open_results(tmp_path).query("FROM embedding_statistics")
    assert rows["low"].isna().all()
    assert "text_encoder_halves" not in set(rows["tokens"])
    assert rows["value"].notna().mean() > 0.9


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text encoder's and Qwen3-VL's first token hold enormous values in dimensions 4 and 96, as real ones do."""

    def with_sink(found: Tokens) -> Tokens:
        hidden = found.hidden.clone()
        hidden[0, 4], hidden[0, 96] = 13504.0, -4544.0
        return replace(found, hidden=hidden)

    for kind, name in ((Qwen3TextEncoder, "encode_layers"), (VisionEncoder, "encode")):
        inner = getattr(kind, name)

        def sunk(self: Any, *args: Any, inner: Any = inner) -> Any:
            return {layer: with_sink(found) for layer, found in inner(self, *args).items()}

        monkeypatch.setattr(kind, name, sunk)


@pytest.mark.usefixtures("planted")
def test_a_planted_sink_is_found_and_left_out(models: ModelSet, suite: Suite, results: Path, tmp_path: Path) -> None:
    run_analysis(plan_analysis(models, suite, ITEMS, (-2,)), tmp_path, Reporter(quiet=True))
    study = read_study(open_results(tmp_path))
    lines = findings(study)
    assert "**Position 0 is an attention sink**" in lines[0]
    assert value(tmp_path, -2, "text_encoder", True, "", "share_top_2") > 0.99
    assert value(tmp_path, -2, "vl_text", True, "same_layer", "pearson") > 0.999
    for statistic in ("std", "share_top_2", "effective_rank"):
        left, own = (value(folder, -2, "text_encoder", False, "", statistic) for folder in (tmp_path, results))
        assert left == pytest.approx(own)
    outlying = open_results(tmp_path).query(
        "FROM embedding_outliers WHERE tokens = 'vl_image' AND reference = 'same_layer' AND layer = -2 ORDER BY rank"
    )
    worst = outlying[outlying["position_0"]].head(2)
    assert set(worst["dimension"]) == {4, 96}
    assert (worst["ratio"] < 0.01).all()
    assert not set(outlying[~outlying["position_0"]].head(2)["dimension"]) >= {4, 96}


def test_hidden_states_that_are_not_finite_are_reported(
    models: ModelSet, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = VisionEncoder.encode

    def broken(self: Any, *args: Any) -> dict[int, Tokens]:
        return {
            n: replace(found, hidden=found.hidden.masked_fill((found.kinds == 3)[:, None], float("nan")))
            for n, found in inner(self, *args).items()
        }

    monkeypatch.setattr(VisionEncoder, "encode", broken)
    with pytest.raises(UsageError, match=r"vl_image, layer -2: 16 of 16 rows hold values not finite"):
        run_analysis(plan_analysis(models, suite, 1, (-2,)), tmp_path, Reporter(quiet=True))


def test_encoders_of_different_widths_are_refused(
    models: ModelSet, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = VisionEncoder.encode

    def narrow(self: Any, *args: Any) -> dict[int, Tokens]:
        return {n: replace(found, hidden=found.hidden[:, :100]) for n, found in inner(self, *args).items()}

    monkeypatch.setattr(VisionEncoder, "encode", narrow)
    with pytest.raises(UsageError, match=r"192 dimensions and Qwen3-VL's 100"):
        run_analysis(plan_analysis(models, suite, 1, (-2,)), tmp_path, Reporter(quiet=True))
