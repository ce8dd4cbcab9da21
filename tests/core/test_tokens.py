"""Token sequences: selection by kind, the attention sink, and noise of the same size."""

import pytest
import torch

from blendbench.core.lazy import Tensor
from blendbench.core.tokens import Kind, Tokens, content, gaussian_like, select


def test_selection_keeps_kinds_in_order() -> None:
    kinds = torch.tensor([0, 2, 3, 3, 2, 1, 1, 0])
    every = Tokens(torch.arange(8.0)[:, None], kinds, (1, 2))
    assert select(every, "text").hidden.flatten().tolist() == [0, 5, 6, 7]
    assert select(every, "image").hidden.flatten().tolist() == [1, 2, 3, 4]
    assert select(every, "image_no_markers").hidden.flatten().tolist() == [2, 3]
    assert (select(every, "image").grid, select(every, "text").grid) == ((1, 2), None)
    assert len(select(every, "full")) == 8
    assert content(every).hidden.flatten().tolist() == [5, 6]
    with pytest.raises(ValueError, match="no token of kind 'image' among 2"):
        select(content(every), "image")


def test_the_sink_is_the_first_row_of_a_template() -> None:
    rows = torch.zeros(3, 2)
    assert Tokens(rows, torch.tensor([0, 1, 1])).without_sink == slice(1, None)
    assert Tokens(rows, torch.tensor([1, 1, 1])).without_sink == slice(0, None)
    assert Tokens(rows[:1], torch.tensor([0])).without_sink == slice(0, None)


def test_noise_has_the_norms_of_what_it_replaces_and_follows_its_seed() -> None:
    real = Tokens(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.full((9,), int(Kind.IMAGE)))
    noise = gaussian_like(real, 5)
    torch.testing.assert_close(noise.hidden.norm(dim=1), real.hidden.norm(dim=1))
    assert torch.equal(noise.hidden, gaussian_like(real, 5).hidden)
    assert not torch.equal(noise.hidden, gaussian_like(real, 6).hidden)


def test_a_copy_shares_no_memory() -> None:
    first = Tokens(torch.zeros(2, 2), torch.ones(2))
    first.copy().hidden.add_(1)
    assert not first.hidden.any()


def test_the_lazy_tensor_is_torch_s() -> None:
    assert isinstance(torch.zeros(1), Tensor) and not isinstance(1, Tensor)
