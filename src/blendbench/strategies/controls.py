"""Controls: strategies that every run contains, so that an effect can be told from its look-alikes.

Four of them are `lerp` at its default alpha with something else in place of the reference: whatever they share with
`lerp` is not the reference's doing. The canary is a blend that is broken by construction: if the metrics do not rank it
worst, they say nothing.
"""

import torch
from torch import Tensor

from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha
from blendbench.registry.strategies import strategy
from blendbench.strategies.linear import lerp

SOURCE = "blendbench, control"
CANARY_ROWS = 128


@strategy(
    "blank_reference",
    version=1,
    source=SOURCE,
    equation="lerp with the suite's blank image",
    control=True,
    reference="blank",
)
def blank_reference(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3) -> Tensor:
    """An image that shows nothing: the effect of having image tokens at all."""
    return lerp(text, vision, alpha=alpha)


@strategy(
    "unrelated_reference",
    version=1,
    source=SOURCE,
    equation="lerp with another item's image",
    control=True,
    reference="unrelated",
)
def unrelated_reference(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3) -> Tensor:
    """Another image: what follows from an image, but not from this one."""
    return lerp(text, vision, alpha=alpha)


@strategy(
    "noise_reference",
    version=1,
    source=SOURCE,
    equation="lerp with Gaussian rows of the vision tokens' norms",
    control=True,
    reference="noise",
)
def noise_reference(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3) -> Tensor:
    """Noise of the same size: what any disturbance of that size does."""
    return lerp(text, vision, alpha=alpha)


@strategy(
    "self_alignment",
    version=1,
    source=SOURCE,
    equation="lerp with the text's own tokens",
    control=True,
    reference="self",
)
def self_alignment(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3) -> Tensor:
    """The text's own words through the same alignment: the harm of misplacing tokens, with no vision at all."""
    return lerp(text, vision, alpha=alpha)


@strategy(
    "canary",
    version=2,
    source=SOURCE,
    equation="128 rows: V repeated, each row's channels shuffled in its own way, every second sign turned",
    control=True,
)
def canary(text: Tokens, vision: Tokens) -> Tensor:
    """Known-bad: the prompt is gone, the vision tokens' channels sit where no trained weight expects them, and there
    are far more of them than a caption has. That brings grids over the image, as researchers see them."""
    draw = torch.Generator().manual_seed(0)
    rows = vision.hidden.repeat(-(-CANARY_ROWS // len(vision)), 1)[:CANARY_ROWS]
    shuffled = torch.stack([row[torch.randperm(len(row), generator=draw)] for row in rows])
    signs = torch.where(torch.arange(CANARY_ROWS) % 2 == 0, 1.0, -1.0)
    return shuffled * signs[:, None]
