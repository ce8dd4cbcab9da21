"""Statistics of token sequences and their transfer."""

from torch import Tensor

EPSILON = 1e-6


def mean_std(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation along `axis`, kept as a dimension; the latter at least 1e-6."""
    return x.mean(axis, keepdim=True), x.std(axis, correction=0, keepdim=True).clamp_min(EPSILON)


def match(x: Tensor, reference: Tensor, axis: int) -> Tensor:
    """`x` with the mean and standard deviation of `reference` along `axis` (0: per dimension, 1: per token)."""
    mean, std = mean_std(x, axis)
    wanted_mean, wanted_std = mean_std(reference, axis)
    return (x - mean) / std * wanted_std + wanted_mean


def mix(text: Tensor, other: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) text + alpha other, exactly `text` at 0 and exactly `other` at 1."""
    if alpha == 0:
        return text
    return other if alpha == 1 else (1 - alpha) * text + alpha * other
