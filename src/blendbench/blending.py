"""Names that a plug-in of strategies or steps imports.

Register a strategy with `@strategy`: the names of its positional parameters (`text`, `vision`, `neutral`) declare what
it needs, its keyword-only parameters are its settings. `@vision_transform` and `@text_transform` take a function that
changes one side only, and do the alignment and the mixture themselves.
"""

from blendbench.core.conditioning import BlendError, Conditioning, Denoising
from blendbench.core.tokens import Kind, Pair, Tokens, select
from blendbench.registry.parameters import Range
from blendbench.registry.strategies import strategy
from blendbench.steps.align import alignment
from blendbench.steps.combine import combiner
from blendbench.steps.mask import mask
from blendbench.steps.normalize import normaliser
from blendbench.steps.schedule import Moment, curve
from blendbench.strategies.base import text_transform, vision_transform

__all__ = [
    "BlendError",
    "Conditioning",
    "Denoising",
    "Kind",
    "Moment",
    "Pair",
    "Range",
    "Tokens",
    "alignment",
    "combiner",
    "curve",
    "mask",
    "normaliser",
    "select",
    "strategy",
    "text_transform",
    "vision_transform",
]
