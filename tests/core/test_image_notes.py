"""Prompt and seed are read from what generators write into files."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from blendbench.core.errors import UsageError
from blendbench.core.image_notes import ImageNotes, image_notes

PARAMETERS = (
    "a cat, <lora:style:0.8> in the\nsnow\nNegative prompt: dog, Seed: 1\n"
    "Steps: 9, Sampler: Euler, Seed: 4294967296, Size: 64x64"
)
KSAMPLER = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 18446744073709551615,
            "positive": ["10", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
            "model": ["4", 0],
        },
    },
    "4": {"class_type": "Loader", "inputs": {"name": "z.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["12", 0], "clip": ["4", 0]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["4", 0]}},
    "10": {"class_type": "ControlNetApplyAdvanced", "inputs": {"negative": ["7", 0], "positive": ["6", 0]}},
    "12": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a cat  in the snow"}},
}
CUSTOM = {
    "1": {"inputs": {"noise": ["2", 0], "guider": ["3", 0], "latent_image": ["9", 0]}},
    "2": {"inputs": {"noise_seed": 7}},
    "3": {"inputs": {"conditioning": ["4", 0], "model": ["8", 0]}},
    "4": {"inputs": {"text": "a fox"}},
}
# A second sampler enlarges what the first one made.
TWO = KSAMPLER | {
    "20": {"inputs": {"seed": 5, "positive": ["21", 0], "latent_image": ["22", 0]}},
    "21": {"inputs": {"text": "details"}},
    "22": {"inputs": {"samples": ["3", 0]}},
}


def png(path: Path, texts: dict[str, str]) -> Path:
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    ("texts", "prompt", "seed"),
    [
        ({"parameters": PARAMETERS}, "a cat, in the snow", 2**32),
        ({"parameters": "a cat"}, "a cat", None),
        ({"parameters": "a cat\nSteps: 20, Sampler: x"}, "a cat", None),
        ({"parameters": 'a cat\nSteps: 20, Seed: 5, Template: "a {cat}, Seed: 7"'}, "a cat", 5),
        ({"prompt": json.dumps(KSAMPLER), "workflow": "{}"}, "a cat in the snow", 2**64 - 1),
        ({"prompt": json.dumps(CUSTOM)}, "a fox", 7),
        ({"prompt": json.dumps(TWO)}, "a cat in the snow", 2**64 - 1),
        ({"invokeai_metadata": json.dumps({"positive_prompt": "a hen", "seed": 3})}, "a hen", 3),
        ({"prompt": "ein Huhn, süß", "seed": "12"}, "ein Huhn, süß", 12),
        ({"prompt": "x", "seed": "-1"}, "x", None),
        ({"prompt": "x", "seed": "9" * 30}, "x", None),
        ({"Software": "other"}, None, None),
        (
            {"prompt": json.dumps({"1": {"inputs": {"seed": True, "positive": [], "latent_image": None}}, "2": 3})},
            None,
            None,
        ),
        ({"prompt": "[" * 5000}, "[" * 5000, None),
    ],
)
def test_png_texts(tmp_path: Path, texts: dict[str, str], prompt: str | None, seed: int | None) -> None:
    assert image_notes(png(tmp_path / "a.png", texts)) == ImageNotes(prompt, seed)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
@pytest.mark.parametrize("order", ["be", "le"])
def test_exif_of_automatic1111_and_comfyui(tmp_path: Path, suffix: str, order: str) -> None:
    image, exif = Image.new("RGB", (8, 8)), Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + PARAMETERS.encode(f"utf-16-{order}")
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    assert image_notes(tmp_path / f"a.{suffix}") == ImageNotes("a cat, in the snow", 2**32)
    graph = Image.Exif()
    graph[0x0110] = "prompt:" + json.dumps(CUSTOM)
    graph[0x010F] = "workflow:" + json.dumps({"nodes": []})
    image.save(tmp_path / f"b.{suffix}", exif=graph)
    assert image_notes(tmp_path / f"b.{suffix}") == ImageNotes("a fox", 7)


def test_a_circle_of_nodes_ends(tmp_path: Path) -> None:
    circle: dict[str, Any] = {
        "1": {"inputs": {"seed": 1, "positive": ["2", 0]}},
        "2": {"inputs": {"a": ["2", 0], "b": ["1", 0]}},
    }
    assert image_notes(png(tmp_path / "a.png", {"prompt": json.dumps(circle)})) == ImageNotes(None, 1)


def test_what_is_no_image_has_no_notes_and_a_missing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert image_notes(tmp_path / "a.png") == ImageNotes()
    with pytest.raises(UsageError, match="no such file"):
        image_notes(tmp_path / "b.png")
