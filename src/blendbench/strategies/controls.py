"""Controls: strategies that separate an effect from its look-alikes.

Every run contains them.

Four of them are `lerp` at its default alpha with something else in place of the reference: whatever they share with
`lerp` is not the reference's doing. The canary is a blend that is broken by construction: if the metrics do not rank it
worst, they say nothing.
"""

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha
from blendbench.registry.strategies import Reference, strategy
from blendbench.steps.align import area_averaged
from blendbench.strategies.base import aligned_mix

SOURCE = "blendbench, control"
CANARY_ROWS = 128
# Doubles of `lerp` by name: the reference that each reads, and what that is.
_DOUBLES: tuple[tuple[str, Reference, str], ...] = (
    ("blank_reference", "blank", "the suite's blank image"),
    ("unrelated_reference", "unrelated", "another item's image"),
    ("noise_reference", "noise", "Gaussian rows of the vision tokens' norms"),
    ("self_alignment", "self", "the text's own tokens"),
)


def _lerp(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3) -> Tensor:
    """Mix as `lerp` does, with something else in place of the reference.

    A blank image shows the effect of having image tokens at all; another item's image what follows from an image, but
    not from this one; noise what any disturbance of that size does; the text's own words the harm of misplacing
    tokens, with no vision at all.
    """
    return aligned_mix(text.hidden, vision.hidden, alpha, area_averaged)


for _name, _reference, _what in _DOUBLES:
    strategy(_name, source=SOURCE, equation=f"lerp with {_what}", dose="alpha", control=True, reference=_reference)(
        _lerp
    )


@strategy(
    "canary",
    version=2,
    source=SOURCE,
    equation="128 rows: V repeated, each row's channels shuffled in its own way, every second sign turned",
    control=True,
)
def canary(text: Tokens, vision: Tokens) -> Tensor:
    """Break the conditioning in a known way.

    There is no prompt, and channels are used where no trained weight expects them.

    There are far more rows than a caption has, which brings grids over the image, as researchers see them.
    """
    generator = torch.Generator().manual_seed(0)
    rows = vision.hidden.repeat(-(-CANARY_ROWS // len(vision)), 1)[:CANARY_ROWS]
    shuffled = torch.stack([row[torch.randperm(len(row), generator=generator)] for row in rows])
    signs = torch.where(torch.arange(CANARY_ROWS) % 2 == 0, 1.0, -1.0)
    return shuffled * signs[:, None]
