"""The section `metrics` of `gpu.py`: what the metrics cost on a GPU at real sizes, and how far they are from the CPU.

CLIP ViT-L-14 and SigLIP2 SO400M-384 have random weights of their real sizes: their cost is the real one, their cosines
mean nothing but show how far CPU and GPU are apart. Nothing is downloaded.
"""

import contextlib
import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from blendbench.metrics import Batch, all_metrics, measure
from blendbench.models import scorers
from blendbench.models.half_stored import store_half
from blendbench.models.scorers import Encoder

TARGET_MS, TARGET_DIFFERENCE = 5.0, 1e-4
ARCHITECTURES = {"clip": "ViT-L-14", "siglip": "ViT-SO400M-16-SigLIP2-384"}
TEXTS = [
    "a red square on a grey ground",
    "a lighthouse in fog at dawn, oil on canvas",
    "two cats",
    "a brick wall",
    "portrait of an old sailor, film grain",
    "a neon sign that says OPEN",
    "mountains under a starry sky",
    "",
]
# How the encoders may compute: what autocast rounds to (None: nothing), whether TF32 products are allowed, and whether
# attention is in half precision where it can be.
WAYS: dict[str, tuple[torch.dtype | None, bool, bool]] = {
    "as shipped": (None, True, True),
    "tf32": (None, True, False),
    "float32": (None, False, False),
    "bfloat16 autocast": (torch.bfloat16, True, False),
    "float16 autocast": (torch.float16, True, False),
}
SHIPPED = "as shipped"


