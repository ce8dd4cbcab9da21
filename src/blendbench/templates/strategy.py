"""Blend in a way of my own.

blendbench check my_name.py                  # what it gains and costs on development items
blendbench watch my_name.py                  # the same again whenever this file is saved
blendbench run demo --plugin my_name.py      # on the board of an experiment
"""

from typing import Annotated

from torch import Tensor

from blendbench.blending import Range, Tokens, strategy


# `dose` names the setting that says how much of the image there is. At 0 the result is the text, and the function is
# not called. More settings are more keyword-only parameters, each with a type and a default.
@strategy("my_name", source="my notebook", equation="T + alpha (mean(V) - mean(T))", dose="alpha")
def my_name(text: Tokens, vision: Tokens, *, alpha: Annotated[float, Range(0, 1)] = 0.3) -> Tensor:
    """Move every text token towards the mean image token."""
    # `hidden` is (tokens, width) in float32. Return rows of the same width: as many as the text has, or more.
    return text.hidden + alpha * (vision.hidden.mean(0) - text.hidden.mean(0))
