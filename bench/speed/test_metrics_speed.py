"""Speed of the metrics: images a second on one core, against plain per-image code, and on a GPU: `make bench`."""

import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from blendbench.metrics import Batch, all_metrics, measure

sys.path.append(str(Path(__file__).parents[2] / "tests" / "metrics"))
import scoring_reference as reference

NETWORKS = ("clip", "siglip", "judge", "probe", "prompts", "expects", "reference_expects")
# Every metric that reads nothing but the pixels of an image, its baseline and its reference.
PIXEL_METRICS = [name for name, known in all_metrics().items() if not any(map(known.reads, NETWORKS))]
# Strategies that share one text_only image, as on the core benchmark.
SHARED = 8
MIN_IMAGES_A_SECOND = 6
MIN_RATIO = 5
MAX_GPU_SECONDS = 0.005


def images(n: int, size: int) -> torch.Tensor:
    """Smooth colours with a little noise: what a PNG of a photo costs to decode, not what white noise costs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, size // 16, size // 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return (smooth * 240 + torch.rand(smooth.shape, generator=generator) * 15).byte()


def encoded(made: torch.Tensor) -> list[BytesIO]:
    files = []
    for image in made:
        files.append(BytesIO())
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(files[-1], "PNG")
    return files


def decoded(files: list[BytesIO]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2)


def decode_and_measure(files: list[BytesIO], baseline: BytesIO) -> dict[str, list[object]]:
    """Images of one item and seed under several strategies, with the text_only image that they share."""
    made = decoded(files)
    against = decoded([baseline])
    references = [against[0] // 2] * len(made)
    batch = Batch(made, baselines=against.expand(len(made), -1, -1, -1), references=references)
    return measure(batch, PIXEL_METRICS)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PIXEL_METRICS)
@pytest.mark.parametrize(("n", "size"), [(16, 128), (1, 1024)])
def test_one_metric(benchmark: BenchmarkFixture, name: str, n: int, size: int) -> None:
    made = images(n + 1, size)
    references = [made[0] // 2] * n
    scores = benchmark(lambda: measure(Batch(made[:n], baselines=made[1:], references=references), [name]))
    assert all(score.status == "ok" for score in scores[name])
    assert benchmark.stats is not None
    benchmark.extra_info["images_per_second"] = n / benchmark.stats["mean"]


@pytest.mark.parametrize(("n", "size"), [(16, 128), (1, 1024), (SHARED, 1024)])
def test_all_together_with_decoding(benchmark: BenchmarkFixture, n: int, size: int) -> None:
    *files, baseline = encoded(images(n + 1, size))
    scores = benchmark.pedantic(decode_and_measure, (files, baseline), rounds=3, warmup_rounds=1)
    assert set(scores) == set(PIXEL_METRICS)
    assert benchmark.stats is not None
    speed = n / benchmark.stats["min"]
    benchmark.extra_info["images_per_second"] = speed
    # A lone pair decodes and reads two images for one score.
    if n == SHARED:
        assert speed >= MIN_IMAGES_A_SECOND


def test_several_times_faster_than_plain_code(benchmark: BenchmarkFixture) -> None:
    """The oracle of the tests: scikit-image, OpenCV and scipy, one image at a time, with the same definitions."""
    names = list(reference.ORACLES)
    file, baseline = encoded(images(2, 1024))

    def ours() -> None:
        measure(Batch(decoded([file]), baselines=decoded([baseline])), names)

    def plain() -> None:
        first, second = (np.asarray(Image.open(x)) for x in (file, baseline))
        for oracle in reference.ORACLES.values():
            oracle(first, second)

    benchmark.pedantic(ours, rounds=3, warmup_rounds=1)
    start = time.perf_counter()
    plain()
    assert benchmark.stats is not None
    ratio = (time.perf_counter() - start) / benchmark.stats["min"]
    benchmark.extra_info["times_faster"] = ratio
    assert ratio >= MIN_RATIO


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_with_clip_and_siglip_of_real_size(benchmark: BenchmarkFixture) -> None:
    """Random weights: their values mean nothing, their cost is the real one. The limit is for an H200."""
    import open_clip

    from blendbench.models.scorers import Encoder

    def encoder(architecture: str) -> Encoder:
        model = open_clip.create_model(architecture, device="cuda").eval()
        settings = {**open_clip.get_model_preprocess_cfg(model)}
        settings["size"] = (settings["size"],) * 2 if isinstance(settings["size"], int) else tuple(settings["size"])
        tokenizer = open_clip.get_tokenizer(architecture) if "SigLIP" not in architecture else None
        return Encoder(architecture, 64, 1.0, 0.0, "cuda", model, tokenizer, settings)

    encoders = [encoder("ViT-L-14"), encoder("ViT-SO400M-16-SigLIP2-384")]
    made = images(17, 1024).cuda()
    artifacts = [name for name in PIXEL_METRICS if not all_metrics()[name].info.paired]

    def all_of_it() -> None:
        measure(Batch(made[:16], baselines=made[1:]), artifacts)
        for one in encoders:
            one.encode_images(made[:16])
        torch.cuda.synchronize()

    benchmark.pedantic(all_of_it, rounds=10, warmup_rounds=3)
    assert benchmark.stats is not None
    seconds = benchmark.stats["min"] / 16
    benchmark.extra_info["seconds_an_image"] = seconds
    assert seconds <= MAX_GPU_SECONDS
