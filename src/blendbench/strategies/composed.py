"""A strategy of one step of each kind, each chosen by name.

What a recipe fixes is a setting here.
"""

from typing import Annotated

from blendbench.core.conditioning import Conditioning, Denoising
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha, Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.combine import COMBINERS, Combine
from blendbench.steps.mask import MASKS, Mask
from blendbench.steps.normalize import NORMALISERS, Normalise
from blendbench.steps.schedule import Curve, weights


@strategy(
    "composed",
    source="blendbench, the steps of all mixtures",
    equation="combine(T, align(mask(normalise(V))), alpha curve(s))",
    dose="alpha",
)
def composed(
    text: Tokens,
    vision: Tokens,
    denoising: Denoising,
    *,
    alpha: Alpha = 0.3,
    normalise: Normalise = "none",
    mask: Mask = "none",
    outlier: Annotated[float, Range(1, 1e6)] = 10.0,
    align: Align = "area",
    combine: Combine = "lerp",
    curve: Curve = "constant",
    threshold: Annotated[float, Range(0, 1)] = 0.7,
    until: Annotated[float, Range(0, 1)] = 0.0,
) -> Conditioning:
    """Select, normalise, mask, align, combine and schedule by any step.

    Plug-ins' steps can be chosen too.

    `outlier` is the ratio of deviations at which `mask` acts, `threshold` the noise level at which `curve=step` ends,
    `until` the lower one of `curve=window` and `curve=ramp`.
    """
    at_calls = [alpha * weight for weight in weights(curve, denoising, threshold, until)]
    if not any(at_calls):
        return Conditioning((text.hidden,))  # the whole text, whatever the alignment would have cut off
    masked = MASKS.get(mask)(text.hidden, NORMALISERS.get(normalise)(text, vision), outlier)
    rows, aligned = align_to(text.hidden, masked, align)
    joined = COMBINERS.get(combine)
    return Conditioning(tuple(joined(rows, aligned, weight) if weight else rows for weight in at_calls))
