"""Muon for a small transformer's hidden matrices.

It is batched over equal shapes so that it can be captured in a graph.

`torch.optim.Muon` orthogonalises one matrix after another: with eighty small matrices that is more time in kernel
starts than the rest of the step. Equal shapes are stacked here, which leaves sixty kernels.
Source: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; update scale after
J. Liu et al., "Muon is scalable for LLM training", arXiv:2502.16982.
"""

from collections import defaultdict

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon:
    """Momentum, orthogonalised by a Newton-Schulz iteration.

    The rate is read from a tensor at each step.
    """

    def __init__(self, matrices: list[Tensor], rate: Tensor, momentum: float = 0.95) -> None:
        self.rate, self.momentum = rate, momentum
        by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            by_shape[(matrix.shape[0], matrix.shape[1])].append(matrix)
        self.groups = list(by_shape.values())
        self.momenta = [[torch.zeros_like(matrix) for matrix in group] for group in self.groups]

    @torch.no_grad()
    def step(self) -> None:
        """Update every matrix from its gradient."""
        for group, momenta in zip(self.groups, self.momenta, strict=True):
            gradients = [matrix.grad for matrix in group if matrix.grad is not None]
            torch._foreach_lerp_(momenta, gradients, 1 - self.momentum)
            nesterov = torch._foreach_lerp(gradients, momenta, self.momentum)
            update = orthogonalise(torch.stack(nesterov))
            scale = 0.2 * max(update.shape[1:]) ** 0.5
            torch._foreach_sub_(group, list((update * (self.rate * scale)).unbind()))


def orthogonalise(matrices: Tensor) -> Tensor:
    """Approximate each matrix's orthogonal factor (n, rows, cols).

    Singular values end near 1.
    """
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = x.mT if tall else x
    return found.to(matrices.dtype)
