"""The transformer's blocks in fp8, which a CPU emulates."""

from pathlib import Path
from typing import Any

import pytest
import torch

from blendbench.core.errors import UsageError
from blendbench.models.families.z_image import fast
from blendbench.models.families.z_image.denoiser import ZImageDenoiser
from blendbench.models.fp8 import FP8, LARGEST, Fp8Linear, joined_layers, quantised
from blendbench.models.sets import ModelSet, load_model_set


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(outputs: int, inputs: int, seed: int = 0) -> Fp8Linear:
    return Fp8Linear(*quantised(values(outputs, inputs, seed=seed)))


def test_a_value_is_off_by_at_most_a_sixteenth_and_a_row_s_largest_by_nothing() -> None:
    rows = values(50, 300) * torch.logspace(-6, 4, 50)[:, None]
    rounded, scale = quantised(rows)
    assert (rounded.dtype, scale.dtype, scale.shape) == (FP8, torch.float32, (50, 1))
    found = rounded.float() * scale
    least = rows.abs().amax(1, keepdim=True) * 2**-6 / LARGEST  # the smallest normal number
    assert ((found - rows).abs() <= rows.abs() / 16 + least / 16).all()
    torch.testing.assert_close(found.abs().amax(1), rows.abs().amax(1))


def test_rows_of_zeros_stay_zeros_and_what_is_not_finite_stays_visible() -> None:
    assert not quantised(torch.zeros(2, 8))[0].float().any()
    assert not layer(4, 8)(torch.full((1, 8), torch.nan)).isfinite().any()


def test_a_token_s_rounding_does_not_depend_on_those_beside_it() -> None:
    rows = values(4, 32)
    rows[3] *= 1000
    one, scale = quantised(rows[:1])
    assert torch.equal(quantised(rows)[0][:1].float(), one.float())
    assert torch.equal(quantised(rows)[1][:1], scale)


def test_a_layer_is_near_the_linear_layer_and_keeps_shape_and_dtype() -> None:
    weight, x = values(48, 64), values(2, 5, 64, seed=1)
    exact = x @ weight.t()
    found = Fp8Linear(*quantised(weight))(x.bfloat16())
    assert (found.shape, found.dtype) == ((2, 5, 48), torch.bfloat16)
    assert (found.float() - exact).norm() / exact.norm() < 0.05
    assert not torch.equal(found.float(), exact.bfloat16().float())


def test_joined_layers_give_the_outputs_of_each() -> None:
    parts, x = [layer(16, 32, seed) for seed in range(3)], values(7, 32, seed=9)
    torch.testing.assert_close(joined_layers(*parts)(x), torch.cat([part(x) for part in parts], -1))


@pytest.fixture(scope="module")
def narrow(untrained: Path) -> ModelSet:
    return load_model_set(untrained, "cpu", {"steps": 2, "precision": "fp8"})


def images(models: ModelSet, **options: Any) -> torch.Tensor:
    denoiser = models.denoiser
    assert isinstance(denoiser, ZImageDenoiser)
    noise = torch.stack([denoiser.initial_latents(seed) for seed in (0, 1)])
    return denoiser.denoise([(values(n, 192, seed=n),) for n in (20, 31)], noise)


def test_a_set_in_fp8_has_cells_of_its_own_and_images_near_the_others(narrow: ModelSet, untrained: Path) -> None:
    wide = load_model_set(untrained, "cpu", {"steps": 2})
    assert narrow.sha256 == wide.sha256  # the weights are the same, the sampler is not
    assert narrow.sampler_record == {**wide.sampler_record, "precision": "fp8"}
    ours, theirs = images(narrow), images(wide)
    distance = float((ours - theirs).norm() / theirs.norm())
    assert 1e-5 < distance < 0.1
    assert torch.equal(images(load_model_set(untrained, "cpu", {"steps": 2, "precision": "fp8"})), ours)


def test_all_matrices_of_blocks_are_in_fp8_and_nothing_else(narrow: ModelSet) -> None:
    assert isinstance(narrow.denoiser, ZImageDenoiser)
    network = narrow.denoiser.pipeline.transformer
    found = {name for name, part in network.named_modules() if isinstance(part, Fp8Linear)}
    blocks = [f"{kind}.{i}" for kind in ("noise_refiner", "context_refiner", "layers") for i in range(8)]
    parts = [*(f"attention.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")), "feed_forward.w1"]
    expected = {f"{block}.{part}" for block in blocks for part in (*parts, "feed_forward.w2", "feed_forward.w3")}
    assert found == {name for name in expected if name.rsplit(".", 1)[0] in dict(network.named_modules())}
    assert len(found) == 10 * 7


def test_the_rearranged_transformer_takes_fp8(untrained: Path) -> None:
    models = load_model_set(untrained, "cpu", {"steps": 2, "precision": "fp8"})
    before = images(models)
    assert isinstance(models.denoiser, ZImageDenoiser)
    fast.rearrange(models.denoiser.pipeline.transformer)
    assert (images(models) - before).norm() / before.norm() < 0.01


def test_a_gpu_without_fp8_is_refused_in_one_line(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    models = load_model_set(untrained, "cpu", {"precision": "fp8"})
    models.device = "cuda"
    monkeypatch.setattr(ModelSet, "residency", None)
    with pytest.raises(UsageError, match=r"needs a GPU of compute capability 8\.9 or higher, this has 8\.0"):
        models._load_denoiser()


def test_memory_is_planned_for_weights_of_half_the_size(narrow: ModelSet, untrained: Path) -> None:
    wide = load_model_set(untrained, "cpu").memory_sizes().weights["generate"]
    assert narrow.memory_sizes().weights["generate"] < 0.7 * wide
