"""Many strategies in one file, each of which reaches another kind of constant."""

from dataclasses import dataclass
from pathlib import Path

import helper_mod
import numpy as np
import torch
from torch import Tensor

GAINS = [0.2, 0.1]
TABLE = {"alpha": 0.2}
VECTOR = torch.tensor([0.2])
STATS = np.load(Path(__file__).with_name("stats.npz"))["scale"]


@dataclass
class Tokens:
    """Rows as a strategy gets them."""

    hidden: Tensor


def k_list(text: Tokens, vision: Tokens) -> Tensor:
    """Reach a list."""
    return text.hidden + GAINS[0] * vision.hidden.mean(0)


def k_dict(text: Tokens, vision: Tokens) -> Tensor:
    """Reach a dict."""
    return text.hidden + TABLE["alpha"] * vision.hidden.mean(0)


def k_tensor(text: Tokens, vision: Tokens) -> Tensor:
    """Reach a tensor."""
    return text.hidden + VECTOR * vision.hidden.mean(0)


def k_file(text: Tokens, vision: Tokens) -> Tensor:
    """Reach what was read from a file."""
    return text.hidden + float(STATS) * vision.hidden.mean(0)


def k_module(text: Tokens, vision: Tokens) -> Tensor:
    """Reach the module beside."""
    return text.hidden + helper_mod.gain(vision.hidden.mean(0))


def k_random(text: Tokens, vision: Tokens) -> Tensor:
    """Reach nothing but torch."""
    return text.hidden + 0.1 * torch.randn_like(text.hidden)


def k_bf16(text: Tokens, vision: Tokens) -> Tensor:
    """Return another type."""
    return (text.hidden.bfloat16() + 0.2 * vision.hidden.mean(0)).requires_grad_(False).to(torch.bfloat16)


def k_grad(text: Tokens, vision: Tokens) -> Tensor:
    """Return rows with a gradient."""
    w = torch.nn.Parameter(torch.tensor(0.2))
    return text.hidden + w * vision.hidden.mean(0)


def k_optimise(text: Tokens, vision: Tokens) -> Tensor:
    """Take a step along a gradient."""
    x = text.hidden.clone().requires_grad_(True)
    loss = (x.mean(0) - vision.hidden.mean(0)).pow(2).mean()
    loss.backward()
    assert x.grad is not None
    return x - 0.5 * x.grad


def k_batch(text: Tokens, vision: Tokens) -> Tensor:
    """Return a batch."""
    return (text.hidden + 0.2 * vision.hidden.mean(0))[None]


def k_inplace(text: Tokens, vision: Tokens) -> Tensor:
    """Write into the input."""
    text.hidden *= 0
    text.hidden += vision.hidden.mean(0)
    return text.hidden


k_partial = lambda text, vision: text.hidden + 0.2 * vision.hidden.mean(0)  # noqa: E731
