"""The rearranged transformer computes what the library's does."""

import copy

import pytest
import torch

from blendbench.models import fast
from blendbench.models.interventions import injected, refined
from blendbench.models.miniature import architecture


def transformer(dtype: torch.dtype) -> torch.nn.Module:
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
