"""Hub repositories: pinned, found in the cache without a network, refused in one line when they are not there."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from blendbench.core.errors import UsageError
from blendbench.models.diagnosis import diagnose
from blendbench.models.places import _hub_error
from blendbench.models.sets import load_model_set

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache that nothing outside can be reached from."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def hub_set(untrained: Path, tmp_path: Path) -> Path:
    """The untrained set with its pipeline named as a repository."""
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("vision_language", "clip", "siglip", "judge", "probe"):
        (folder / name).symlink_to(untrained / name, target_is_directory=True)
    text = (untrained / "model_set.toml").read_text().replace('pipeline = "pipeline"', 'pipeline = "org/pipe"')
    (folder / "model_set.toml").write_text(text + f'\n[revisions]\npipeline = "{COMMIT}"\n')
    return folder


def fill(cache: Path, source: Path, commit: str = COMMIT) -> Path:
    snapshot = cache / "models--org--pipe" / "snapshots" / commit
    return Path(shutil.copytree(source, snapshot))


def test_a_cached_repository_works_without_the_network(untrained: Path, hub_set: Path, cache: Path) -> None:
    fill(cache, untrained / "pipeline")
    models, local = load_model_set(hub_set, "cpu"), load_model_set(untrained, "cpu")
    models.check()
    assert models.component("pipeline") == "org/pipe"
    assert models.sampler_record == local.sampler_record
    assert torch.equal(models.text.encode("a star").hidden, local.text.encode("a star").hidden)
    assert models.weight_files() == local.weight_files()


def test_another_commit_in_the_cache_is_not_taken_for_the_pinned_one(
    untrained: Path, hub_set: Path, cache: Path
) -> None:
    fill(cache, untrained / "pipeline", commit="f" * 40)
    with pytest.raises(UsageError) as error:
        load_model_set(hub_set, "cpu").check()
    assert f"pipeline: org/pipe at {COMMIT[:8]} is not complete in the hub's cache" in str(error.value)
    assert f"hf download org/pipe --revision {COMMIT}" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_identity_of_a_repository_is_its_content_or_for_want_of_it_its_commit(
    untrained: Path, hub_set: Path, cache: Path
) -> None:
    absent = load_model_set(hub_set, "cpu")
    assert absent.provisional
    toml = hub_set / "model_set.toml"
    text = toml.read_text()
    toml.write_text(text.replace(COMMIT, "f" * 40))
    assert load_model_set(hub_set, "cpu").sha256 != absent.sha256
    toml.write_text(text)
    fill(cache, untrained / "pipeline")
    present, local = load_model_set(hub_set, "cpu"), load_model_set(untrained, "cpu")
    assert (present.sha256, present.provisional) == (local.sha256, False)


def test_all_is_downloaded_before_a_run_is_planned(
    untrained: Path, hub_set: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repository: str, *, local_files_only: bool, **_options: Any) -> str:
        if local_files_only and not (cache / "models--org--pipe").is_dir():
            raise FileNotFoundError("not cached")
        folder = cache / "models--org--pipe" / "snapshots" / COMMIT
        return str(folder if folder.is_dir() else fill(cache, untrained / "pipeline"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    models = load_model_set(hub_set, "cpu")
    models.weight_files()
    assert (models.sha256, models.provisional) == (load_model_set(untrained, "cpu").sha256, False)


@pytest.mark.parametrize(("name", "fix"), [("z.safetensors", "save_pretrained"), ("z-Q4_K_S.gguf", "original")])
def test_a_single_file_is_called_that_and_comes_with_the_way_out(hub_set: Path, name: str, fix: str) -> None:
    (hub_set / name).write_bytes(b"weights")
    toml = hub_set / "model_set.toml"
    toml.write_text(toml.read_text().replace("org/pipe", name))
    with pytest.raises(UsageError) as error:
        load_model_set(hub_set, "cpu").check()
    assert f"pipeline: {name!r} is a single file" in str(error.value)
    assert fix in str(error.value)
    assert "missing" not in str(error.value)


@pytest.mark.parametrize(
    ("revision", "message"),
    [("main", "revisions.pipeline: String should match"), ("", "pin its commit as pipeline under [revisions]")],
)
def test_only_a_whole_commit_pins_a_repository(hub_set: Path, revision: str, message: str) -> None:
    toml = hub_set / "model_set.toml"
    new = f'pipeline = "{revision}"' if revision else ""
    toml.write_text(toml.read_text().replace(f'pipeline = "{COMMIT}"', new))
    with pytest.raises(UsageError) as error:
        load_model_set(hub_set, "cpu").check()
    assert message in str(error.value)


def test_downloads_take_no_pickle_and_no_code(
    untrained: Path, hub_set: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def download(repository: str, **options: Any) -> str:
        if options["local_files_only"]:
            raise FileNotFoundError("not cached")
        asked.append({"repository": repository, **options})
        return str(untrained / "pipeline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    models = load_model_set(hub_set, "cpu")
    models.check()
    assert {suffix for call in asked for suffix in call["allow_patterns"]} == {"*.json", "*.txt", "*.jinja", "*.model"}
    _ = models.text
    assert "*.safetensors" in asked[-1]["allow_patterns"]
    for call in asked:
        assert (call["repository"], call["revision"]) == ("org/pipe", COMMIT)
        assert not {"*.bin", "*.py", "*.pt", "*"} & set(call["allow_patterns"])


def test_doctor_says_what_a_repository_still_has_to_download(
    untrained: Path, hub_set: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        SimpleNamespace(rfilename=name, size=size)
        for name, size in (("transformer/a.safetensors", 12_000_000_000), ("model_index.json", 400), ("x.bin", 9e12))
    ]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, name, **options: SimpleNamespace(siblings=files)
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    lines = {finding.line: finding.fatal for finding in diagnose(load_model_set(hub_set, "cpu"))}
    (download,) = (line for line in lines if line.startswith("pipeline"))
    assert "12.0 GB are downloaded at the first run" in download
    assert not lines[download]
    assert any(line.startswith("disk:") and "12.0 GB are needed" in line for line in lines)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = [finding.line for finding in diagnose(load_model_set(hub_set, "cpu")) if finding.fatal]
    assert any("HF_HUB_OFFLINE is set" in line for line in offline)


def test_scoring_asks_for_no_more_than_the_scorers(hub_set: Path, cache: Path) -> None:
    models = load_model_set(hub_set, "cpu")
    assert models.clip.context_length > 0
    with pytest.raises(UsageError, match="org/pipe"):
        _ = models.denoiser


def test_without_a_network_the_hub_is_asked_once_and_what_is_cached_is_taken(
    untrained: Path, hub_set: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads: list[str] = []
    within = huggingface_hub.snapshot_download

    def download(repository: str, *, local_files_only: bool, **options: Any) -> str:
        if not local_files_only:
            downloads.append(repository)
        return str(within(repository, local_files_only=True, **options))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    _hub_error.cache_clear()
    with pytest.raises(UsageError, match=rf"hf download org/pipe --revision {COMMIT}.*or name a folder as pipeline"):
        load_model_set(hub_set, "cpu").check()
    problems = [finding.line for finding in diagnose(load_model_set(hub_set, "cpu")) if finding.fatal]
    assert any("the hub cannot be reached" in line and "name a folder" in line for line in problems)
    fill(cache, untrained / "pipeline")
    load_model_set(hub_set, "cpu").weight_files()
    assert downloads == []
    assert _hub_error.cache_info().misses <= 2  # a minute may end meanwhile
    _hub_error.cache_clear()
