"""Alignment: bring vision tokens to the text's length. Each way reads a different share of the picture."""

from typing import Literal

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, interpolate

Align = Literal["truncate", "interpolate", "area"]


def align_to(text: Tensor, vision: Tensor, how: Align) -> tuple[Tensor, Tensor]:
    """Text (m, dim) and vision (n, dim) at one length.

    `truncate`: both cut to min(m, n), the seed's way; the vision rows kept are the picture's first corner.
    A picture of fewer tokens than the text cuts the text. `interpolate`: vision resampled to m rows by two-tap linear
    interpolation at (i + 1/2) n / m - 1/2, which reads at most 2 m of n rows. `area`: row i is the mean of the vision
    rows floor(i n / m) .. ceil((i + 1) n / m) - 1, so all n are read.
    """
    if how == "truncate":
        length = min(len(text), len(vision))
        return text[:length], vision[:length]
    columns = vision.T[None]
    if how == "interpolate":
        return text, interpolate(columns, size=len(text), mode="linear", align_corners=False)[0].T
    return text, adaptive_avg_pool1d(columns, len(text))[0].T
