"""Alignment: bring vision tokens to the text's length. Each way reads a different share of the image."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, interpolate, normalize

from blendbench.registry.parameters import Steps

ALIGNMENTS: Steps[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = Steps("alignment")
Align = Annotated[str, ALIGNMENTS]
alignment = ALIGNMENTS.register
TEMPERATURE = 0.1  # of cosines in an attention: a token that points the same way gets e^10 times the weight of none


def align_to(text: Tensor, vision: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Text (m, dim) and vision (n, dim) at one length, by a registered alignment."""
    return ALIGNMENTS[how](text, vision)


@alignment("truncate")
def truncated(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Both cut to min(m, n), the seed's way; the vision rows kept are the image's first corner."""
    length = min(len(text), len(vision))
    return text[:length], vision[:length]


@alignment("interpolate")
def interpolated(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Two-tap linear interpolation at (i + 1/2) n / m - 1/2, which reads at most 2 m of n rows."""
    return text, interpolate(vision.T[None], size=len(text), mode="linear", align_corners=False)[0].T


@alignment("area")
def area_averaged(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Row i is the mean of the vision rows floor(i n / m) .. ceil((i + 1) n / m) - 1, so all n are read."""
    return text, adaptive_avg_pool1d(vision.T[None], len(text))[0].T


@alignment("attention")
def attended(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Row i is the mean of all vision rows, weighted by how well they point where text row i points."""
    return text, attention(text, vision) @ vision


@alignment("kmeans")
def clustered(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """The m centres of the vision rows' clusters, in the image's order; of fewer rows than m, area means."""
    return (text, _centres(vision, len(text))) if len(vision) > len(text) else area_averaged(text, vision)


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
