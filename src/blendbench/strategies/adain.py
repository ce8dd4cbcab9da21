"""Adaptive instance normalisation: the statistics of the vision tokens on the text's content.

Source: X. Huang, S. Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization",
arXiv:1703.06868.
"""

import torch
from torch import Tensor

from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to
from blendbench.steps.normalize import Sink, match, match_dimensions, mean_std, mix
from blendbench.strategies.sources import SEED_DOCUMENT

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

    The whole image is read, where the seed cut it to the text's length. `sink=drop` leaves the text's position 0 out.
    """
    return mix(text.hidden, match_dimensions(text, vision, sink), alpha)


@strategy(
    "adain_dim_cut",
    version=1,
    source=f"{SEED_DOCUMENT}, adain_per_dim as published",
    equation="adain_dim with the statistics of the first len(T) vision tokens",
)
def adain_dim_cut(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, sink: Sink = "keep") -> Tensor:
    """The seed's literal form: the image is cut to the prompt's length, so its first corner gives the statistics."""
    rows, cut = align_to(text.hidden, vision.hidden, "truncate")
    kept = Tokens(rows, text.kinds[: len(rows)]), Tokens(cut, vision.kinds[: len(cut)])
    return text.hidden if alpha == 0 else mix(rows, match_dimensions(*kept, sink), alpha)


@strategy(
    "adain_sequence",
    version=1,
    source=f"{SEED_DOCUMENT}, adain global",
    equation="(1 - alpha) T + alpha ((T - mu_T) / sd_T sd_V + mu_V), one mean and deviation for all tokens",
)
def adain_sequence(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, sink: Sink = "keep") -> Tensor:
    """One scale and one shift for the whole prompt: nearly nothing is left of it behind the token normalisation."""
    if alpha == 0:
        return text.hidden
    rows = text.without_sink if sink == "drop" else slice(None)
    mean, std = mean_std(text.hidden[rows].flatten(), 0)
    wanted_mean, wanted_std = mean_std(vision.hidden.flatten(), 0)
    moved = ((text.hidden[rows] - mean) / std * wanted_std + wanted_mean).to(text.hidden.dtype)
    return mix(text.hidden, torch.cat((text.hidden[: rows.start or 0], moved)), alpha)
