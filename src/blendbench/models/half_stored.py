"""Store weights in half precision and widen them block by block.

This takes half the memory and gives float32 results.

TF32 products round their inputs to 10 bits of mantissa, as many as float16 has, so results differ from those of wide
weights by one rounding. Weights below float16's normal range (6e-5) lose more digits, but no more than 3e-8 each.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def store_half(network: nn.Module) -> nn.Module:
    """Keep transformer blocks' matrices and token embeddings in float16.

    The float32 network is changed in place. Nothing else changes: blocks compute in float32, one block at a time is
    wide. Errors: ValueError if a weight is outside of float16's range.
    """
    for name, module in network.named_modules():
        if hasattr(module, "get_cast_dtype"):
            # open_clip reads the type of its activations off a weight.
            module.get_cast_dtype = _float32
        if isinstance(module, nn.Embedding):
            module.weight = _narrow(f"{name}.weight", module.weight)
            module.register_forward_hook(_widened_output)
        elif type(module).__name__.endswith("Block"):
            _Wide(name, module)
    return network


def _float32() -> torch.dtype:
    return torch.float32


class _Wide:
    """Widen the matrices of a block to float32 while its forward runs."""

    def __init__(self, name: str, block: nn.Module) -> None:
        for path, owner, key, weight in _matrices(block):
            setattr(owner, key, _narrow(f"{name}.{path}", weight))
        block.register_forward_pre_hook(self._widen)
        block.register_forward_hook(self._restore, always_call=True)
        self._kept: list[tuple[nn.Module, str, nn.Parameter]] = []

    def _widen(self, block: nn.Module, _inputs: Any) -> None:
        for _, owner, key, weight in _matrices(block):
            self._kept.append((owner, key, weight))
            setattr(owner, key, nn.Parameter(weight.float(), requires_grad=False))

    def _restore(self, _block: nn.Module, _inputs: Any, _output: Any) -> None:
        while self._kept:
            owner, key, weight = self._kept.pop()
            setattr(owner, key, weight)


def _matrices(block: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Yield (path, module, attribute, weight) of every matrix parameter."""
    for path, owner in list(block.named_modules()):
        for key, weight in list(owner.named_parameters(recurse=False)):
            if weight.ndim >= 2:
                yield f"{path}.{key}", owner, key, weight


def _narrow(name: str, weight: Tensor) -> nn.Parameter:
    narrow = weight.detach().to(torch.float16)
    if not narrow.isfinite().all():
        raise ValueError(f"weights {name!r} are outside of float16's range")
    return nn.Parameter(narrow, requires_grad=False)


def _widened_output(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    return output.float()
