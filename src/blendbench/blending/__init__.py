"""Blending: pure functions that turn text and vision embeddings into a conditioning, and their registry.

Register a strategy with `@strategy`; the names of its positional parameters (`text`, `vision`, `neutral`) declare what
it needs, its keyword-only parameters are its settings. No model, no file and no clock is known here.
"""

from blendbench.blending.align import alignment
from blendbench.blending.combine import combiner
from blendbench.blending.conditioning import BlendError, Conditioning, Denoising
from blendbench.blending.normalise import normaliser
from blendbench.blending.outliers import mask
from blendbench.blending.parameters import Parameter, Range, layer_weights
from blendbench.blending.registry import (
    Configuration,
    Sources,
    Strategy,
    all_strategies,
    get_strategy,
    load_plugin,
    parse_configuration,
    strategy,
)
from blendbench.blending.schedule import Moment, curve
from blendbench.blending.tokens import Kind, Pair, Tokens, select

__all__ = [
    "BlendError",
    "Conditioning",
    "Configuration",
    "Denoising",
    "Kind",
    "Moment",
    "Pair",
    "Parameter",
    "Range",
    "Sources",
    "Strategy",
    "Tokens",
    "alignment",
    "all_strategies",
    "combiner",
    "curve",
    "get_strategy",
    "layer_weights",
    "load_plugin",
    "mask",
    "normaliser",
    "parse_configuration",
    "select",
    "strategy",
]
