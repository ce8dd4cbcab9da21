"""Adaptive instance normalisation: vision statistics on text content.

Source: X. Huang, S. Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization",
arXiv:1703.06868.
"""

from blendbench.core.lazy import Tensor, torch
from blendbench.core.tokens import Tokens
from blendbench.registry.parameters import Alpha
from blendbench.registry.strategies import strategy
from blendbench.steps.align import Align, align_to, truncated
from blendbench.steps.normalize import Sink, match, match_dimensions, mean_std, mix
from blendbench.strategies.base import text_transform
from blendbench.strategies.sources import SEED_DOCUMENT

SOURCE = "Huang & Belongie 2017, arXiv:1703.06868"
FORM = "(T - mu_T) / sd_T sd_V + mu_V"


@strategy(
    "adain_token",
    source=SOURCE,
    equation=f"(1 - alpha) T + alpha ({FORM}), per token",
    dose="alpha",
    dose_grid=(0.3, 0.7, 1.0),
)
def adain_token(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, align: Align = "area") -> Tensor:
    """Give each text token its vision token's mean and deviation.

    They are taken over its dimensions.

    The transformer normalises each token by its root mean square, so this is nearly the identity there: the registry
    keeps it as a measured no-op.
    """
    rows, aligned = align_to(text.hidden, vision.hidden, align)
    return mix(rows, match(rows, aligned, 1), alpha)


@text_transform("adain_dim", FORM, SOURCE, note=", per dimension")
def adain_dim(text: Tokens, vision: Tokens, *, sink: Sink = "keep") -> Tensor:
    """Give each text dimension the vision tokens' mean and deviation.

    The whole image is read, where the seed document cut it to the text's length. `sink=drop` leaves the text's
    position 0 out.
    """
    return match_dimensions(text, vision, sink)


@strategy(
    "adain_dim_cut",
    source=f"{SEED_DOCUMENT}, adain_per_dim as published",
    equation="adain_dim with the statistics of the first len(T) vision tokens",
    dose="alpha",
)
def adain_dim_cut(text: Tokens, vision: Tokens, *, alpha: Alpha = 0.3, sink: Sink = "keep") -> Tensor:
    """Cut the image to the prompt's length, the literal form.

    The first corner of the image then gives the statistics.
    """
    rows, cut = truncated(text.hidden, vision.hidden)
    kept = Tokens(rows, text.kinds[: len(rows)]), Tokens(cut, vision.kinds[: len(cut)])
    return mix(rows, match_dimensions(*kept, sink), alpha)


@text_transform(
    "adain_sequence",
    FORM,
    f"{SEED_DOCUMENT}, adain global",
    note=", one mean and deviation for all tokens",
    dose_grid=(0.3, 0.7, 1.0),
)
def adain_sequence(text: Tokens, vision: Tokens, *, sink: Sink = "keep") -> Tensor:
    """Give the whole prompt one scale and one shift.

    The token normalisation leaves nearly nothing of them.
    """
    rows = text.without_sink if sink == "drop" else slice(None)
    mean, std = mean_std(text.hidden[rows].flatten(), 0)
    wanted_mean, wanted_std = mean_std(vision.hidden.flatten(), 0)
    moved = ((text.hidden[rows] - mean) / std * wanted_std + wanted_mean).to(text.hidden.dtype)
    return torch.cat((text.hidden[: rows.start or 0], moved))
