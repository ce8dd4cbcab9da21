"""Luma and OKLab of 8-bit sRGB images, batched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

# Björn Ottosson 2020, "A perceptual color space for image processing": linear sRGB -> LMS, cube root, LMS' -> Lab.
_TO_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)

_AT_ONCE = 1 << 15


def luma(images: Tensor) -> Tensor:
    """Return float32 (n, h, w) luma in 0..255 of uint8 (n, 3, h, w) images.

    ITU-R BT.601 weights on the encoded values.
    """
    r, g, b = (channel.float() for channel in images.unbind(1))
    return r.mul_(0.299).add_(g, alpha=0.587).add_(b, alpha=0.114)


def half_chroma(images: Tensor) -> Tensor:
    """Return float32 (n, 2, h // 2, w // 2) Cb and Cr, -128..128, of uint8 images.

    ITU-R BT.601, means of 2 x 2 pixels.
    """
    height, width = (size // 2 * 2 for size in images.shape[-2:])
    whole = images[..., :height, :width].short()
    rows = whole[..., ::2, :] + whole[..., 1::2, :]
    r, g, b = ((rows[..., ::2] + rows[..., 1::2]).float() / 4).unbind(1)
    y = r * 0.299 + g * 0.587 + b * 0.114
    return torch.stack([(b - y) * 0.564, (r - y) * 0.713], 1)


def oklab(images: Tensor) -> Tensor:
    """Return float32 (n, 3, h, w) OKLab, L in 0..1, of uint8 sRGB images."""
    n, _, height, width = images.shape
    table, to_lms, to_lab = (
        _linear_of_byte(images.device),
        *(_matrix(m, images.device) for m in (_TO_LMS, _TO_LAB)),
    )
    made = torch.empty(n, 3, height * width, device=images.device)
    # On the CPU a part at a time stays in the cache, which is worth a factor of two.
    step = _AT_ONCE if images.device.type == "cpu" else height * width
    for start in range(0, height * width, step):
        part = images.reshape(n, 3, -1)[..., start : start + step]
        linear = table.index_select(0, part.int().reshape(-1)).reshape(part.shape)
        # exp2 and log2 are several times faster than a power; log2(0) = -inf gives 0, as it should.
        made[..., start : start + step] = to_lab @ (to_lms @ linear).log2_().div_(3).exp2_()
    return made.reshape(n, 3, height, width)


def _linear_of_byte(device: torch.device) -> Tensor:
    """Return (256,) linear light of each sRGB byte (IEC 61966-2-1).

    A table, because a power a pixel is ten times slower.
    """
    encoded = torch.arange(256, dtype=torch.float64) / 255
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear.float().to(device)


def _matrix(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    return torch.tensor(rows, device=device)
