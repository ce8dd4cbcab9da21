"""`blendbench measure`: any image gets values, flags and a status, whatever its size or state."""

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blendbench.cli import _verb
from blendbench.core.errors import UsageError
from blendbench.metrics import all_metrics, patterns
from blendbench.metrics.shared import roots
from blendbench.metrics.synthetic import pixel_art
from blendbench.registry.entries import transaction
from blendbench.reports.measured import sentence

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def measured(capsys: pytest.CaptureFixture[str], *arguments: "str | Path", code: int = 0) -> list[dict[str, Any]]:
    assert _verb("measure", [*map(str, arguments), "--json"]) == code
    records: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [set(record) >= {"path", "values", "flags", "status"} for record in records] == [True] * len(records)
    return records


def generated(size: int = 256) -> Pixels:
    """A photo shrunk by 2 and dithered: no trace of JPEG, as a generator would make it."""
    photo = patterns.photos()["coffee.png"][: 2 * size, : 2 * size]
    photo = patterns.photos()["retina.jpg"][300 : 300 + 2 * size, 300 : 300 + 2 * size] if size > 200 else photo
    small = photo.reshape(size, 2, size, 2, 3).mean((1, 3))
    noisy = np.rint(small + np.random.default_rng(0).normal(0, 1, small.shape))
    return np.asarray(noisy.clip(0, 255), np.uint8)


