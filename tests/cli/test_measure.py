"""`blendbench measure`: any image gets values, flags and a status, whatever its size, depth or state."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blendbench.cli import _verb
from blendbench.core.errors import UsageError
from blendbench.metrics import all_cards, patterns
from blendbench.metrics.drawn import pixel_art


def measured(capsys: pytest.CaptureFixture[str], *arguments: "str | Path", code: int = 0) -> list[dict[str, Any]]:
    assert _verb("measure", [*map(str, arguments), "--json"]) == code
    records = json.loads(capsys.readouterr().out)
    assert [set(record) >= {"path", "values", "flags", "status"} for record in records] == [True] * len(records)
    return records


def generated(size: int = 256) -> np.ndarray:
    """A photo shrunk by 2 and dithered: no trace of JPEG, as a generator would make it."""
    photo = patterns.photos()["coffee.png"][: 2 * size, : 2 * size]
    photo = patterns.photos()["retina.jpg"][300 : 300 + 2 * size, 300 : 300 + 2 * size] if size > 200 else photo
    small = photo.reshape(size, 2, size, 2, 3).mean((1, 3))
    return np.clip(np.rint(small + np.random.default_rng(0).normal(0, 1, small.shape)), 0, 255).astype(np.uint8)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    Image.fromarray(generated()).save(tmp_path / "clean.png")
    return tmp_path / "clean.png"


def test_a_clean_image_has_the_unpaired_values_and_no_flag(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = measured(capsys, png)
    assert (record["path"], record["flags"], record["status"]) == (str(png), [], "ok")
    unpaired = {name for name, card in all_cards().items() if set(card.needs) <= {"luma", "patch_grid_reading"}}
    assert set(record["values"]) == unpaired and "grid_severity" in unpaired
    assert record["values"]["grid_severity"] < 0.05


def test_a_patch_grid_is_found_and_a_jpeg_and_a_resized_copy_are_flagged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meshed = patterns.inject(generated()[None], patterns.mesh(256, 256), 4)[0]
    image = Image.fromarray(meshed)
    image.save(tmp_path / "mesh.png")
    image.save(tmp_path / "lossy.jpg", quality=90)
    Image.fromarray(patterns.jpeg(generated(), 90)).save(tmp_path / "was_lossy.png")
    Image.fromarray(generated()).resize((384, 384), Image.Resampling.BICUBIC).save(tmp_path / "resized.png")
    paths = [tmp_path / name for name in ("mesh.png", "lossy.jpg", "was_lossy.png", "resized.png")]
    flags = [set(record["flags"]) for record in measured(capsys, *paths)]
    assert flags[0] == {"faint_grid", "visible_grid", "seams"}
    assert {"jpeg", "jpeg_history"} <= flags[1]
    assert flags[2] == {"jpeg_history"} and flags[3] == {"resampled"}


def test_pairs_add_drift_style_and_effect_and_sizes_are_compared(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(generated()[:240, :240]).save(tmp_path / "cropped.png")
    first, second = measured(capsys, png, tmp_path / "cropped.png", "--baseline", png, "--reference", png)
    assert first["values"]["effect_size"] == first["values"]["style_gain"] == first["values"]["color_drift"] == 0
    assert first["flags"] == [] and second["flags"] == ["size_differs"]
    assert second["values"]["effect_size"] is None and "effect_size" in second["unscorable"]


def test_a_prompt_is_judged_by_a_model_set(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "red " * 300
    (record,) = measured(capsys, png, "--prompt", words, "--models", "miniature")
    assert -1 <= record["values"]["clip_cosine"] <= 1 and record["values"]["siglip_cut_tokens"] > 0
    assert "prompt_cut" in record["flags"] and "size_differs" in record["flags"]
    assert _verb("measure", [str(png), "--prompt", "red"]) == 0
    assert "--models" in capsys.readouterr().err


def test_odd_images_have_a_defined_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = generated()
    grey, alpha = image[..., 1], np.full((256, 256, 1), 255, np.uint8)
    made = {
        "pixel.png": Image.fromarray(image[:1, :1]),
        "line.png": Image.fromarray(image[:1]),
        "flat.png": Image.fromarray(np.full((256, 256, 3), 77, np.uint8)),
        "grey.png": Image.fromarray(grey),
        "grey16.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "opaque.png": Image.fromarray(np.concatenate([image, alpha], -1)),
        "glass.png": Image.fromarray(np.concatenate([image, alpha // 2], -1)),
        "palette.gif": Image.fromarray(image).quantize(64),
        "bits.png": Image.fromarray(grey > 128),
    }
    for name, image in made.items():
        image.save(tmp_path / name)
    records = dict(zip(made, measured(capsys, *(tmp_path / name for name in made)), strict=True))
    assert {record["status"] for record in records.values()} == {"ok"}
    for name in ("pixel.png", "line.png"):
        assert records[name]["values"]["grid_energy"] is None and "grid_energy" in records[name]["unscorable"]
    assert set(records["flat.png"]["values"].values()) == {0.0}
    assert records["grey.png"]["values"] == records["grey16.png"]["values"]
    assert records["grey16.png"]["flags"] == ["16_bit"] and "transparent" in records["glass.png"]["flags"]
    assert records["opaque.png"]["flags"] == [] == records["grey.png"]["flags"]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_colour_of_16_bits_is_flagged(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    import cv2

    deep_path = tmp_path / f"deep.{suffix}"
    cv2.imwrite(str(deep_path), generated()[..., ::-1].astype(np.uint16) * 257)
    Image.fromarray(generated()).save(tmp_path / f"plain.{suffix}")
    deep, plain = measured(capsys, deep_path, tmp_path / f"plain.{suffix}")
    assert deep["flags"] == ["16_bit"] and plain["flags"] == [] and deep["values"] == plain["values"]


def test_a_tiff_is_lossy_or_not_by_its_coding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Image.fromarray(generated())
    image.save(tmp_path / "jpeg.tiff", compression="jpeg")
    image.save(tmp_path / "lzw.tiff", compression="tiff_lzw")
    lossy, lossless = measured(capsys, tmp_path / "jpeg.tiff", tmp_path / "lzw.tiff")
    assert "jpeg" in lossy["flags"] and lossless["flags"] == []


def test_an_image_that_viewers_turn_is_scored_as_stored_and_flagged(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(generated()).save(tmp_path / "turned.png", exif=exif)
    turned, plain = measured(capsys, tmp_path / "turned.png", png)
    assert turned["flags"] == ["turned"] and turned["values"] == plain["values"]


def test_a_mosaic_whose_pattern_does_not_repeat_is_flagged_for_its_seams_and_pixel_art_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mosaic = patterns.inject(generated()[None], patterns.offsets(256, 256), 20)[0]
    Image.fromarray(mosaic).save(tmp_path / "mosaic.png")
    Image.fromarray(pixel_art(256, 16, 0)).save(tmp_path / "art.png")
    broken, art = measured(capsys, tmp_path / "mosaic.png", tmp_path / "art.png")
    assert "seams" in broken["flags"] and "seams" not in art["flags"]
    assert min(record["values"]["blockiness"] for record in (broken, art)) > 1


def test_what_cannot_be_read_has_a_status_and_the_others_go_on(
    png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.png").write_bytes(png.read_bytes()[:5000])
    # A second frame without a width: Pillow answers with a TypeError, none of its own errors.
    frames, tiff = Image.fromarray(generated(64)), BytesIO()
    frames.save(tiff, "TIFF", save_all=True, append_images=[frames])
    head, tail = tiff.getvalue().rsplit(b"\0\1\4\0", 1)
    (tmp_path / "frame.tiff").write_bytes(head + b"\0\0\4\0" + tail)
    Image.fromarray(np.full((64, 64), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    bad = [tmp_path / name for name in ("text.png", "empty.png", "cut.png", "nan.tiff", "frame.tiff")]
    records = measured(capsys, *bad, png, code=5)
    assert [record["status"] for record in records] == ["unreadable"] * 5 + ["ok"]
    assert all(record["error"] and "\n" not in record["error"] and not record["values"] for record in records[:5])


def test_a_folder_stands_for_the_images_in_it(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (png.parent / "notes.txt").write_text("no image")
    (png.parent / "a.PNG").write_bytes(png.read_bytes())
    records = measured(capsys, png.parent)
    assert [Path(record["path"]).name for record in records] == ["a.PNG", "clean.png"]


def test_only_lossy_webp_is_flagged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Image.fromarray(generated())
    image.save(tmp_path / "lossless.webp", lossless=True)
    image.save(tmp_path / "profiled.webp", lossless=True, exif=b"Exif\0\0II*\0")
    image.save(tmp_path / "lossy.webp", quality=80)
    names = ("lossless.webp", "profiled.webp", "lossy.webp")
    records = measured(capsys, *(tmp_path / name for name in names))
    assert ["jpeg" in record["flags"] for record in records] == [False, False, True]


def test_a_patch_grid_wider_than_the_image_is_no_failure(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = measured(capsys, png, "--patch-grid", "1000")
    assert record["values"]["grid_energy"] is None and record["flags"] == ["not_whole_patches"]


def test_without_json_there_is_one_object_a_line(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verb("measure", [str(png), str(png)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and json.loads(lines[0]) == json.loads(lines[1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png"], "no such image"),
        (["FOLDER"], "no images in this folder"),
        (["PNG", "--baseline", "FOLDER"], "a folder"),
        ([], "Missing argument"),
        (["PNG", "--patch-grid", "1"], "patch-grid"),
        (["PNG", "--patch-grid", "x"], "patch-grid"),
        (["PNG", "--baseline", "gone.png"], "gone.png"),
        (["PNG", "--reference", __file__], "known format"),
        (["PNG", "--models", "miniatur"], "miniature"),
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
    Image.fromarray(meshed[:240, :240]).save(tmp_path / "twenty.png")
    (at_16,) = measured(capsys, tmp_path / "twenty.png")
    (at_20,) = measured(capsys, tmp_path / "twenty.png", "--patch-grid", "20")
    assert at_20["values"]["grid_severity"] > 1
    assert at_16["values"]["grid_severity"] < 0.3
