"""Measure images in a way of my own.

blendbench measure FOLDER --plugin my_name.py            # the images of a folder
blendbench run demo --plugin my_name.py                  # all images of an experiment
"""

import torch
from torch import Tensor

from blendbench.metrics import Batch, metric


@metric(
    "my_name",
    needs=("luma",),  # what the function reads; with "baselines" among them the metric is paired
    role="diagnostic",  # prompt, gain, artifact and drift enter verdicts
    direction="higher",  # which values are better: lower, higher or none
    unit="grey levels",
    margin=0.5,  # the difference that matters in practice
)
def my_name(batch: Batch) -> Tensor:
    """The mean step between neighbouring pixels."""
    # One number an image; NaN where the metric is not defined.
    return torch.diff(batch["luma"], dim=-1).abs().mean((-2, -1))
