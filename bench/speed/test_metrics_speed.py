"""Speed of the metrics that need no network, in pictures a second on one core: `make bench`."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from pytest_benchmark.fixture import BenchmarkFixture

from blendbench.scoring import Batch, measure

PIXEL_METRICS = ["grid_energy", "blockiness", "color_drift", "effect_size"]


def pictures(n: int, size: int) -> torch.Tensor:
    """Smooth colours with a little noise: what a PNG of a photo costs to decode, not what white noise costs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, 3, size // 16, size // 16, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return (smooth * 240 + torch.rand(smooth.shape, generator=generator) * 15).byte()


@pytest.fixture(autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PIXEL_METRICS)
@pytest.mark.parametrize(("n", "size"), [(16, 128), (1, 1024)])
def test_one_metric(benchmark: BenchmarkFixture, name: str, n: int, size: int) -> None:
    made = pictures(n + 1, size)
    scores = benchmark(lambda: measure(Batch(made[:n], baselines=made[1:]), [name]))
    assert all(score.status == "ok" for score in scores[name])
    benchmark.extra_info["pictures_per_second"] = n / benchmark.stats["mean"]


@pytest.mark.parametrize(("n", "size"), [(16, 128), (1, 1024)])
def test_all_together_with_decoding(benchmark: BenchmarkFixture, n: int, size: int) -> None:
    files = []
    for picture in pictures(n + 1, size):
        file = BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "PNG")
        files.append(file)

    def decode_and_measure() -> dict[str, list[object]]:
        decoded = torch.from_numpy(np.stack([np.asarray(Image.open(file)) for file in files])).permute(0, 3, 1, 2)
        return measure(Batch(decoded[:n], baselines=decoded[1:]), PIXEL_METRICS)  # type: ignore[return-value]

    scores = benchmark(decode_and_measure)
    assert set(scores) == set(PIXEL_METRICS)
    benchmark.extra_info["pictures_per_second"] = n / benchmark.stats["mean"]
