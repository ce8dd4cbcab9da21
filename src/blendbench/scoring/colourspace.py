"""Luma and OKLab of 8-bit sRGB pictures, batched."""

import torch
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


def luma(pictures: Tensor) -> Tensor:
    """uint8 (n, 3, h, w) -> float32 (n, h, w) in 0..255, ITU-R BT.601 weights (luma of the encoded values)."""
    r, g, b = pictures.float().unbind(1)
    return 0.299 * r + 0.587 * g + 0.114 * b


def oklab(pictures: Tensor) -> Tensor:
    """uint8 sRGB (n, 3, h, w) -> float32 (n, 3, h, w): L in 0..1, a, b."""
    linear = _linear_of_byte(pictures.device)[pictures.int()]
    lms = _mix(_TO_LMS, linear)
    return _mix(_TO_LAB, lms.pow(1 / 3))


def _linear_of_byte(device: torch.device) -> Tensor:
    """(256,) linear light of each sRGB byte (IEC 61966-2-1); a table, because a power a pixel is ten times slower."""
    encoded = torch.arange(256, dtype=torch.float64) / 255
    linear = torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return linear.float().to(device)


def _mix(matrix: tuple[tuple[float, ...], ...], channels: Tensor) -> Tensor:
    x, y, z = channels.unbind(1)
    return torch.stack([a * x + b * y + c * z for a, b, c in matrix], 1)
