"""Images made elsewhere stand in SQL, leaderboard, gate, compare and gallery like any other, and are marked."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from synthetic_results import white_plots, write_results

Cli = Callable[..., CompletedProcess[str]]
ITEMS = 14


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 64), (number * 90, 120, 40)).save(folder / "photos" / f"{number}.png")
    (folder / "p.txt").write_text("".join(f"prompt number {n}\n" for n in range(ITEMS)))
    done = cli("new", "suite", "own", "--images", "photos", "--prompts", "p.txt", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "own"


def images(folder: Path, strength: int, seed: Callable[[int], int] = lambda n: n, size: int = 64) -> Path:
    """Write images of a smooth ground with a grid of 16 pixels of so many levels, with the notes of A1111."""
    folder.mkdir()
    for number in range(ITEMS):
        rng = np.random.default_rng(number)
        ground = np.asarray(Image.fromarray(rng.integers(60, 200, (8, 8, 3), dtype=np.uint8)).resize((size, size)))
        pixels = ground.astype(np.int16)
        pixels[::16] += strength
        pixels[:, ::16] += strength
        info = PngInfo()
        info.add_text("parameters", f"prompt number {number}\nSteps: 9, Seed: {seed(number)}, Size: {size}x{size}")
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.png", pnginfo=info)
    return folder


def rows(cli: Cli, results: Path, query: str) -> list[dict[str, Any]]:
    done = cli("sql", query, "--results", results, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def imported(cli: Cli, results: Path, folder: Path, suite: Path, *options: object) -> CompletedProcess[str]:
    return cli("import", folder, "--suite", suite, "--results", results, *options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, cli: Cli, suite: Path) -> tuple[Path, Path]:
    """Import a label with the seeds of its baseline, and one with others."""
    place = tmp_path_factory.mktemp("import")
    base, results = images(place / "base", 0), place / "results"
    for label, seed in (("mesh", lambda n: n), ("other", lambda n: n + 100)):
        done = imported(cli, results, images(place / label, 24, seed), suite, "--label", label, "--baseline", base)
        assert done.returncode == 0, done.stderr
        same = ITEMS if label == "mesh" else 0
        assert f"the same noise in {same} of {ITEMS} pairs" in done.stdout and "0 failed" in done.stdout
    return place, results


def test_cells_hold_what_is_known_and_null_where_nothing_is(cli: Cli, folders: tuple[Path, Path]) -> None:
    query = "FROM cells WHERE label = 'other' ORDER BY item"
    found = rows(cli, folders[1], query)
    assert len(found) == ITEMS
    first = found[0]
    assert (first["noise_seed"], first["seed"], first["split"]) == (100, 0, "dev")
    assert all(first[name] is None for name in ("conditioning_sha256", "tokens", "image_tokens", "dose", "error"))
    assert first["imported"]["file"] == "00000.png" and first["status"] == "ok"
    (run,) = rows(
        cli, folders[1], "SELECT model_set, sampler, dtype, hidden_states FROM runs ORDER BY sequence LIMIT 1"
    )
    assert (run["model_set"], run["sampler"], run["dtype"], run["hidden_states"]) == ("imported", {}, "", None)
    assert rows(cli, folders[1], "FROM orphans") == []


def test_the_gate_finds_the_grid_and_says_what_is_not_known(cli: Cli, folders: tuple[Path, Path]) -> None:
    done = cli("gate", "--candidate", "other", "--results", folders[1], "--format", "json")
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["outcome"]) == (1, "regression"), done.stdout
    assert verdict["canary"]["detected"] is None
    text = cli("gate", "--candidate", "other", "--results", folders[1]).stdout
    assert "canary not generated" in text and "0 of 14 pairs, so differences hold the noise too" in " ".join(
        text.split()
    )


@white_plots()
def test_leaderboard_compare_gallery_and_views_have_them(cli: Cli, folders: tuple[Path, Path], tmp_path: Path) -> None:
    results = folders[1]
    done = cli("leaderboard", "imported", "--results", results, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "imported.md").read_text()
    assert "images: made elsewhere" in page and "mesh: imported images; the noise is text_only's in 14 of 14" in page
    assert "canary" not in done.stdout and "blendbench run" not in done.stdout
    assert "grid_energy" in cli("compare", "mesh", "other", "--results", results).stdout
    assert cli("gallery", "imported", "--results", results).returncode == 0
    marks = rows(cli, results, "SELECT DISTINCT label, imported FROM leaderboard ORDER BY 1")
    assert [tuple(mark.values()) for mark in marks] == [("mesh", True), ("other", True), ("text_only", True)]


@white_plots()
def test_imported_images_are_published_whole_and_cannot_be_verified(
    cli: Cli, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    done = cli("publish", "imported", "--results", folders[1], "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert cli("publish", "--check", "--out", tmp_path).returncode == 0
    found = rows(
        cli, tmp_path, "SELECT label, count(imported) AS n, count(noise_seed) AS seeds FROM cells GROUP BY ALL"
    )
    assert {row["label"]: (row["n"], row["seeds"]) for row in found} == dict.fromkeys(
        ("text_only", "mesh", "other"), (ITEMS, ITEMS)
    )
    refused = cli("verify", tmp_path)
    assert refused.returncode == 2 and "its images were imported" in refused.stderr


def test_the_same_import_again_measures_nothing_and_changed_images_replace_the_old(
    cli: Cli, folders: tuple[Path, Path], suite: Path, tmp_path: Path
) -> None:
    place, results = folders
    options = ("--baseline", place / "base", "--experiment", "again")
    first = imported(cli, results, place / "mesh", suite, "--label", "mesh", *options)
    assert "; 0 scores measured" in first.stdout  # of another experiment: the same cells
    changed = images(tmp_path / "changed", 6)
    done = imported(cli, results, changed, suite, "--label", "mesh", *options)
    assert done.returncode == 0 and "; 0 scores" not in done.stdout
    query = "SELECT count(*) AS n, count(DISTINCT source_sha256) AS codes FROM {} WHERE experiment = 'again'"
    assert rows(cli, results, query.format("current_cells")) == [{"n": 2 * ITEMS, "codes": 2}]
    gate = cli("gate", "--candidate", "mesh", "--baseline", "previous", "--experiment", "again", "--results", results)
    assert gate.returncode in (0, 3), gate.stdout + gate.stderr


def test_names_tables_doses_and_the_networks_of_a_model_set(
    cli: Cli, suite: Path, untrained: Path, tmp_path: Path
) -> None:
    items = [row.split('"')[1] for row in (suite / "suite.toml").read_text().splitlines() if row.startswith("id = ")]
    for name, step in (("base", 0), ("blend", 12)):
        images(tmp_path / name, step)
        for path, item in zip(sorted((tmp_path / name).iterdir()), items, strict=True):
            Image.open(path).convert("RGB").save(path.with_name(f"{item}_7.jpg"))
            path.unlink()
    options = ("--baseline", tmp_path / "base", "--label", "blend", "--dose", "0.5", "--models", untrained)
    results = tmp_path / "results"
    refused = imported(cli, results, tmp_path / "blend", suite, *options)
    assert refused.returncode == 2 and "does not say its prompt; see --pattern and --csv" in refused.stderr
    assert refused.stderr.count("\n") == 1 and not results.exists()
    done = imported(cli, results, tmp_path / "blend", suite, *options, "--pattern", "{item}_{seed}")
    assert done.returncode == 0, done.stderr
    (cell,) = rows(cli, results, f"FROM cells WHERE label = 'blend:dose=0.5' AND item = '{items[3]}'")
    assert (cell["dose"], cell["family"], cell["noise_seed"]) == (0.5, "blend", 7)
    assert cell["imported"]["flags"] == ["jpeg"]
    judged = rows(cli, results, "SELECT count(*) AS n FROM scores WHERE metric = 'siglip_cosine' AND status = 'ok'")
    assert judged == [{"n": 2 * ITEMS}]
    table = "".join(f"{item}_7.jpg,prompt number {n}\n" for n, item in enumerate(items[:-1]))
    (tmp_path / "t.csv").write_text(f"file,prompt\n{table}")
    part = imported(cli, results, tmp_path / "blend", suite, *options[:4], "--csv", tmp_path / "t.csv")
    assert part.returncode == 5 and "left out 2" in part.stderr and "not in the table" in part.stderr
    assert f"{ITEMS - 1} images of {ITEMS - 1} of {ITEMS} items" in part.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--label", "text_only"), "the baseline's name"),
        (("--label", "a:b"), "write letters"),
        (("--label", "a", "--experiment", "A B"), "lower-case"),
        (("--label", "a", "--pattern", "{item}", "--csv", "t.csv"), "leave one out"),
        (("--label", "a", "--pattern", "{itm}"), "write {item}"),
        (("--label", "a", "--csv", "gone.csv"), "no such file"),
    ],
)
def test_mistakes_write_nothing(
    cli: Cli, folders: tuple[Path, Path], suite: Path, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    done = imported(cli, tmp_path / "r", folders[0] / "mesh", suite, "--baseline", folders[0] / "base", *options)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_sizes_that_differ_and_damaged_files_are_refused(
    cli: Cli, folders: tuple[Path, Path], suite: Path, tmp_path: Path
) -> None:
    large = images(tmp_path / "large", 0, size=80)
    options = ("--baseline", folders[0] / "base", "--label", "large")
    done = imported(cli, tmp_path / "r", large, suite, *options)
    assert done.returncode == 2 and "80 x 80 pixels; its baseline" in done.stderr and "(and 4 more)" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--label", "canary"), "--label canary: is a control, which other configurations are judged by"),
        (("--label", "x", "--dose", "nan"), "--dose nan: write a number"),
        (("--label", "x", "--dose", "inf"), "--dose inf: write a number"),
        (("--label", "x", "--experiment", "core"), "--experiment core: holds generated images, which these would hide"),
    ],
)
def test_what_would_spoil_other_results_is_refused(
    options: tuple[str, ...], said: str, cli: Cli, folders: tuple[Path, Path], suite: Path, tmp_path: Path
) -> None:
    place, _ = folders
    write_results(tmp_path / "results", items=3, images=False)
    done = imported(cli, tmp_path / "results", place / "mesh", suite, "--baseline", place / "base", *options)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_another_baseline_says_what_it_hides(cli: Cli, folders: tuple[Path, Path], suite: Path, tmp_path: Path) -> None:
    place, _ = folders
    results = tmp_path / "results"
    first = imported(cli, results, place / "mesh", suite, "--label", "a", "--baseline", place / "base")
    again = imported(cli, results, place / "other", suite, "--label", "b", "--baseline", place / "base")
    assert first.returncode == again.returncode == 0 and "no longer shown" not in first.stdout + again.stdout
    done = imported(cli, results, place / "mesh", suite, "--label", "a", "--baseline", images(tmp_path / "new", 2))
    assert "no longer shown: b, compared with other images of the baseline; import them again" in done.stdout
