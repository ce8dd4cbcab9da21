"""Mixtures whose weight differs: along the sphere, by token, by dimension."""

import math
from typing import Annotated, Literal

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Kind, Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to, attention
from blendbench.steps.combine import spherical
from blendbench.steps.mask import spread_ratio
from blendbench.strategies.base import vision_transform
from blendbench.strategies.sources import SEED_DOCUMENT

BY_TOKEN = "(1 - alpha_i) T_i + alpha_i align(V)_i"


def mix_by_row(text: Tensor, other: Tensor, alphas: Tensor) -> Tensor:
    """Return (1 - alpha_i) text_i + alpha_i other_i for each row i.

    A row whose alpha is 0 stays as it is.
    """
    weight = alphas.to(text.dtype)[:, None]
    return torch.where(weight == 0, text, (1 - weight) * text + weight * other)


@vision_transform(
    "slerp",
    "V",
    "Shoemake 1985, doi:10.1145/325165.325242, each token by itself",
    combine=spherical,
    equation="((1-alpha)|T| + alpha|V|) (sin((1-alpha) w) T/|T| + sin(alpha w) V/|V|) / sin w, cos w = T.V / |T||V|",
)
def slerp(vision: Tokens) -> Tensor:
    """Interpolate token directions along the sphere, and norms linearly.

    Opposite and parallel tokens have no arc: they are mixed linearly.
    """
    return vision.hidden


@strategy(
    "token_alpha",
    source=f"{SEED_DOCUMENT}, per_token",
    equation=f"{BY_TOKEN}; alpha_i = alpha for words, template_alpha for the chat template",
    dose=("alpha", "template_alpha"),
)
def token_alpha(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, template_alpha: Alpha = 0.0, align: Align = "area"
) -> Tensor:
    """Weight the prompt's own tokens and the template's separately.

    The attention sink is among the template's.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    template = text.kinds[: len(rows)] == int(Kind.TEMPLATE)
    return mix_by_row(rows, aligned, torch.where(template, template_alpha, alpha))


@strategy(
    "graduated_alpha",
    source=f"{SEED_DOCUMENT}, graduated",
    equation=f"{BY_TOKEN}; alpha_i from start to end along the prompt",
    dose=("end", "start"),
)
def graduated_alpha(
    text: Tokens,
    vision: Tokens,
    *,
    start: Alpha = 0.0,
    end: Alpha = 0.5,
    curve: Literal["linear", "ease_in", "ease_out"] = "linear",
    align: Align = "area",
) -> Tensor:
    """Let the weight grow (or fall) along the prompt.

    It follows t, t^2 or 1 - (1 - t)^2 with t from 0 to 1.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    t = torch.linspace(0, 1, len(rows))
    eased = {"linear": t, "ease_in": t.square(), "ease_out": 1 - (1 - t).square()}[curve]
    return mix_by_row(rows, aligned, start + (end - start) * eased)


@strategy(
    "attention_alpha",
    source=f"{SEED_DOCUMENT}, attention_weighted, with weights that are computed",
    equation="alpha_i = alpha (1 - protection w_i); w = attention that token i gets from the prompt, scaled to 0..1",
    dose="alpha",
)
def attention_alpha(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, protection: Alpha = 0.8, align: Align = "area"
) -> Tensor:
    """Let tokens that other prompt tokens attend to take less of the image.

    The seed document's code never computed weights; here w_i is the mean over the other tokens of
    softmax(cosine / 0.1).
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    weights = attention(rows, rows)
    received = (weights.sum(0) - weights.diagonal()) / max(len(rows) - 1, 1)
    spread = received.max() - received.min()
    importance = (received - received.min()) / spread if spread > 0 else torch.zeros_like(received)
    return mix_by_row(rows, aligned, alpha * (1 - protection * importance))


@strategy(
    "dimension_lerp",
    source=f"{SEED_DOCUMENT}, style_only dimensions",
    equation="lerp in the dimensions low D .. high D, T in all others",
    dose="alpha",
)
def dimension_lerp(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, low: Alpha = 2 / 3, high: Alpha = 1.0, align: Align = "area"
) -> Tensor:
    """Blend a range of dimensions only.

    The seed document takes the last third for style, without a reason.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    dim = rows.shape[1]
    result = rows.clone()
    chosen = slice(math.floor(low * dim), math.ceil(high * dim))
    result[:, chosen] = (1 - alpha) * rows[:, chosen] + alpha * aligned[:, chosen]
    return result


@strategy(
    "surgical_lerp",
    source=f"{SEED_DOCUMENT}, surgical dimensions, chosen by their ratio",
    equation="T in the count dimensions of the largest |log(std_V / std_T)|, lerp in all others",
    dose="alpha",
)
def surgical_lerp(
    text: Tokens,
    vision: Tokens,
    *,
    alpha: Alpha = 0.3,
    count: Annotated[int, Range(0, 1e5)] = 20,
    align: Align = "area",
) -> Tensor:
    """Keep the text in the dimensions where the two sides differ most.

    The seed document's list of 20 dimensions was written by hand and lacks 4 and 396; here the tokens choose them.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    unlike = spread_ratio(vision.hidden, text.hidden).log().abs()
    kept = torch.zeros_like(unlike, dtype=torch.bool)
    kept[unlike.argsort(descending=True, stable=True)[:count]] = True
    return torch.where(kept, rows, (1 - alpha) * rows + alpha * aligned)
