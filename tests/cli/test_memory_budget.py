"""--memory-budget and --dry-run of `blendbench run`: what is loaded at once, and what is not read at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from blendbench.models import fingerprint


def test_the_budget_decides_what_is_loaded_at_once(
    untrained: Path, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        'name = "mine"\ntitle = "x"\nsuite = "miniature"\nitems = 1\nseeds = [0]\ncontrols = false\n'
        'metrics = ["clip_cosine"]\nsampler = {steps = 1}\nstrategies = [{name = "lerp"}]\n'
    )
    common = ["run", mine, "--models", untrained, "--device", "cpu", "--json"]
    plans = {}
    for budget in (1, 50):
        code = call(*common, "--results", tmp_path / str(budget), "--memory-budget", budget)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        plans[budget] = json.loads(printed.out)["residency"]
        assert f"memory plan {plans[budget]}" in printed.err
    assert plans == {1: "staged", 50: "resident"}


def test_a_budget_of_nothing_is_refused(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "smoke", "--memory-budget", "0") == 2
    assert "--memory-budget" in capsys.readouterr().err


def test_a_dry_run_does_not_wait_for_weights_to_be_read(
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(fingerprint, "LARGE", 100_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plan = ["run", "smoke", "--models", untrained, "--results", tmp_path / "r", "--dry-run", "--json"]
    assert call(*plan) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["weights_hashed"] is False
    assert "all cells count as to generate" in printed.out
    fingerprint.file_hashes(untrained.rglob("*.safetensors"))
    assert call(*plan) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["weights_hashed"] is True
    assert printed.err == ""
