"""Alignment: bring vision tokens to the text's length. Each way reads a different share of the picture."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, interpolate, normalize

Align = Literal["truncate", "interpolate", "area", "attention", "kmeans"]
TEMPERATURE = 0.1  # of cosines in an attention: a token that points the same way gets e^10 times the weight of none


def align_to(text: Tensor, vision: Tensor, how: Align) -> tuple[Tensor, Tensor]:
    """Text (m, dim) and vision (n, dim) at one length.

    `truncate`: both cut to min(m, n), the seed's way; the vision rows kept are the picture's first corner.
    A picture of fewer tokens than the text cuts the text. `interpolate`: vision resampled to m rows by two-tap linear
    interpolation at (i + 1/2) n / m - 1/2, which reads at most 2 m of n rows. `area`: row i is the mean of the vision
    rows floor(i n / m) .. ceil((i + 1) n / m) - 1, so all n are read. `attention`: row i is the mean of all vision
    rows, weighted by how well they point where text row i points. `kmeans`: the m centres of the vision rows' clusters,
    in the order of the picture; a picture of fewer tokens than the text is aligned by area.
    """
    if how == "truncate":
        length = min(len(text), len(vision))
        return text[:length], vision[:length]
    if how == "attention":
        return text, attention(text, vision) @ vision
    if how == "kmeans" and len(vision) > len(text):
        return text, _centres(vision, len(text))
    columns = vision.T[None]
    if how == "interpolate":
        return text, interpolate(columns, size=len(text), mode="linear", align_corners=False)[0].T
    return text, adaptive_avg_pool1d(columns, len(text))[0].T


def attention(queries: Tensor, keys: Tensor) -> Tensor:
    """(m, n) weights that add up to 1 for each of m queries: softmax of cosines over `TEMPERATURE`.

    Cosines, because a raw product of Qwen3's states is decided by two dimensions of its attention sink.
    """
    return (normalize(queries, dim=1) @ normalize(keys, dim=1).T / TEMPERATURE).softmax(1)


def _centres(rows: Tensor, count: int, rounds: int = 10) -> Tensor:
    """(count, dim) centres by Lloyd's algorithm, started from evenly spaced rows; an empty cluster keeps its centre."""
    centres = rows[torch.linspace(0, len(rows) - 1, count).round().long()].clone()
    for _ in range(rounds):
        nearest = torch.cdist(rows.double(), centres.double()).argmin(1)
        members = torch.zeros(count).index_add(0, nearest, torch.ones(len(rows)))
        sums = torch.zeros_like(centres).index_add(0, nearest, rows)
        centres = torch.where(members[:, None] > 0, sums / members[:, None].clamp_min(1), centres)
    return centres
