"""Adherence: whether the image shows what the prompt asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blendbench.core.lazy import torch
from blendbench.metrics.inputs import clip_images, clip_texts, reading, siglip_images, siglip_texts
from blendbench.metrics.registry import metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from blendbench.core.suites import Attributes, Fact
    from blendbench.metrics.batch import Batch
    from blendbench.metrics.protocols import Encoder, Judge, Reading

# Part of the code of facts_vqa: another question makes other scores.
QUESTION = 'Does this image show "{}"? Please answer yes or no.'


@metric("clip_cosine", needs=("clip_images", "clip_texts"))
def clip_cosine(batch: Batch) -> Tensor:
    """Return (n,) raw cosines of CLIP's image and prompt embeddings."""
    return (clip_images(batch) * clip_texts(batch)).sum(-1)


@metric("siglip_cosine", needs=("siglip_images", "siglip_texts"))
def siglip_cosine(batch: Batch) -> Tensor:
    """Return (n,) raw cosines of SigLIP's image and prompt embeddings."""
    return (siglip_images(batch) * siglip_texts(batch)).sum(-1)


@metric("siglip_logit", needs=("siglip_images", "siglip_texts"))
def siglip_logit(batch: Batch) -> Tensor:
    """Return (n,) SigLIP logits, scale x cosine + bias.

    The sigmoid of a logit is the probability that image and text belong together.
    """
    siglip: Encoder = batch["siglip"]
    return (siglip_images(batch) * siglip_texts(batch)).sum(-1) * siglip.logit_scale + siglip.logit_bias


@metric("clip_cut_tokens", needs=("prompts", "clip"))
def clip_cut_tokens(batch: Batch) -> Tensor:
    """Count (n,) the tokens of each prompt that lie past the context of CLIP."""
    return _cut(batch["prompts"], batch["clip"])


@metric("siglip_cut_tokens", needs=("prompts", "siglip"))
def siglip_cut_tokens(batch: Batch) -> Tensor:
    """Count (n,) the tokens of each prompt beyond SigLIP's context."""
    return _cut(batch["prompts"], batch["siglip"])


def _cut(prompts: list[str], encoder: Encoder) -> Tensor:
    counts = torch.tensor(encoder.token_counts(prompts), dtype=torch.float64)
    return (counts - encoder.context_length).clamp_min(0)


@metric("facts_siglip", needs=("siglip_images", "siglip", "facts"))
def facts_siglip(batch: Batch) -> Tensor:
    """Return (n,) mean probabilities of each image's facts among foils, by SigLIP.

    NaN where no fact has foils.
    """
    return _judged_facts(siglip_images(batch), batch["siglip"], batch["facts"])


@metric("facts_clip", needs=("clip_images", "clip", "facts"))
def facts_clip(batch: Batch) -> Tensor:
    """Return (n,) mean probabilities of each image's facts among foils, by CLIP.

    NaN where no fact has foils.
    """
    return _judged_facts(clip_images(batch), batch["clip"], batch["facts"])


def _judged_facts(images: Tensor, encoder: Encoder, facts: list[tuple[Fact, ...]]) -> Tensor:
    rows = []
    for image, stated in zip(images, facts, strict=True):
        judged = [fact for fact in stated if fact.foils]
        texts = [text for fact in judged for text in (fact.text, *fact.foils)]
        # The bias of SigLIP's logits is the same for all texts, and cancels.
        logits = (encoder.encode_texts(texts) @ image * encoder.logit_scale) if texts else image.new_empty(0)
        of_fact = logits.split([1 + len(fact.foils) for fact in judged])
        rows.append(
            torch.stack([part.softmax(0)[0] for part in of_fact]).mean() if judged else image.new_tensor(torch.nan)
        )
    return torch.stack(rows)


@metric("facts_vqa", needs=("images", "judge", "facts"))
def facts_vqa(batch: Batch) -> Tensor:
    """Return (n,) mean probabilities of yes to each image's facts.

    A vision-language model is asked. NaN where an item states no facts.
    """
    judge: Judge = batch["judge"]
    stated: list[tuple[Fact, ...]] = batch["facts"]
    questions = [[QUESTION.format(fact.text) for fact in facts] for facts in stated]
    asked = judge.probabilities(batch.images, questions)
    return torch.stack([found.mean() if len(found) else torch.tensor(torch.nan) for found in asked])


@metric("attribute_adherence", needs=("reading", "expects"))
def attribute_adherence(batch: Batch) -> Tensor:
    """Return (n,) mean probabilities of the facts that each prompt states.

    NaN where a prompt states none. Errors: ValueError for a name that the probe does not know.
    """
    expects: list[Attributes | None] = batch["expects"]
    rows = [_facts(reading(batch), i, stated) for i, stated in enumerate(expects)]
    return torch.stack([torch.stack(facts).mean() if facts else torch.tensor(torch.nan) for facts in rows])


def _facts(read: Reading, i: int, stated: Attributes | None) -> list[Tensor]:
    """Return the probability of each stated fact of image i.

    The facts: each object is there, these objects and no other, the background, the style.
    """
    if stated is None:
        return []
    facts = []
    if stated.objects:
        pairs = {(position(read.colours, c), position(read.shapes, s)) for c, s in stated.objects}
        present = [read.objects[i, c, s].cpu() for c, s in sorted(pairs)]
        others = read.objects[i].cpu().clone()
        for c, s in pairs:
            others[c, s] = 0
        # An empty image has no other object either: the fact counts only as far as the stated objects are there.
        facts = [*present, torch.stack(present).amin() * (1 - others.amax())]
    if stated.background is not None:
        facts.append(read.background[i, position(read.backgrounds, stated.background)].cpu())
    if stated.style is not None:
        facts.append(read.style[i, position(read.styles, stated.style)].cpu())
    return facts


def position(names: Sequence[str], name: str) -> int:
    """Return the index of a stated name among those that the probe knows.

    Errors: ValueError.
    """
    if name not in names:
        raise ValueError(f"the probe knows no {name!r}; it knows {', '.join(names)}")
    return names.index(name)
