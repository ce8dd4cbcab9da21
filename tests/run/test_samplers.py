"""Resolved samplers are kept by request: never a stale one, and damage is told."""

from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.models.sets import load_model_set
from blendbench.run.samplers import FILE, keep_sampler, resolved_sampler


def test_a_kept_sampler_is_used_for_the_same_request_only(untrained: Path, tmp_path: Path) -> None:
    models = load_model_set(untrained, "cpu", {"steps": 3})
    keep_sampler(models, tmp_path, models.sampler_record)
    again = load_model_set(untrained, "cpu", {"steps": 3})
    assert resolved_sampler(again, tmp_path) == models.sampler_record
    assert "sampler_record" not in vars(again)
    for changed in ({"steps": 4}, {"steps": 3, "shift": 2.0}, {"steps": 3, "height": 64}):
        other = load_model_set(untrained, "cpu", changed)
        assert resolved_sampler(other, tmp_path) == other.sampler_record != models.sampler_record
        keep_sampler(other, tmp_path, other.sampler_record)
    assert resolved_sampler(again, tmp_path) == models.sampler_record


def test_a_damaged_file_is_named(untrained: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{")
    with pytest.raises(UsageError, match=f"{FILE}.*delete"):
        resolved_sampler(load_model_set(untrained, "cpu"), tmp_path)
