"""Second-order statistics: whitening, CORAL and Gram matrices."""

from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.normalize import EPSILON, Sink
from blendbench.strategies.base import text_transform
from blendbench.strategies.sources import SEED_DOCUMENT

Shrinkage = Annotated[float, Range(1e-6, 1)]


def shrunk_covariance(rows: Tensor, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Return mean (dim,) and covariance (dim, dim) of rows (n, dim).

    The covariance is shrunk towards a multiple of the identity.

    In float64. A prompt has fewer tokens than dimensions, so the plain covariance has no inverse.
    """
    x = rows.double()
    centred = x - x.mean(0)
    covariance = centred.T @ centred / max(len(x), 1)
    mean_variance = covariance.diagonal().mean().clamp_min(EPSILON)
    return x.mean(0), (1 - shrinkage) * covariance + shrinkage * mean_variance * torch.eye(x.shape[1], dtype=x.dtype)


def matrix_power(covariance: Tensor, power: float) -> Tensor:
    """Raise a symmetric positive definite matrix to a real power."""
    values, vectors = torch.linalg.eigh(covariance)
    powered: Tensor = (vectors * values.clamp_min(EPSILON).pow(power)) @ vectors.T
    return powered


def _apart(text: Tokens, sink: Sink) -> tuple[Tensor, Tensor]:
    rows = text.without_sink if sink == "drop" else slice(0, None)
    return text.hidden[: rows.start], text.hidden[rows]


@text_transform(
    "coral",
    "(T - mu_T) C_T^-1/2 C_V^1/2 + mu_V",
    "Sun, Feng, Saenko 2016, arXiv:1511.05547",
    dose_grid=(0.1, 0.2, 0.3, 1.0),
)
def coral(text: Tokens, vision: Tokens, *, shrinkage: Shrinkage = 0.3, sink: Sink = "drop") -> Tensor:
    """Give the text the mean and the covariance of the vision tokens.

    `adain_dim` gives it the diagonal alone.
    """
    kept, rows = _apart(text, sink)
    mean_t, cov_t = shrunk_covariance(rows, shrinkage)
    mean_v, cov_v = shrunk_covariance(vision.hidden, shrinkage)
    coloured = (rows.double() - mean_t) @ matrix_power(cov_t, -0.5) @ matrix_power(cov_v, 0.5) + mean_v
    return torch.cat((kept, coloured.to(rows.dtype)))


@text_transform(
    "whiten",
    "(T - mu_T) C_V^-1/2 s + mu_T",
    f"{SEED_DOCUMENT}, whitening; ZCA of Bell & Sejnowski 1997",
    note=", s so that the size is kept",
)
def whiten(text: Tokens, vision: Tokens, *, shrinkage: Shrinkage = 0.3, sink: Sink = "drop") -> Tensor:
    """Flatten the directions in which the image varies most.

    Nothing of the image's mean is given to the text.
    """
    kept, rows = _apart(text, sink)
    mean = rows.double().mean(0)
    flat = (rows.double() - mean) @ matrix_power(shrunk_covariance(vision.hidden, shrinkage)[1], -0.5)
    size = (rows.double() - mean).norm() / flat.norm().clamp_min(EPSILON)
    return torch.cat((kept, (flat * size + mean).to(rows.dtype)))


@strategy(
    "gram_match",
    source="Gatys, Ecker, Bethge 2016, doi:10.1109/CVPR.2016.265; " + SEED_DOCUMENT,
    equation="argmin_X (1 - alpha) |X - T|^2 / |T|^2 + alpha |G(X) - G(V)|^2 / |G(V)|^2, G = X'X / n",
    dose="alpha",
    dose_grid=(0.05, 0.1, 0.15, 0.3, 0.5),
)
def gram_match(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.15, steps: Annotated[int, Range(1, 1000)] = 100
) -> Tensor:
    """Move the text until its Gram matrix is the image's, by Adam.

    Both losses are relative to their own size.

    The seed document minimised raw errors, which the two sink dimensions decide. 100 steps at a rate of a tenth of the
    text's root mean square, as there.
    """
    goal = vision.hidden.T @ vision.hidden / len(vision)
    size = text.hidden.square().mean().sqrt().clamp_min(EPSILON)
    with torch.enable_grad():
        moved = text.hidden.clone().requires_grad_()
        optimiser = torch.optim.Adam([moved], lr=0.1 * float(size))
        for _ in range(steps):
            optimiser.zero_grad()
            gram = moved.T @ moved / len(moved)
            near = (moved - text.hidden).square().sum() / text.hidden.square().sum().clamp_min(EPSILON)
            like = (gram - goal).square().sum() / goal.square().sum().clamp_min(EPSILON)
            ((1 - alpha) * near + alpha * like).backward()
            optimiser.step()
    return moved.detach()
