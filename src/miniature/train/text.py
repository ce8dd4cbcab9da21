"""Stage `text`: the language model learns the world's language.

It restates captions and answers questions on them.
"""

import random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from blendbench.core.suites import Attributes
from blendbench.models.miniature import captions, world
from miniature import architecture
from miniature.tokenizer import QUESTIONS
from miniature.train.data import conversation, pad_ids, training_scenes
from miniature.train.loop import Batch, Recipe, Training

LENGTH = 72
_NUMBERS = ("one", "two")


def answer(question: str, full: str, facts: Attributes) -> str:
    """Answer one of `QUESTIONS` about a scene."""
    answers = dict(
        zip(QUESTIONS, (full, str(facts.style), str(facts.background), _NUMBERS[len(facts.objects) - 1]), strict=True)
    )
    return answers[question]


def exchanges(scenes: world.Scenes, texts: list[str], seed: int) -> list[str]:
    """Make one exchange a scene: 60 % restate a caption, 40 % ask.

    A restated caption is canonical; a question follows the full caption.
    """
    rng = random.Random(seed)
    lines = []
    for caption, full, facts in zip(texts, captions.canonical(scenes), captions.attributes(scenes), strict=True):
        question = rng.choice(QUESTIONS)
        if rng.random() < 0.6:
            lines.append(conversation(caption, full))
        else:
            lines.append(conversation(f"{full}. {question}", answer(question, full, facts)))
    return lines


def next_token_loss(logits: Tensor, ids: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean cross-entropy of predicting `ids` (n, t).

    `logits` are (n, t, vocabulary), the weight (n, t).
    """
    losses = cross_entropy(logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
    return (losses * weight[:, 1:].flatten()).sum() / weight[:, 1:].sum()


def train(out: object, recipe: Recipe, device: str, scenes: int, workers: int) -> tuple[nn.Module, float]:
    """Train the text encoder; returns it with its last loss."""
    torch.manual_seed(11)
    model = architecture.text_encoder().to(device)
    chosen, texts = training_scenes(scenes, seed=11, workers=workers)
    ids, lengths = pad_ids(exchanges(chosen, texts, seed=11), LENGTH)
    weight = (torch.arange(LENGTH) < lengths[:, None]).float()
    ids, weight = ids.to(device), weight.to(device)
    positions = torch.arange(LENGTH, device=device)[None]

    def loss(batch: Batch) -> Tensor:
        # Padding stands on the right and attention is causal, so no mask is needed.
        logits = model(input_ids=batch["ids"], position_ids=positions, use_cache=False).logits
        return next_token_loss(logits, batch["ids"], batch["weight"])

    def batches(_step: int) -> Batch:
        rows = torch.randint(len(ids), (recipe.batch,), device=device)
        return {"ids": ids[rows], "weight": weight[rows]}

    training = Training(nn.ModuleDict({"text": model}), recipe, out / "checkpoints" / "text.pt")  # type: ignore[operator]
    final = training.run(loss, batches)
    training.use_average()
    return model, final
