"""`blendbench embeddings` through the program: page, plots, database, JSON, refusals."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_results import white_plots

from blendbench.results.store import open_results


@pytest.fixture(scope="module")
def made(untrained: Path, cli: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    where = ["--models", untrained, "--results", folder / "results", "--out", folder / "reports"]
    assert cli("embeddings", *where, "--items", 3, "--layers", "-2,-4").returncode == 0
    return folder


def test_the_page_shows_the_numbers_of_the_database(made: Path) -> None:
    page = (made / "reports" / "embeddings.md").read_text()
    results = open_results(made / "results")
    rows = results.query(
        "SELECT value FROM embedding_statistics WHERE tokens = 'vl_image' AND layer = -2 AND statistic = 'spearman'"
        " AND reference = 'same_layer' AND NOT position_0"
    )
    line = next(
        line for line in page.splitlines() if line.startswith("| Qwen3-VL, image | without |") and "[" in line[60:]
    )
    assert f"{rows['value'].iloc[0]:.3f}".replace("-", "−") in page
    assert "3 prompts" in page
    assert line
    linked = re.findall(r"\]\((embeddings/\w+\.webp)\)", page)
    assert len(linked) == len(set(linked)) == 7
    for name in linked:
        assert (made / "reports" / name).read_bytes()[8:12] == b"WEBP"


def test_the_same_analysis_again_is_read_not_computed_and_writes_the_same_bytes(
    made: Path, untrained: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in (made / "reports").rglob("*.*")}
    where = ["--models", untrained, "--results", made / "results", "--out", made / "reports"]
    assert call("embeddings", *where, "--items", 3, "--layers", "-2,-4", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["computed"], report["items"], report["layers"]) == (False, 3, [-2, -4])
    assert {path.name: path.read_bytes() for path in (made / "reports").rglob("*.*")} == before
    pearson = [
        row
        for row in report["statistics"]
        if (row["statistic"], row["tokens"]) == ("pearson", "vl_text")
        and (row["layer"], row["reference"], row["position_0"]) == (-2, "same_layer", False)
    ]
    assert len(pearson) == 1
    assert pearson[0]["low"] <= pearson[0]["value"] <= pearson[0]["high"]


def test_a_file_that_cannot_be_written_is_reported_in_one_line(
    made: Path, untrained: Path, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    where = ["--models", untrained, "--results", made / "results", "--out", made / "reports", "--items", 3]
    target = tmp_path / "file" / "s.safetensors"
    assert call("embeddings", *where, "--layers", "-2,-4", "--save-statistics", target, "--json") == 2
    assert f"--save-statistics {target}: cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "-2,x"], "whole numbers"),
        (["--layers", "-2,-99"], "-99 is outside -7..-1"),
        (["--items", "0"], "--items"),
        (["--models", "minature"], "did you mean 'miniature'"),
        (["--suite", "minature"], "did you mean 'miniature'"),
        (["--save-statistics", "stats.npz"], "name a .safetensors file"),
        (["--device", "cuda"], "no usable GPU"),
    ],
)
def test_mistakes_get_one_line_and_write_nothing(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert call("embeddings", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@white_plots()
def test_models_are_compared_on_their_own_suite(
    tiny_set: Path, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    # In another folder the set's file names the suite of real weights.
    for part in tiny_set.iterdir():
        if part.name != "model_set.toml":
            (tmp_path / part.name).symlink_to(part)
    text = (tiny_set / "model_set.toml").read_text()
    (tmp_path / "model_set.toml").write_text(re.sub(r"^suite = .*$", 'suite = "standard"', text, flags=re.MULTILINE))
    where = ["--models", tmp_path, "--results", tmp_path / "results", "--out", tmp_path / "reports"]
    assert call("embeddings", *where, "--items", 2, "--layers", "-2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["suite"] == "standard"
