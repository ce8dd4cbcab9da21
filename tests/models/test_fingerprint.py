"""Hashes of weight files: by content, large files read once, and never read for a dry run."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from blendbench.core.hashing import sha256_contents
from blendbench.models import fingerprint
from blendbench.models.sets import load_model_set


@pytest.fixture(autouse=True)
def small_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files of a kilobyte count as large, the cache is the test's own, and reading is counted."""
    monkeypatch.setattr(fingerprint, "LARGE", 1024)
    monkeypatch.setattr(fingerprint, "_SETTLED", -1.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read: list[Path] = []
    real = fingerprint._read

    def noted(path: Path) -> str:
        read.append(path)
        return real(path)

    monkeypatch.setattr(fingerprint, "_read", noted)
    return read


def write(folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    (folder / "large.safetensors").write_bytes(b"a" * 4096)
    (folder / "small.json").write_text("{}")
    return sorted(folder.iterdir())


def test_a_large_file_is_read_once_and_a_small_one_each_time(tmp_path: Path, small_is_large: list[Path]) -> None:
    large, small = paths = write(tmp_path / "w")
    for _ in range(3):
        found = fingerprint.file_hashes(paths)
    assert found[large] == hashlib.sha256(b"a" * 4096).hexdigest()
    assert small_is_large.count(large) == 1
    assert small_is_large.count(small) == 3


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    large, _ = write(tmp_path / "w")
    before = fingerprint.file_hashes([large])[large]
    large.write_bytes(b"b" * 4096)
    os.utime(large, ns=(1, 1))
    assert fingerprint.file_hashes([large])[large] != before


def test_a_file_that_was_changed_under_its_old_times_is_read_again(tmp_path: Path) -> None:
    large, _ = write(tmp_path / "w")
    os.utime(large, ns=(1, 1))
    before = fingerprint.file_hashes([large])[large]
    large.write_bytes(b"b" * 4096)
    os.utime(large, ns=(1, 1))
    assert fingerprint.file_hashes([large])[large] != before


def test_the_hash_of_a_file_that_was_just_written_is_not_kept(
    tmp_path: Path, small_is_large: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_SETTLED", 60.0)
    large, _ = write(tmp_path / "w")
    for _ in range(2):
        fingerprint.file_hashes([large])
    assert small_is_large == [large, large]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 3}'])
def test_a_damaged_cache_only_costs_time(tmp_path: Path, content: str) -> None:
    paths = write(tmp_path / "w")
    expected = fingerprint.file_hashes(paths)
    fingerprint.cache_file().write_text(content)
    assert fingerprint.file_hashes(paths) == expected


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(fingerprint.file_hashes(write(tmp_path / "w"))) == 2
    assert "read again next time" in capsys.readouterr().err


def contents(folder: Path, paths: Iterable[Path]) -> str:
    """Hash a folder by what its files count by."""
    return sha256_contents(fingerprint.identities(paths), folder)


def test_the_hash_of_a_folder_is_that_of_names_and_contents(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    paths, same = write(one), write(other)
    before = contents(one, paths)
    assert contents(other, reversed(same)) == before
    assert contents(one, paths[:1]) != before
    renamed = same[1].rename(other / "renamed.json")
    assert contents(other, [same[0], renamed]) != before


def test_a_dry_run_reads_no_large_file_and_says_so(untrained: Path, small_is_large: list[Path]) -> None:
    models = load_model_set(untrained, "cpu", hash_weights=False)
    provisional = models.sha256
    assert models.provisional
    assert not [path for path in small_is_large if path.suffix == ".safetensors"]
    whole = load_model_set(untrained, "cpu")
    exact = whole.sha256
    assert whole.scorer_sha256("clip") is not None
    assert exact != provisional
    known = load_model_set(untrained, "cpu", hash_weights=False)
    assert (known.sha256, known.provisional) == (exact, False)
    assert len(json.loads(fingerprint.cache_file().read_text())) >= 7
