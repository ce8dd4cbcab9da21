"""Adherence: does the image show what the prompt asks for?"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from blendbench.core.suites import Attributes
from blendbench.metrics.batch import Batch
from blendbench.metrics.protocols import Reading
from blendbench.metrics.registry import metric


@metric("clip_cosine", needs=("clip_images", "clip_texts"))
def clip_cosine(batch: Batch) -> Tensor:
    """(n,) cosine of CLIP's image and prompt embeddings, raw."""
    return (batch.clip_images * batch.clip_texts).sum(-1)


@metric("siglip_cosine", needs=("siglip_images", "siglip_texts"))
def siglip_cosine(batch: Batch) -> Tensor:
    """(n,) cosine of SigLIP's image and prompt embeddings, raw."""
    return (batch.siglip_images * batch.siglip_texts).sum(-1)


@metric("siglip_logit", needs=("siglip_images", "siglip_texts"))
def siglip_logit(batch: Batch) -> Tensor:
    """(n,) SigLIP's own logit, scale x cosine + bias: its sigmoid is the probability that image and text belong."""
    assert batch.scorers is not None and batch.scorers.siglip is not None
    siglip = batch.scorers.siglip
    return (batch.siglip_images * batch.siglip_texts).sum(-1) * siglip.logit_scale + siglip.logit_bias


@metric("clip_cut_tokens", needs=("prompts", "clip"))
def clip_cut_tokens(batch: Batch) -> Tensor:
    """(n,) how many tokens of the prompt CLIP does not read, because they are past its context."""
    return _cut(batch, "clip")


@metric("siglip_cut_tokens", needs=("prompts", "siglip"))
def siglip_cut_tokens(batch: Batch) -> Tensor:
    """(n,) how many tokens of the prompt SigLIP does not read, because they are past its context."""
    return _cut(batch, "siglip")


def _cut(batch: Batch, name: Literal["clip", "siglip"]) -> Tensor:
    encoder = getattr(batch.scorers, name)
    counts = torch.tensor(encoder.token_counts(batch.prompts), dtype=torch.float64)
    return (counts - encoder.context_length).clamp_min(0)


@metric("attribute_adherence", needs=("reading", "expects"))
def attribute_adherence(batch: Batch) -> Tensor:
    """(n,) mean probability of the facts that the prompt states; NaN where it states none. Errors: unknown names."""
    assert batch.expects is not None
    rows = [_facts(batch.reading, i, stated) for i, stated in enumerate(batch.expects)]
    return torch.stack([torch.stack(facts).mean() if facts else torch.tensor(torch.nan) for facts in rows])


def _facts(reading: Reading, i: int, stated: Attributes | None) -> list[Tensor]:
    """Probability of each stated fact: every object there, these objects and no other, the background, the style."""
    if stated is None:
        return []
    facts = []
    if stated.objects:
        pairs = {(position(reading.colours, c), position(reading.shapes, s)) for c, s in stated.objects}
        present = [reading.objects[i, c, s].cpu() for c, s in sorted(pairs)]
        others = reading.objects[i].cpu().clone()
        for c, s in pairs:
            others[c, s] = 0
        # An empty image has nothing too many in it: "no other" counts only as far as the stated objects are there.
        facts = [*present, torch.stack(present).amin() * (1 - others.amax())]
    if stated.background is not None:
        facts.append(reading.background[i, position(reading.backgrounds, stated.background)].cpu())
    if stated.style is not None:
        facts.append(reading.style[i, position(reading.styles, stated.style)].cpu())
    return facts


def position(names: Sequence[str], name: str) -> int:
    """Index of a stated name among those that the probe knows. Errors: ValueError."""
    if name not in names:
        raise ValueError(f"the probe knows no {name!r}; it knows {', '.join(names)}")
    return names.index(name)