def readings(device: str, tiny: bool = False, repeats: int = 20) -> dict[str, Any]:
    """Measure distances from the CPU, times, and whether the targets are met.

    `tiny`: on small images and encoders.
    """
    size, batch = (128, 2) if tiny else (1024, 16)
    found: dict[str, Any] = {"images": {"batch": batch, "size": size}}
    made = varied_images(8, size)
    moved = varied_images(8, size, seed=1)
    found["difference"] = {"metrics": metric_differences(made, moved, device)}
    with torch.inference_mode():
        models = {name: random_model(name, one, device, tiny) for name, one in ARCHITECTURES.items()}
        wide = {name: copy.deepcopy(model).to("cpu") for name, model in models.items()}
        encoders = {
            name: encoder_of(model if device == "cpu" else stored(model), device, tiny)
            for name, model in models.items()
        }
        many = made.repeat(-(-batch // 8), 1, 1, 1)[:batch].to(device)
        others = moved.repeat(-(-batch // 8), 1, 1, 1)[:batch].to(device)
        found["milliseconds"] = timings(many, others, encoders, repeats)
        found["difference"]["cosines"] = cosine_differences(made, encoders, wide)
    found["verdict"] = verdict(found)
    return found


def varied_images(n: int, size: int, seed: int = 0) -> Tensor:
    """uint8 (n, 3, size, size): smooth colours, each with another texture: noise, mesh, flat, stripes, tiles, dark."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    made = []
    for k in range(n):
        coarse = torch.rand(1, 3, 4 << k % 4, 4 << k % 4, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")[0].clamp(0, 1) * 235 + 10
        texture = [
            torch.randn(3, size, size, generator=generator) * 6,
            8.0 * ((y % 16 == 0) | (x % 16 == 0)),
            torch.zeros(size, size),
            60.0 * ((x + y) % 24 < 12),
            torch.randn(16, 16, generator=generator).repeat(size // 16, size // 16) * 3,
            torch.randn(size // 16, size // 16, generator=generator).kron(torch.ones(16, 16)) * 2,
        ][k % 6]
        made.append((smooth * (0.4 if k == 6 else 1) + texture).round().clamp(0, 255).byte())
    made[-1][:] = torch.tensor([120, 130, 90], dtype=torch.uint8)[:, None, None] + seed
    return torch.stack(made)


def pixel_metrics() -> list[str]:
    """Return the metrics that read only pixels: of an image, its baseline and its reference."""
    networks = {"clip", "siglip", "judge", "probe", "prompts", "expects", "reference_expects"}
    return [name for name, one in all_metrics().items() if not any(map(one.reads, networks))]


def batch_of(made: Tensor, moved: Tensor) -> Batch:
    """Return images with their baselines, and one reference for all."""
    return Batch(made, baselines=moved, references=[moved[0] // 2] * len(made))


def metric_differences(made: Tensor, moved: Tensor, device: str) -> dict[str, dict[str, float]]:
    """By metric, the largest difference of CPU and device over the images: absolute, and over the CPU's value."""
    names = pixel_metrics()
    on = [measure(batch_of(made.to(d), moved.to(d)), names) for d in ("cpu", device)]
    found = {}
    for name in names:
        cpu, other = ([score.value for score in scores[name]] for scores in on)
        assert [value is None for value in cpu] == [value is None for value in other], name
        gaps = [(abs(a - b), abs(a)) for a, b in zip(cpu, other, strict=True) if a is not None and b is not None]
        absolute = max((gap for gap, _ in gaps), default=0.0)
        relative = max((gap / max(1.0, value) for gap, value in gaps), default=0.0)
        found[name] = {"absolute": absolute, "over_values_above_1": relative}
    return found


def random_model(name: str, architecture: str, device: str, tiny: bool) -> Any:
    """Build an encoder with random weights sampled on the device: on the CPU that takes a minute."""
    torch.manual_seed(0)
    with torch.device(device):
        model = tiny_model(name) if tiny else open_clip.create_model(architecture, device=device, precision="fp32")
    return model.eval()


def stored(model: nn.Module) -> nn.Module:
    """Return a network as the engine keeps it on a GPU."""
    return store_half(model).to(memory_format=torch.channels_last)


def encoder_of(model: Any, device: str, tiny: bool) -> Encoder:
    """Return a network as the engine's scorers use it."""
    settings = dict(open_clip.get_model_preprocess_cfg(model)) if not tiny else dict(_TINY_SETTINGS)
    side = settings["size"]
    settings["size"] = (side, side) if isinstance(side, int) else tuple(side)
    settings["interpolation"] = settings.get("interpolation") or "bicubic"
    context = int(model.context_length)
    return Encoder("random", context, 1.0, 0.0, device, model, _words(context, 1000 if tiny else 49000), settings)


_TINY_SETTINGS: dict[str, Any] = {
    "size": 32,
    "mean": (0.5,) * 3,
    "std": (0.5,) * 3,
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def tiny_model(name: str) -> Any:
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text = {"context_length": 16, "vocab_size": 1001, "width": 64, "heads": 2, "layers": 2}
    siglip = {"init_logit_bias": -10.0} if name == "siglip" else {}
    return open_clip.model.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text, **siglip)


def _words(context: int, known: int) -> Callable[[list[str]], Tensor]:
    """Stands in for the tokenizers, which would be downloaded: a number for each word, the largest at the end."""

    def tokens(texts: list[str]) -> Tensor:
        rows = torch.zeros(len(texts), context, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [1 + sum(word.encode()) * 31 % (known - 2) for word in text.split()][: context - 1]
            row[: len(ids) + 1] = torch.tensor([*ids, known - 1])
        return rows

    return tokens


def timings(many: Tensor, others: Tensor, encoders: dict[str, Encoder], repeats: int) -> dict[str, Any]:
    """Return milliseconds an image, median of `repeats` after a warm-up."""
    known = all_metrics()
    drift = pixel_metrics()
    artifacts = [name for name in drift if not known[name].info.paired]

    def cost(work: Callable[[], Any], count: int = repeats) -> float:
        return round(median_seconds(work, many.device, count) * 1000 / len(many), 4)

    def metrics(names: list[str]) -> Callable[[], Any]:
        return lambda: measure(batch_of(many, others), names)

    def judges() -> None:
        for one in encoders.values():
            one.encode_images(many)

    def together() -> None:
        metrics(artifacts)()
        judges()

    found: dict[str, Any] = {
        "artifact metrics": cost(metrics(artifacts)),
        "artifact and drift metrics": cost(metrics(drift)),
        "each metric alone": {name: cost(metrics([name]), max(3, repeats // 4)) for name in drift},
        "preparation of the encoders": {
            name: cost(partial(one._prepared, many), max(3, repeats // 4)) for name, one in encoders.items()
        },
        "encoders": {},
        "artifact metrics + CLIP + SigLIP": {},
    }
    for way in WAYS:
        # What is as shipped counts; of the others a few repeats are enough.
        count = repeats if way == SHIPPED else max(3, repeats // 4)
        with computing(way, many.device):
            found["encoders"][way] = {
                name: cost(partial(one.encode_images, many), max(3, repeats // 4)) for name, one in encoders.items()
            }
            found["artifact metrics + CLIP + SigLIP"][way] = cost(together, count)
    return found


def median_seconds(work: Callable[[], Any], device: torch.device, count: int) -> float:
    taken = []
    for k in range(count + 3):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        if k >= 3:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def computing(way: str, device: torch.device) -> Iterator[None]:
    """Let every encoder compute in one of WAYS, whatever it does by itself."""
    dtype, products, narrow = WAYS[way]
    rounding = torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()
    with (
        mock.patch.object(scorers, "_tensor_cores", scorers._tensor_cores if products else contextlib.nullcontext),
        mock.patch.object(scorers, "HalfAttention", scorers.HalfAttention if narrow else contextlib.nullcontext),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=products),
        rounding,
    ):
        yield


def cosine_differences(
    made: Tensor, encoders: dict[str, Encoder], wide: dict[str, Any]
) -> dict[str, dict[str, dict[str, float]]]:
    """Measure, by encoder and way, the largest difference from the cosines of its `wide` weights in float32.

    Those are computed on the CPU, with texts and with images.

    `preparation` is what resizing on the device alone does to the CPU's cosines.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, one in encoders.items():
        rows = {way: _rows(one, made, way) for way in WAYS}
        prepared, model = one._prepared(made).cpu(), wide[name]
        there = replace(one, device="cpu", _model=model, _texts={})
        truth = _rows(there, made, "float32")
        images = torch.nn.functional.normalize(model.encode_image(prepared).float(), dim=-1).numpy()
        rows["preparation"] = (images, truth[1])
        found[name] = {way: _gap(row, truth) for way, row in rows.items()}
    return found


def _rows(one: Encoder, made: Tensor, way: str) -> tuple[np.ndarray, np.ndarray]:
    one._texts.clear()
    with computing(way, torch.device(one.device)):
        return one.encode_images(made).cpu().numpy(), one.encode_texts(TEXTS).cpu().numpy()


def _gap(one: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    (images, texts), (true_images, true_texts) = one, truth
    with_texts = np.abs(images @ texts.T - true_images @ true_texts.T).max()
    with_images = np.abs(images @ images.T - true_images @ true_images.T).max()
    return {"images_with_texts": float(with_texts), "images_with_images": float(with_images)}


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    """Return whether the targets are met as shipped; metrics by the difference over values above 1."""
    gaps = [row["over_values_above_1"] for row in found["difference"]["metrics"].values()]
    cosines = [max(row[SHIPPED].values()) for row in found["difference"]["cosines"].values()]
    cost = found["milliseconds"]["artifact metrics + CLIP + SigLIP"][SHIPPED]
    return {
        "milliseconds_an_image": cost,
        "fast_enough": cost <= TARGET_MS,
        "largest_difference_of_metrics": max(gaps),
        "metrics_agree": max(gaps) <= TARGET_DIFFERENCE,
        "largest_difference_of_cosines": max(cosines),
        "cosines_agree": max(cosines) <= TARGET_DIFFERENCE,
        "finite": all(math.isfinite(gap) for gap in [*gaps, *cosines]),
    }
