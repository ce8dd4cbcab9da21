"""Blends that act on a part of the sampling: on some steps, in some blocks, or from a starting image."""

from typing import Annotated

from blendbench.core.conditioning import Conditioning, Denoising
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.normalize import mix
from blendbench.steps.schedule import Curve, shares
from blendbench.strategies.linear import lerp
from blendbench.strategies.sources import SEED_DOCUMENT

Share = Annotated[float, Range(0, 1)]
Strength = Annotated[float, Range(0.05, 1)]


@strategy(
    "timestep_alpha",
    version=1,
    source=f"{SEED_DOCUMENT}, timestep-dependent alpha; Hertz et al. 2022, arXiv:2208.01626",
    equation="(1 - a_s) T + a_s align(V); a_s = alpha curve(s) at call s of n: 1, 1 - s/(n-1), s/(n-1),"
    " (1 + cos(pi s/(n-1)))/2, e^(-3s/n), or 1 while sigma >= threshold",
)
def timestep_alpha(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.5,
    curve: Curve = "linear_decay",
    threshold: Share = 0.7,
    align: Align = "area",
) -> Conditioning:
    """Lerp with a share that follows the denoising: early steps set the layout, late ones the detail.

    `threshold` is the noise level at which `curve=step` leaves the image for the text.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    at_calls = [alpha * share for share in shares(curve, denoising, threshold)]
    if not any(at_calls):
        return Conditioning((text.hidden,))
    return Conditioning(tuple(mix(rows, aligned, share) for share in at_calls))


@strategy(
    "timestep_swap",
    version=1,
    source=f"{SEED_DOCUMENT}, timestep-dependent alpha, the other way round",
    equation="T while sigma >= threshold, then (1 - alpha) T + alpha align(V)",
)
def timestep_swap(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.5,
    threshold: Share = 0.7,
    align: Align = "area",
) -> Conditioning:
    """The text alone sets the layout; the image joins for the detail."""
    if alpha == 0:
        return Conditioning((text.hidden,))
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    return Conditioning(tuple(mix(rows, aligned, 0 if s >= threshold else alpha) for s in denoising.sigmas))


@strategy(
    "block_injection",
    version=1,
    source=f"{SEED_DOCUMENT}, layer-specific injection",
    equation="lerp in the main stream's blocks first, first + stride ... (count of them), T in all others",
)
def block_injection(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.3,
    first: Annotated[int, Range(0, 1000)] = 0,
    count: Annotated[int, Range(0, 1000)] = 3,
    stride: Annotated[int, Range(1, 1000)] = 1,
    align: Align = "area",
) -> Conditioning:
    """Only some blocks see the blend; blocks beyond the last one are left out.

    The caption's rows are moved by the difference of the two refined captions when they enter a chosen block, and moved
    back when they leave it: all blocks together are `lerp`, none is the text alone.
    """
    if alpha == 0:
        return Conditioning((text.hidden,))
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    chosen = tuple(b for b in range(first, first + count * stride, stride) if b < denoising.blocks)
    return Conditioning((rows,), mix(rows, aligned, alpha), chosen)


@strategy(
    "img2img",
    version=1,
    source="Meng et al. 2021, SDEdit, arXiv:2108.01073",
    control=True,
    equation="T, denoised from the reference image at a noise level set by strength",
)
def img2img(text: Tokens, *, strength: Strength = 0.9) -> Conditioning:
    """img2img without vision: the control without which a style gain of img2img with vision says nothing."""
    return Conditioning((text.hidden,), strength=strength)


@strategy(
    "img2img_lerp",
    version=1,
    source=f"{SEED_DOCUMENT}, img2img with vision conditioning",
    companion="img2img",
    equation="(1 - alpha) T + alpha align(V), denoised from the reference image",
)
def img2img_lerp(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, strength: Strength = 0.9, align: Align = "area"
) -> Conditioning:
    """`lerp` from a starting image. A run holds `img2img` at the same strength beside it."""
    return Conditioning((lerp(text, vision, alpha=alpha, align=align),), strength=strength)
