"""Measure the sections of `gpu.py`: `python bench/speed/gpu_sections.py --models DIR --work DIR JOBS`.

JOBS is a JSON list of {"name", "section", "options"}. Each job prints one line of JSON when it is through: {"section":
its name, "status", "seconds", "reading"}. On a machine without a GPU all of them run on a tiny model set: the figures
mean nothing there, but the script is known to work.
"""

import argparse
import functools
import gc
import io
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import gpu_commands
import gpu_equal
import gpu_loops
import gpu_metrics
import numpy as np
import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from PIL import Image
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from blendbench.models.families.z_image import fast
from blendbench.models.loading import quiet_loading
from blendbench.models.sets import load_model_set

CAPTION = 64  # tokens of the caption in single steps
Reading = dict[str, Any]


class Meter:
    """Times of a function on a device, in milliseconds."""

    def __init__(self, device: str) -> None:
        self.device = device

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def ms(self, call: Callable[[], object], repeats: int = 10, warmup: int = 3) -> float:
        """Median over `repeats` calls."""
        for _ in range(warmup):
            call()
        times = []
        for _ in range(repeats):
            self.wait()
            began = time.perf_counter()
            call()
            self.wait()
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)


def ceiling(options: argparse.Namespace) -> Reading:
    """Measure the best rate of a bfloat16 matrix product, TFLOP/s, over square ones and the transformer's own shape.

    Measured in bursts of tens of milliseconds, which a card at its power limit does not keep up: see `sustained`.
    """
    meter, rates = Meter(options.device), {}
    shapes = [(8192, 8192, 8192), (16384, 8192, 8192), (4160, 3840, 10240)]
    if options.device == "cpu":
        shapes = [(256, 256, 256)]
    for m, k, n in shapes:
        twenty, flops = _products(options.device, m, k, n)
        rates[f"{m}x{k}x{n}"] = flops / meter.ms(twenty, 5) / 1e9
    return {"tflops": max(rates.values()), "by_shape": rates}


def sustained(meter: Meter) -> float:
    """Measure the sustained rate of a bfloat16 matrix product, TFLOP/s, over two seconds."""
    side = 256 if meter.device == "cpu" else 8192
    twenty, flops = _products(meter.device, side, side, side)
    return flops / meter.ms(twenty, 65) / 1e9


def _products(device: str, m: int, k: int, n: int) -> tuple[Callable[[], None], float]:
    """Twenty products of (m, k) and (k, n), and their floating-point operations."""
    a = torch.randn(m, k, device=device, dtype=torch.bfloat16)
    b = torch.randn(k, n, device=device, dtype=torch.bfloat16)

    def twenty() -> None:
        for _ in range(20):
            torch.mm(a, b)

    return twenty, 20 * 2 * m * k * n


def transformer(options: argparse.Namespace) -> Reading:
    """Time one transformer step at each size, by the library and in each of the engine's ways.

    For each: its FLOPs; the time that they need at the rate that the card keeps up, measured between two runs of the
    step, and at its best rate; milliseconds eager, compiled, and replayed as one CUDA graph, which is what is left when
    launching costs nothing; seconds until the first compiled call returned; and how far the results are from the eager
    one. At the first size also how far both are from float32's.
    """
    found: Reading = {"ceiling": ceiling(options)}
    network, meter = _part(options, "transformer", ZImageTransformer2DModel), Meter(options.device)
    found |= {"parameters": sum(p.numel() for p in network.parameters()), "caption_tokens": CAPTION}
    steps = {f"{side}_batch_{batch}": _step(network, side, batch) for side, batch in options.shapes}
    expected, first = {}, next(iter(steps))
    with torch.inference_mode():
        truth = _in_float32(network, steps[first])
        for name, step in steps.items():
            with FlopCounterMode(display=False) as counter:
                expected[name] = step().clone()
            found[name] = {"tflop": counter.get_total_flops() / 1e12, "eager_ms": meter.ms(step)}
        found[first]["eager_from_float32"] = distance(expected[first], truth)
        fast.rearrange(network)
        for name, step in steps.items():
            found[name]["rearranged_from_eager"] = distance(step(), expected[name])
        fast.compile_blocks(network)
        for name, step in steps.items():
            began = time.perf_counter()
            made = step()
            found[name]["compile_seconds"] = time.perf_counter() - began
            found[name]["compiled_from_eager"] = distance(made, expected[name])
            if name == first:
                found[name]["compiled_from_float32"] = distance(made, truth)
            found[name] |= _against_floor(step, meter, found[name]["tflop"], found["ceiling"]["tflops"])
        if options.device == "cuda":
            for name, step in steps.items():
                found[name] |= _graphed(step, meter)
    return found


