"""Adaptive instance normalisation: the statistics of the vision tokens on the text's content.

Source: X. Huang, S. Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization",
arXiv:1703.06868.
"""

from torch import Tensor

from blendbench.blending.align import Align, align_to
from blendbench.blending.linear import Alpha
from blendbench.blending.normalise import Sink, match, match_dimensions, mix
from blendbench.blending.registry import strategy
from blendbench.blending.tokens import Tokens

SOURCE = "Huang & Belongie 2017, arXiv:1703.06868"


@strategy(
    "adain_token", version=1, source=SOURCE, equation="(1 - alpha) T + alpha ((T - mu_T) / sd_T sd_V + mu_V), per token"
)
def adain_token(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, align: Align = "area") -> Tensor:
    """Each text token gets the mean and deviation, over its dimensions, of its vision token.

    The transformer normalises each token by its root mean square, so this is nearly the identity there: the registry
    keeps it as a measured no-op.
    """
    if alpha == 0:
        return text.hidden
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    return mix(rows, match(rows, aligned, 1), alpha)


@strategy(
    "adain_dim",
    version=1,
    source=SOURCE,
    equation="(1 - alpha) T + alpha ((T - mu_T) / sd_T sd_V + mu_V), per dimension",
)
def adain_dim(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, sink: Sink = "keep") -> Tensor:
    """Each dimension of the text gets the mean and deviation, over all vision tokens, of that dimension.

    The whole picture is read, where the seed cut it to the text's length. `sink=drop` leaves the text's position 0 out.
    """
    return mix(text.hidden, match_dimensions(text, vision, sink), alpha)
