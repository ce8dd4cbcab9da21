"""Blends of some steps or blocks, or from a starting image."""

from typing import Annotated

from blendbench.core.conditioning import Conditioning, Denoising
from blendbench.core.depths import InBlocks
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import ALIGNMENTS, Align, align_to
from blendbench.steps.normalize import mix
from blendbench.steps.schedule import Curve, weights
from blendbench.strategies.base import aligned_mix
from blendbench.strategies.sources import SEED_DOCUMENT

Strength = Annotated[float, Range(0.05, 1)]
Blocks = Annotated[int, Range(0, 1000), InBlocks()]


@strategy(
    "timestep_alpha",
    source=f"{SEED_DOCUMENT}, timestep-dependent alpha; Hertz et al. 2022, arXiv:2208.01626",
    equation="(1 - a_s) T + a_s align(V); a_s = alpha curve(s) at call s of n: 1, 1 - s/(n-1), s/(n-1),"
    " (1 + cos(pi s/(n-1)))/2, e^(-3s/n), 1 while sigma >= threshold, 1 while until <= sigma <= threshold, or 1 down"
    " to threshold and a line to 0 at until",
    dose="alpha",
    dose_grid=(0.3, 0.5, 0.7, 1.0),
)
def timestep_alpha(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.5,
    curve: Curve = "linear_decay",
    threshold: Alpha = 0.7,
    until: Alpha = 0.0,
    align: Align = "area",
) -> Conditioning:
    """Mix with a weight that follows the denoising.

    Early steps set the layout, late ones the detail.

    `threshold` is the noise level at which `curve=step` leaves the image for the text. `curve=window` blends between
    the noise levels `threshold` and `until` only, `curve=ramp` fully above the one and not at all below the other.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    at_calls = [alpha * weight for weight in weights(curve, denoising, threshold, until)]
    if not any(at_calls):
        return Conditioning((text.hidden,))  # the whole text, whatever the alignment has cut off
    return Conditioning(tuple(mix(rows, aligned, weight) for weight in at_calls))


@strategy(
    "timestep_swap",
    source=f"{SEED_DOCUMENT}, timestep-dependent alpha, the other way round",
    equation="T while sigma >= threshold, then (1 - alpha) T + alpha align(V)",
    dose="alpha",
    dose_grid=(0.3, 0.5, 0.7, 1.0),
)
def timestep_swap(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.5,
    threshold: Alpha = 0.7,
    align: Align = "area",
) -> Conditioning:
    """Let the text alone set the layout; the image joins for the detail."""
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    return Conditioning(tuple(mix(rows, aligned, 0 if s >= threshold else alpha) for s in denoising.sigmas))


@strategy(
    "block_injection",
    source=f"{SEED_DOCUMENT}, layer-specific injection",
    equation="lerp in the main stream's blocks first, first + stride ... (count of them), T in all others",
    dose="alpha",
)
def block_injection(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.3,
    first: Blocks = 0,
    count: Blocks = 3,
    stride: Annotated[int, Range(1, 1000)] = 1,
    align: Align = "area",
) -> Conditioning:
    """Let only some blocks see the blend.

    Blocks beyond the last one are left out.

    The caption's rows are moved by the difference of the two refined captions when they enter a chosen block, and moved
    back when they leave it: all blocks together are `lerp`, none is the text alone.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    chosen = tuple(b for b in range(first, first + count * stride, stride) if b < denoising.blocks)
    return Conditioning((rows,), mix(rows, aligned, alpha), chosen)


@strategy(
    "img2img",
    source="Meng et al. 2021, SDEdit, arXiv:2108.01073",
    control=True,
    equation="T, denoised from the reference image at a noise level set by strength",
    dose="strength",
    dose_grid=(0.5, 0.7, 0.9),
)
def img2img(text: Tokens, *, strength: Strength = 0.9) -> Conditioning:
    """Start from the reference image without vision tokens.

    Without this control a style gain of img2img with vision says nothing.
    """
    return Conditioning((text.hidden,), strength=strength)


@strategy(
    "img2img_lerp",
    source=f"{SEED_DOCUMENT}, img2img with vision conditioning",
    companion="img2img",
    equation="(1 - alpha) T + alpha align(V), denoised from the reference image",
    dose="alpha",
)
def img2img_lerp(
    text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, strength: Strength = 0.9, align: Align = "area"
) -> Conditioning:
    """Mix as `lerp` does and start from the reference image.

    A run holds `img2img` at the same strength beside it.
    """
    rows = aligned_mix(text.hidden, vision.hidden, alpha, ALIGNMENTS.get(align))
    return Conditioning((rows,), strength=strength)