def save(pixels: Pixels, path: Path, **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def png(tmp_path: Path) -> Path:
    return save(generated(), tmp_path / "clean.png")


def test_a_clean_image_has_the_unpaired_values_and_no_flag(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = measured(capsys, png)
    assert (record["path"], record["flags"], record["status"]) == (str(png), [], "ok")
    unpaired = {name for name, known in all_metrics().items() if roots(known.needs) == {"images"}}
    assert set(record["values"]) == unpaired and "grid_severity" in unpaired
    assert record["values"]["grid_severity"] < 0.05


def test_a_patch_grid_is_found_and_a_jpeg_and_a_resized_copy_are_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meshed = patterns.inject(generated()[None], patterns.mesh(256, 256), 4)[0]
    large = np.asarray(Image.fromarray(generated()).resize((384, 384), Image.Resampling.BICUBIC))
    paths = [
        save(meshed, tmp_path / "mesh.png"),
        save(meshed, tmp_path / "lossy.jpg", quality=90),
        save(patterns.jpeg(generated(), 90), tmp_path / "was_lossy.png"),
        save(large, tmp_path / "resized.png"),
    ]
    flags = [set(record["flags"]) for record in measured(capsys, *paths)]
    assert flags[0] == {"faint_grid", "visible_grid", "seams"}
    assert {"jpeg", "jpeg_history"} <= flags[1]
    assert flags[2] == {"jpeg_history"} and flags[3] == {"resampled"}


def test_pairs_add_drift_style_and_effect_and_sizes_are_compared(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cropped = save(generated()[:240, :240], tmp_path / "cropped.png")
    first, second = measured(capsys, png, cropped, "--baseline", png, "--reference", png)
    assert first["values"]["effect_size"] == first["values"]["style_gain"] == first["values"]["color_drift"] == 0
    assert first["flags"] == [] and second["flags"] == ["size_differs"]
    assert second["values"]["effect_size"] is None and "effect_size" in second["unscorable"]


@pytest.mark.trained
def test_a_prompt_is_judged_by_a_model_set(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "red " * 300
    (record,) = measured(capsys, png, "--prompt", words, "--models", "miniature")
    assert -1 <= record["values"]["clip_cosine"] <= 1 and record["values"]["siglip_cut_tokens"] > 0
    assert "prompt_cut" in record["flags"] and "size_differs" in record["flags"]


def test_a_prompt_without_a_model_set_is_said_to_be_unused(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verb("measure", [str(png), "--prompt", "red"]) == 0
    assert "--models" in capsys.readouterr().err


def test_images_of_odd_sizes_have_a_defined_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = generated(64)
    made = {"pixel": image[:1, :1], "line": image[:1], "flat": np.full((256, 256, 3), 77, np.uint8)}
    paths = [save(pixels, tmp_path / f"{name}.png") for name, pixels in made.items()]
    pixel, line, flat = measured(capsys, *paths)
    for record in (pixel, line):
        assert record["status"] == "ok"
        assert record["values"]["grid_energy"] is None and "grid_energy" in record["unscorable"]
    assert flat["flags"] == ["blank"]
    worst = {"grid_energy", "grid_severity", "blockiness", "collapsed"}
    assert {name for name, value in flat["values"].items() if value} == worst


def test_what_the_loader_did_is_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    glass = np.concatenate([generated(64), np.full((64, 64, 1), 128, np.uint8)], -1)
    turned, clear = measured(
        capsys, save(generated(64), tmp_path / "turned.png", exif=exif), save(glass, tmp_path / "glass.png")
    )
    assert turned["flags"] == ["turned"] and "transparent" in clear["flags"]


def test_a_mosaic_is_flagged_for_its_seams_and_pixel_art_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mosaic = patterns.inject(generated()[None], patterns.offsets(256, 256), 20)[0]
    paths = [save(mosaic, tmp_path / "mosaic.png"), save(pixel_art(256, 16, 0), tmp_path / "art.png")]
    broken, art = measured(capsys, *paths)
    assert "seams" in broken["flags"] and "seams" not in art["flags"]
    assert min(record["values"]["blockiness"] for record in (broken, art)) > 1


def test_what_cannot_be_read_has_a_status_and_the_others_go_on(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(png.read_bytes()[:5000])
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    names = ("bomb.png", "cut.png", "dangling.png", "gone.png", "pipe.png", "text.png")
    records = measured(capsys, *(tmp_path / name for name in names), png, code=5)
    assert [record["status"] for record in records] == ["unreadable"] * len(names) + ["ok"]
    for name, record in zip(names, records, strict=False):
        assert record["error"].startswith(str(tmp_path / name)) and record["error"].isprintable()
        assert record["values"] == {}
    # As a folder the same, but for the file that is not there.
    of_folder = {Path(record["path"]).name: record["status"] for record in measured(capsys, tmp_path, code=5)}
    assert of_folder == {"clean.png": "ok", **{name: "unreadable" for name in names if name != "gone.png"}}


def test_a_folder_stands_for_the_images_in_it_of_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = generated(64)
    names = ("a.PNG", "b.avif", "c.gif", "d.jfif", "e.jp2", "f.webp", "g.tif", "h.bmp")
    for name in names:
        save(pixels, tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    save(pixels, tmp_path / ".hidden.png")
    (tmp_path / "more").mkdir()
    assert _verb("measure", [str(tmp_path), "--json"]) == 0
    printed = capsys.readouterr()
    assert [Path(record["path"]).name for record in json.loads(printed.out)] == list(names)
    expected = f"blendbench: {tmp_path}: left out 3 that are not images: .hidden.png, more/, notes.txt\n"
    assert printed.err == expected


def test_a_patch_grid_wider_than_the_image_is_no_failure(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = measured(capsys, png, "--patch-grid", "1000")
    assert record["values"]["grid_energy"] is None and record["flags"] == ["not_whole_patches"]


def test_people_get_a_sentence_and_a_table(png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verb("measure", [str(png)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{png}: no grid visible\n") and "grid_severity   artifact" in shown
    grid = generated().astype(int)
    grid[::16] += 30
    grid[:, ::16] += 30
    broken = save(grid.clip(0, 255).astype(np.uint8), tmp_path / "broken.png")
    lossy = save(generated(), tmp_path / "lossy.jpg", quality=60)
    black = save(np.zeros_like(generated()), tmp_path / "black.png")
    none = tmp_path / "none.png"
    none.write_text("no image")
    assert _verb("measure", [str(path) for path in (broken, lossy, black, none)]) == 5
    lines = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) in line]
    said = ("grid visible", "no grid visible, but blocks of JPEG", "shows nothing: one colour", "not measured")
    assert [words in line for words, line in zip(said, lines, strict=True)] == [True] * 4, lines
    assert "without the blend too, and compare" in lines[1]


@pytest.mark.parametrize(
    ("flags", "severity", "said"),
    [
        ([], 0.1, "no grid visible"),
        ([], 2.0, "no grid visible, but lines of its content lie on the patch grid: measure the same prompt"),
        (["faint_grid", "visible_grid", "seams"], 2.0, "grid visible; steps at the borders of patches"),
        (["faint_grid"], 0.1, "a grid that is too faint to be seen"),
        (["jpeg", "jpeg_history"], 0.1, "no grid visible, but blocks of JPEG lie on the patch grid: measure"),
        (["noise", "visible_grid"], 10.0, "shows nothing: noise alone"),
        ([], None, "whether a grid is visible cannot be measured: too few tiles"),
        (["jpeg"], None, "whether a grid is visible cannot be measured: too few tiles"),
        (["seams"], None, "steps at the borders of patches"),
    ],
)
def test_the_sentence_of_an_image(flags: list[str], severity: float | None, said: str) -> None:
    record = {"status": "ok", "flags": flags, "values": {"grid_severity": severity}}
    record["unscorable"] = {"grid_severity": "too few tiles"} if severity is None else {}
    assert sentence(record).startswith(said)


def test_metrics_of_a_plugin_are_measured_too(png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from blendbench.metrics import metric\n"
        "CARD = dict(role='diagnostic', direction='none', unit='levels', margin=1.0)\n"
        "@metric('brightness', needs=('luma',), **CARD)\n"
        "def brightness(batch):\n    print('hello')\n    return batch['luma'].mean((-2, -1))\n"
        "@metric('broken', needs=('luma',), **CARD)\n"
        "def broken(batch):\n    return 1 / 0\n"
    )
    try:
        with transaction():
            (record,) = measured(capsys, png, "--plugin", plugin, code=5)
            _verb("measure", [str(png), str(png), "--plugin", str(plugin)])
            assert "brightness" in capsys.readouterr().out
            raise UsageError("leave nothing registered")
    except UsageError:
        pass
    assert record["values"]["brightness"] == pytest.approx(np.dot(generated().mean((0, 1)), (0.299, 0.587, 0.114)))
    assert (
        record["status"] == "failed" and f"broken: ZeroDivisionError: division by zero ({plugin}:9)" in record["error"]
    )
    assert record["values"]["blockiness"] is not None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["FOLDER"], "no images in this folder"),
        (["PNG", "--baseline", "FOLDER"], "a folder"),
        ([], "Missing argument"),
        (["PNG", "--patch-grid", "1"], "patch-grid"),
        (["PNG", "--baseline", "gone.png"], "--baseline gone.png"),
        (["PNG", "--reference", __file__], "not an image"),
        (["PNG", "--models", "miniatur"], "miniature"),
        (["PNG", "--plugin", "gone.py"], "gone.py: no such file"),
    ],
)
def test_bad_usage_is_one_line(png: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "empty").mkdir()
    named = {"PNG": str(png), "FOLDER": str(tmp_path / "empty")}
    with pytest.raises(UsageError) as error:
        _verb("measure", [named.get(word, word) for word in arguments])
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_patch_grid_is_the_given_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meshed = patterns.inject(generated()[None], patterns.texture(256, 256, 20), 4)[0]
    twenty = save(meshed[:240, :240], tmp_path / "twenty.png")
    (at_16,) = measured(capsys, twenty)
    (at_20,) = measured(capsys, twenty, "--patch-grid", "20")
    assert at_20["values"]["grid_severity"] > 1
    assert at_16["values"]["grid_severity"] < 0.3
