"""The rearranged and the compiled networks compute what the library's do."""

import copy
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from blendbench.models import loading
from blendbench.models.families.z_image import denoiser as denoiser_module
from blendbench.models.families.z_image import fast
from blendbench.models.families.z_image.denoiser import NO_GUIDANCE, Guidance, ZImageDenoiser
from blendbench.models.families.z_image.injection import injected, refined
from blendbench.models.sets import load_model_set
from miniature import architecture


def transformer(dtype: torch.dtype) -> Any:
    torch.manual_seed(0)
    network = architecture.transformer().eval()
    for parameter in network.parameters():  # what starts at zero would hide what it multiplies
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return network.to(dtype)


def call(network: torch.nn.Module, lengths: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = [torch.randn(16, 1, 16, 16, generator=generator).to(dtype) for _ in lengths]
    captions = [torch.randn(n, architecture.HIDDEN, generator=generator).to(dtype) for n in lengths]
    with torch.inference_mode():
        return torch.stack(network(latents, torch.full((len(lengths),), 0.4), captions, return_dict=False)[0]).float()


@pytest.mark.parametrize("lengths", [(20, 31), (20, 50)], ids=["one padded length", "two: a mask is needed"])
def test_the_rearranged_transformer_gives_the_same_velocities(lengths: tuple[int, ...]) -> None:
    network = transformer(torch.float32)
    expected = call(network, lengths, torch.float32)
    fast.rearrange(network)
    torch.testing.assert_close(call(network, lengths, torch.float32), expected, atol=2e-5, rtol=1e-4)


def test_in_bfloat16_it_is_as_far_from_the_truth_as_the_library_s() -> None:
    truth = call(transformer(torch.float32), (20, 31), torch.float32)
    network = transformer(torch.bfloat16)
    library = (call(network, (20, 31), torch.bfloat16) - truth).norm()
    fast.rearrange(network)
    assert (call(network, (20, 31), torch.bfloat16) - truth).norm() < 1.2 * library


def test_it_holds_the_weights_once() -> None:
    network = transformer(torch.float32)
    before = sum(p.numel() for p in network.parameters())
    fast.rearrange(network)
    assert sum(p.numel() for p in network.parameters()) == before


def test_joining_frees_what_was_read(untrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []
    read_network, joined = loading.read_network, fast._joined

    def reading(*given: Any) -> dict[str, torch.Tensor]:
        weights = read_network(*given)
        read.extend(map(weakref.ref, weights.values()))
        return weights

    def joining(*layers: Any) -> Any:
        held.append(sum(weight() is not None for weight in read))
        return joined(*layers)

    monkeypatch.setattr(loading, "read_network", reading)
    monkeypatch.setattr(fast, "_joined", joining)
    models = load_model_set(untrained, "cpu")
    family, folder = models.family, Path(str(models.component("pipeline")))
    family.load_denoiser(folder, models.file, torch.float32, "cpu", compiled=True, recorded=False)
    assert len(read) > 100
    assert set(held) == {0}  # only the networks hold them, or both would be in memory


def test_captions_can_be_injected_as_before() -> None:
    plain = transformer(torch.float32)
    quick = copy.deepcopy(plain)
    fast.rearrange(quick)
    outcomes = []
    for network in (plain, quick):
        rows = [torch.randn(20, architecture.HIDDEN, generator=torch.Generator().manual_seed(3))] * 2
        with torch.inference_mode():
            caption = refined(network, rows, torch.zeros(2, 16, 16, 16))
        with injected(network, caption, (1, 2)):
            outcomes.append(call(network, (20, 31), torch.float32))
    torch.testing.assert_close(*outcomes, atol=2e-5, rtol=1e-4)
    assert (outcomes[0] - call(plain, (20, 31), torch.float32)).abs().max() > 1e-3


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Graphs that are made of what is compiled; they run eagerly, because making kernels takes minutes on a CPU."""
    torch._dynamo.reset()
    counter, compile_ = CompileCounter(), torch.compile

    def eager(call: Callable[..., Any], **settings: Any) -> Any:
        return compile_(call, **{name: value for name, value in settings.items() if name != "options"}, backend=counter)

    monkeypatch.setattr(torch, "compile", eager)
    yield counter
    torch._dynamo.reset()


def test_compiled_blocks_share_two_graphs_for_captions_of_all_lengths(counter: Any) -> None:
    network = transformer(torch.float32)
    lengths = [(20, 31), (50, 60), (100, 100), (190, 170)]
    expected = [call(network, pair, torch.float32) for pair in lengths]
    fast.rearrange(network)
    fast.compile_blocks(network)
    for pair, velocities in zip(lengths, expected, strict=True):
        torch.testing.assert_close(call(network, pair, torch.float32), velocities, atol=2e-5, rtol=1e-4)
    assert counter.frame_count == 2  # with and without modulation


def test_captions_are_injected_around_compiled_blocks_without_compiling_again(counter: Any) -> None:
    plain = transformer(torch.float32)
    quick = copy.deepcopy(plain)
    fast.rearrange(quick)
    fast.compile_blocks(quick)
    call(quick, (20, 31), torch.float32)
    outcomes = []
    for network in (plain, quick):
        rows = [torch.randn(20, architecture.HIDDEN, generator=torch.Generator().manual_seed(3))] * 2
        with torch.inference_mode():
            caption = refined(network, rows, torch.zeros(2, 16, 16, 16))
        with injected(network, caption, (1, 2)):
            outcomes.append(call(network, (20, 31), torch.float32))
    torch.testing.assert_close(*outcomes, atol=2e-5, rtol=1e-4)
    assert counter.frame_count == 2


@pytest.mark.parametrize("guidance", [NO_GUIDANCE, Guidance(2.0)], ids=["alone", "guided"])
def test_a_batch_size_is_warmed_up_once_and_then_no_caption_compiles(
    counter: Any, untrained: Path, monkeypatch: pytest.MonkeyPatch, guidance: Guidance
) -> None:
    monkeypatch.setattr(denoiser_module, "_WARM_UP_TOKENS", (40,))
    parts = load_model_set(untrained, "cpu", {"steps": 1}).denoiser
    assert isinstance(parts, ZImageDenoiser)
    noise = torch.stack([parts.initial_latents(seed) for seed in (0, 1)])
    rows = [torch.randn(n, architecture.HIDDEN, generator=torch.Generator().manual_seed(n)) for n in (70, 80)]
    # Of the captions' padded length, so that no mask is needed, and of another one.
    against = [[(torch.ones(n, architecture.HIDDEN),)] * 2 for n in (90, 20)]
    plain = ZImageDenoiser(parts.pipeline, parts.size, parts.sigmas, guidance)
    expected = [plain.generate([(row,) for row in rows], noise, negatives=negatives)[0] for negatives in against]
    assert not parts.is_cold(2)
    compiled = ZImageDenoiser(parts.pipeline, parts.size, parts.sigmas, guidance, compiled=True)
    assert compiled.is_cold(2)
    compiled.warm_up(2)
    assert not compiled.is_cold(2)
    graphs = counter.frame_count
    for negatives, image in zip(against, expected, strict=True):
        images, finite = compiled.generate([(row,) for row in rows], noise, negatives=negatives)
        assert finite.all()
        assert (images.int() - image.int()).abs().max() <= 1
    assert counter.frame_count == graphs
    assert compiled.is_cold(1)


@pytest.mark.parametrize("shape", [(2, 64, 24, 20), (2, 64, 48)], ids=["pixels", "tokens of attention"])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_channelwise_norms_are_the_library_s(shape: tuple[int, ...], offset: float) -> None:
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(8, 64, eps=1e-6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(shape) * torch.linspace(0.5, 3, 64).view(-1, *[1 for _ in shape[2:]]) + offset
    truth = copy.deepcopy(norm).double()(x.double())
    error = (norm(x) - truth).abs().max()
    with torch.inference_mode():
        ours = fast.ChannelwiseGroupNorm(norm)(x)
        assert (ours - truth).abs().max() <= 4 * error + 1e-6
        assert fast.ChannelwiseGroupNorm(norm)(x.bfloat16()).dtype == torch.bfloat16


def test_the_quick_decoder_has_no_other_norms_and_holds_its_weights_once() -> None:
    vae = architecture.vae().eval()
    before = {name: value.data_ptr() for name, value in vae.named_parameters() if "norm" in name}
    fast.compile_decoder(vae)
    kinds = [type(part) for part in vae.decoder.modules() if "Norm" in type(part).__name__]
    assert kinds
    assert set(kinds) == {fast.ChannelwiseGroupNorm}
    assert {name: value.data_ptr() for name, value in vae.named_parameters() if "norm" in name} == before
