"""Combination: text and aligned vision tokens, row by row, at a weight."""

from collections.abc import Callable
from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.registry.steps import Steps
from blendbench.steps.normalize import EPSILON, mix

Combiner = Callable[[Tensor, Tensor, float], Tensor]
COMBINERS: Steps[Combiner] = Steps("combiner")
Combine = Annotated[str, COMBINERS]
combiner = COMBINERS.register

combiner("lerp")(mix)


@combiner("norm_lerp")
def norm_matched(text: Tensor, vision: Tensor, alpha: float) -> Tensor:
    """Mix after every vision row (m, dim) got the norm of its text row."""
    scale = text.norm(dim=1, keepdim=True) / vision.norm(dim=1, keepdim=True).clamp_min(EPSILON)
    return mix(text, vision * scale, alpha)


@combiner("slerp")
def spherical(text: Tensor, vision: Tensor, alpha: float) -> Tensor:
    """Interpolate directions (m, dim) along the arc, and norms linearly.

    Without an arc, the path is straight.
    """
    a, b = text.double(), vision.double()
    norm_a, norm_b = a.norm(dim=1, keepdim=True).clamp_min(EPSILON), b.norm(dim=1, keepdim=True).clamp_min(EPSILON)
    angle = ((a / norm_a) * (b / norm_b)).sum(1, keepdim=True).clamp(-1, 1).acos()
    arc = torch.sin((1 - alpha) * angle) * a / norm_a + torch.sin(alpha * angle) * b / norm_b
    curved = ((1 - alpha) * norm_a + alpha * norm_b) * arc / angle.sin().clamp_min(EPSILON)
    straight = (1 - alpha) * a + alpha * b
    return torch.where(angle.sin() > 1e-4, curved, straight).to(text.dtype)
