"""Linear layers in 8-bit floating point (e4m3), with a scale for each row.

Weights have a scale for each output, fixed when they are read; inputs one for each token, found at every call, so a
token does not depend on what is beside it. A GPU multiplies in fp8; elsewhere the same rounded values are multiplied in
float32. Source: row-wise scaling as in `torch._scaled_mm`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max
# Sizes that a GPU's fp8 product takes are multiples of this.
_MULTIPLE = 16
# The smallest scale: a row of zeros has this one.
_LEAST = 1e-12
_CAPABILITY = (8, 9)


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round rows to e4m3: the rounded rows (n, values), and their scales, float32 (n, 1).

    A row is its rounded values times its scale, whose largest magnitude is fp8's largest.
    """
    wide = weight.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp(min=_LEAST) / LARGEST
    return (wide / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


class Fp8Linear(nn.Module):
    """A linear layer without bias, from `quantised` weights (outputs, inputs) and their scales."""

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.weight: Tensor
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs) in the dtype of `x`."""
        rows, scale = quantised(x.flatten(0, -2))
        if x.is_cuda:
            out = _product(rows, self.weight, scale, self.scale.t()).to(x.dtype)
        else:
            out = ((rows.float() @ self.weight.float().t()) * (scale * self.scale.t())).to(x.dtype)
        made: Tensor = out.unflatten(0, x.shape[:-1])
        return made


def _product(rows: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor) -> Tensor:
    """Multiply on a GPU, bfloat16 (tokens, outputs)."""
    outputs, inputs = weight.shape
    if outputs % _MULTIPLE or inputs % _MULTIPLE:  # toy networks alone
        wide = (0, -inputs % _MULTIPLE, 0, -outputs % _MULTIPLE)
        weight = F.pad(weight.view(torch.uint8), wide).view(FP8)
        rows = F.pad(rows.view(torch.uint8), wide[:2]).view(FP8)
        weight_scale = F.pad(weight_scale, (0, -outputs % _MULTIPLE))
    made = torch._scaled_mm(
        rows,
        weight.t(),
        scale_a=scale,
        scale_b=weight_scale.contiguous(),
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return made[:, :outputs]


def joined_layers(*layers: Fp8Linear) -> Fp8Linear:
    """Return one layer with the outputs of several, one after the other; they stay what they were bit for bit."""
    weight = torch.cat([layer.weight.view(torch.uint8) for layer in layers]).view(FP8)
    return Fp8Linear(weight, torch.cat([layer.scale for layer in layers]))


def require_fp8(device: str) -> None:
    """Refuse a GPU without fp8. Errors: ValueError."""
    if device != "cpu" and torch.cuda.get_device_capability() < _CAPABILITY:
        found = ".".join(map(str, torch.cuda.get_device_capability()))
        raise ValueError(
            f'sampler: precision = "fp8" needs a GPU of compute capability 8.9 or higher, this has {found}'
        )
