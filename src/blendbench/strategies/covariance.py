"""Second-order statistics: whitening, CORAL and Gram matrices."""

from dataclasses import dataclass
from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.normalize import EPSILON, Sink
from blendbench.strategies.base import text_transform
from blendbench.strategies.sources import SEED_DOCUMENT

Shrinkage = Annotated[float, Range(1e-6, 1)]


@dataclass(frozen=True)
class Covariance:
    """A covariance shrunk towards a multiple of the identity, in float64.

    A prompt has fewer tokens than dimensions, so the plain covariance has no inverse. It is kept as the principal axes
    of the rows, with one variance for all that lies outside of them: a power costs rows x rows x dim, and not dim^3.

    Attributes:
        mean: (dim,).
        axes: (rank, dim) orthonormal rows, rank <= min(n, dim).
        variances: (rank,) along the axes.
        outside: Variance of every direction outside of the axes.
    """

    mean: Tensor
    axes: Tensor
    variances: Tensor
    outside: Tensor

    @classmethod
    def of(cls, rows: Tensor, shrinkage: float) -> "Covariance":
        """Take the covariance of rows (n, dim)."""
        x = rows.double()
        centred = x - x.mean(0)
        mean_variance = centred.square().mean().clamp_min(EPSILON)
        _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
        outside = shrinkage * mean_variance
        return cls(x.mean(0), axes, (1 - shrinkage) * sizes.square() / max(len(x), 1) + outside, outside)

    def raised(self, rows: Tensor, power: float) -> Tensor:
        """Multiply rows (m, dim) by this matrix to a real power."""
        outside = self.outside.clamp_min(EPSILON).pow(power)
        inside = self.variances.clamp_min(EPSILON).pow(power) - outside
        found: Tensor = rows * outside + (rows @ self.axes.T * inside) @ self.axes
        return found


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
    of_text, of_vision = Covariance.of(rows, shrinkage), Covariance.of(vision.hidden, shrinkage)
    coloured = of_vision.raised(of_text.raised(rows.double() - of_text.mean, -0.5), 0.5) + of_vision.mean
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
    flat = Covariance.of(vision.hidden, shrinkage).raised(rows.double() - mean, -0.5)
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
