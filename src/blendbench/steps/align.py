"""Alignment: bring vision tokens to the text's length.

Each way reads a different part of the image.
"""

from collections.abc import Callable
from typing import Annotated

from blendbench.core.lazy import Tensor, torch
from blendbench.registry.steps import Steps

Aligner = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ALIGNMENTS: Steps[Aligner] = Steps("alignment")
Align = Annotated[str, ALIGNMENTS]
alignment = ALIGNMENTS.register
TEMPERATURE = 0.1  # of cosines in an attention: a token that points the same way gets e^10 times the weight of none


def align_to(text: Tensor, vision: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Align text (m, dim) and vision (n, dim) to one length."""
    return ALIGNMENTS.get(how)(text, vision)


@alignment("truncate")
def truncated(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Cut both to min(m, n), the seed document's way.

    The vision rows kept are the image's first corner.
    """
    length = min(len(text), len(vision))
    return text[:length], vision[:length]


@alignment("interpolate")
def interpolated(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate linearly at (i + 1/2) n / m - 1/2.

    There are two taps, which read at most 2 m of n rows.
    """
    rows = torch.nn.functional.interpolate(vision.T[None], size=len(text), mode="linear", align_corners=False)
    return text, rows[0].T


@alignment("area")
def area_averaged(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Average vision rows by area, so that all n are read.

    Row i is the mean of the vision rows floor(i n / m) .. ceil((i + 1) n / m) - 1.
    """
    return text, torch.nn.functional.adaptive_avg_pool1d(vision.T[None], len(text))[0].T


@alignment("attention")
def attended(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Average vision rows by how well they point where text row i points."""
    return text, attention(text, vision) @ vision


@alignment("kmeans")
def clustered(text: Tensor, vision: Tensor) -> tuple[Tensor, Tensor]:
    """Take the m centres of the vision rows' clusters, in the image's order.

    Of fewer rows than m, area means.
    """
    return (text, _centres(vision, len(text))) if len(vision) > len(text) else area_averaged(text, vision)


def attention(queries: Tensor, keys: Tensor) -> Tensor:
    """Return (m, n) weights that add up to 1 for each of m queries.

    They are the softmax of cosines over `TEMPERATURE`.

    Cosines, because a raw product of Qwen3's states is decided by two dimensions of its attention sink.
    """
    directions = torch.nn.functional.normalize(queries, dim=1)
    return (directions @ torch.nn.functional.normalize(keys, dim=1).T / TEMPERATURE).softmax(1)


def _centres(rows: Tensor, count: int, rounds: int = 10) -> Tensor:
    """Return (count, dim) centres of Lloyd's algorithm.

    It starts from evenly spaced rows.
    """
    centres = rows[torch.linspace(0, len(rows) - 1, count).round().long()].clone()
    for _ in range(rounds):
        nearest = torch.cdist(rows.double(), centres.double()).argmin(1)
        members = torch.zeros(count).index_add(0, nearest, torch.ones(len(rows)))
        sums = torch.zeros_like(centres).index_add(0, nearest, rows)
        # An empty cluster keeps its centre.
        centres = torch.where(members[:, None] > 0, sums / members[:, None].clamp_min(1), centres)
    return centres