def _in_float32(network: nn.Module, step: Callable[[], Tensor]) -> Tensor:
    """Return the step's result by the same weights in float32; widening and rounding back leaves them as they were."""
    dtype = next(network.parameters()).dtype
    network.float()
    truth = step().clone()
    network.to(dtype)
    return truth


def _against_floor(step: Callable[[], object], meter: Meter, tflop: float, best: float) -> Reading:
    """Time a step before and after the products that give its floor: a warm card slows both down."""
    seconds = 1.0 if meter.device == "cuda" else 0.0
    repeats = max(5, round(seconds * 1000 / meter.ms(step, 3)))
    before = meter.ms(step, repeats)
    rate = sustained(meter)
    after = meter.ms(step, repeats)
    return {
        "compiled_ms": (before + after) / 2,
        "sustained_tflops": rate,
        "floor_ms": tflop / rate * 1e3,
        "best_floor_ms": tflop / best * 1e3,
    }


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference of two results over the norm of the second."""
    return float((ours.float() - theirs.float()).norm() / theirs.float().norm())


def _graphed(step: Callable[[], object], meter: Meter) -> Reading:
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        return {"graph_error": str(error).splitlines()[0]}
    return {"graph_ms": meter.ms(graph.replay)}


def attention(options: argparse.Namespace) -> Reading:
    """Time the transformer's attention by each kernel, and compare it with the flash one."""
    meter, found = Meter(options.device), {}
    kernels = {"flash": SDPBackend.FLASH_ATTENTION}
    if options.device == "cuda":
        kernels["cudnn"] = SDPBackend.CUDNN_ATTENTION
    for side, batch in options.shapes:
        shape = (batch, 30, (side // 16) ** 2 + CAPTION, 128)
        inputs = torch.randn(3, *shape, device=options.device, dtype=torch.bfloat16)
        results = {}
        for name, kernel in kernels.items():
            with sdpa_kernel(kernel):
                results[name] = scaled_dot_product_attention(*inputs)
                found[f"{name}_{side}_batch_{batch}_ms"] = meter.ms(partial(scaled_dot_product_attention, *inputs))
        for name, result in results.items():
            if name != "flash":
                found[f"{name}_{side}_batch_{batch}_from_flash"] = distance(result, results["flash"])
    return found


def _part(options: argparse.Namespace, part: str, kind: Any) -> Any:
    models = load_model_set(options.models, options.device)
    with quiet_loading():
        network = kind.from_pretrained(str(models.component("pipeline")), subfolder=part, dtype=models.torch_dtype)
    return network.to(options.device).eval()


def _step(network: Any, side: int, batch: int) -> Callable[[], Tensor]:
    weight = next(network.parameters())
    config = network.config
    made: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
    latents = torch.randn(batch, config.in_channels, 1, side // 8, side // 8, **made)
    captions = torch.randn(batch, CAPTION, config.cap_feat_dim, **made)
    moment = torch.full((batch,), 0.5, **made)

    def step() -> Tensor:
        dtype = next(network.parameters()).dtype
        given = list(latents.to(dtype)), moment.to(dtype), list(captions.to(dtype))
        return torch.stack(network(*given, return_dict=False)[0])

    return step


def vae(options: argparse.Namespace) -> Reading:
    """Measure decoding of latents as the library and as blendbench does it, and how far apart the results are.

    At the first size also how far both are from float32's.
    """
    network, meter = _part(options, "vae", AutoencoderKL), Meter(options.device)
    channels, found = network.config.latent_channels, {}
    generator = torch.Generator().manual_seed(0)
    latents = {
        f"decode_{side}_batch_{batch}": torch.randn(batch, channels, side // 8, side // 8, generator=generator).to(
            options.device, network.dtype
        )
        for side, batch in options.shapes
    }

    def decoded(given: Tensor) -> Tensor:
        made: Tensor = network.decode(given.to(network.dtype), return_dict=False)[0]
        return made

    eager, first = {}, next(iter(latents))
    with torch.inference_mode():
        truth = _in_float32(network, functools.partial(decoded, latents[first]))
        for name, given in latents.items():
            eager[name] = decoded(given)
            found[f"{name}_ms"] = meter.ms(functools.partial(decoded, given), 5)
        fast.compile_decoder(network)
        for name, given in latents.items():
            made = decoded(given)
            found[f"{name}_compiled_from_eager"] = distance(made, eager[name])
            if name == first:
                found |= {f"{name}_eager_from_float32": distance(eager[name], truth)}
                found |= {f"{name}_compiled_from_float32": distance(made, truth)}
            found[f"{name}_compiled_ms"] = meter.ms(functools.partial(decoded, given), 5)
    return found


def encoders(options: argparse.Namespace) -> Reading:
    """Time one prompt, one image, and the scorers at batch 1 and 16."""
    meter, side, prompt = (
        Meter(options.device),
        options.shapes[0][0],
        "a lighthouse on a cliff at dusk, from the sea " * 5,
    )
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    image = options.work / "noise.png"
    Image.fromarray(noise).save(image)

    def text() -> Reading:
        encoder = load_model_set(options.models, options.device).text
        return {"text_ms": meter.ms(lambda: encoder.encode(prompt))}

    def vision() -> Reading:
        encoder = load_model_set(options.models, options.device).vision
        return {"vision_language_ms": meter.ms(lambda: encoder.encode(image, prompt, (-2,)), 5)}

    def scorer(name: str) -> Reading:
        encoder, found = getattr(load_model_set(options.models, options.device), name), {}
        for batch in (1, 16):
            pixels = torch.from_numpy(noise).permute(2, 0, 1).to(options.device).expand(batch, -1, -1, -1).contiguous()
            took = meter.ms(functools.partial(encoder.encode_images, pixels))
            found[f"{name}_batch_{batch}_ms_an_image"] = took / batch
        return found

    found: Reading = {}
    # One model at a time is in memory: each is gone with the frame of its call.
    for part in (text, vision, functools.partial(scorer, "clip"), functools.partial(scorer, "siglip")):
        found |= part()
        gc.collect()
    return found


def host(options: argparse.Namespace) -> Reading:
    """Time the plain loop's CPU work on one image: noise, the worst case of a PNG, or smooth colours."""
    meter, side = Meter("cpu"), options.shapes[0][0]
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 8)
    gray = noise.mean(-1, dtype=np.float32)
    return {
        "png_noise_ms": meter.ms(lambda: Image.fromarray(noise).save(io.BytesIO(), "PNG"), 3, 1),
        "png_smooth_ms": meter.ms(lambda: Image.fromarray(smooth).save(io.BytesIO(), "PNG"), 3, 1),
        "lab_ms": meter.ms(lambda: cv2.cvtColor(noise.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), 3, 1),
        "fft_ms": meter.ms(lambda: np.fft.fft2(gray), 3, 1),
    }


SECTIONS: dict[str, Callable[[argparse.Namespace], Reading]] = {
    "transformer": transformer,
    "attention": attention,
    "independence": gpu_equal.independence,
    "vae": vae,
    "encoders": encoders,
    "host": host,
    "plain": gpu_loops.plain,
    "engine": gpu_loops.engine,
    "memory": gpu_loops.memory,
    "difference": gpu_loops.difference,
    "experiments": gpu_loops.experiments,
    "fp8": gpu_loops.fp8,
    "resident": gpu_loops.resident,
    "bare_imports": gpu_commands.bare_imports,
    "first_run": gpu_commands.first_run,
    "cells": gpu_commands.cells,
    "idea": gpu_commands.idea,
    "plain_command": gpu_commands.plain_command,
    "equal": lambda options: gpu_equal.compare(options.models, options.device, gpu_equal.guided(options)),
    "metrics": lambda options: gpu_metrics.readings(options.device, tiny=options.device == "cpu"),
}
# What sections read, where a job says nothing else: `shapes`: SIDExBATCH; `budget`: seconds of the plain loop;
# `memory_budget`: GiB; `precision`: of the sampler; `repeats`: of a command; `items`, `cells`: only the first so many;
# `names` of experiments.
DEFAULTS: dict[str, Any] = {
    "shapes": ["1024x1"],
    "budget": 30.0,
    "memory_budget": None,
    "suite": "standard",
    "items": None,
    "cells": None,
    "names": None,
    "precision": None,
    "repeats": 3,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=json.loads)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for images and results, which sections share")
    given = parser.parse_args()
    given.device = "cuda" if torch.cuda.is_available() else "cpu"
    for job in given.jobs:
        began, reading, status = time.perf_counter(), None, "ok"
        options = argparse.Namespace(**{**vars(given), **DEFAULTS, **job["options"]})
        options.shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes]
        try:
            reading = SECTIONS[job["section"]](options)
        except Exception as error:  # of whatever library: the other sections are measured all the same
            status = f"failed: {type(error).__name__}: {str(error).splitlines()[:1]}"
        gc.collect()
        if given.device == "cuda":
            torch.cuda.empty_cache()
        seconds = time.perf_counter() - began
        print(
            json.dumps({"section": job["name"], "status": status, "seconds": seconds, "reading": reading}), flush=True
        )


if __name__ == "__main__":
    main()
