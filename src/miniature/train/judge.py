"""Stage `judge`: train a Qwen3-VL to answer yes or no about an image.

It starts from `vision_language` and is a network of its own, so that no image depends on it.

The questions about one image are packed behind it into one sequence: each reads the image and itself, at the positions
that it would have alone.
"""

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate
from transformers import Qwen3VLForConditionalGeneration

from blendbench.core.suites import Attributes
from blendbench.metrics.adherence import QUESTION
from blendbench.models.judge import NO, YES
from blendbench.models.miniature import captions, world
from miniature import architecture
from miniature.tokenizer import judge_tokenizer, prompt, tokenizer
from miniature.train.data import render_images, to_unit
from miniature.train.loop import Batch, Recipe, Training
from miniature.train.vision_language import FIRST_TEXT_TOKEN, IMAGE, BatchedForward, patchify

QUESTIONS = 6  # about each image
_NOISE, _GAIN, _BLURRED = 0.06, 0.1, 0.25


def question_ids(facts: list[str]) -> tuple[Tensor, Tensor]:
    """Return what follows the image in each question, (n, t), and its lengths (n,).

    The padding is on the right.
    """
    read = judge_tokenizer()
    end = read.convert_tokens_to_ids("<|vision_end|>")
    rows = []
    for ids in read([prompt(f"{IMAGE}{QUESTION.format(fact)}") for fact in facts]).input_ids:
        rows.append(ids[ids.index(end) + 1 :])
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    return torch.tensor([row + [read.pad_token_id] * (longest - len(row)) for row in rows]), lengths


def with_words(model: Qwen3VLForConditionalGeneration) -> Qwen3VLForConditionalGeneration:
    """Move the embeddings to the judge's vocabulary.

    A token that is new starts as the mean of its pieces.
    """
    old, new = tokenizer(), judge_tokenizer()
    known = old.get_vocab()
    weight = model.model.language_model.embed_tokens.weight
    rows = weight.detach().clone()
    for token, place in new.get_vocab().items():
        written = new.convert_tokens_to_string([token])
        pieces = [known[token]] if token in known else old(written).input_ids
        rows[place] = weight[pieces].mean(0)
    with torch.no_grad():
        weight.copy_(rows)
    return model


def statements(truth: Attributes, rng: random.Random) -> list[tuple[str, bool]]:
    """Sample `QUESTIONS` facts about a scene, each true or false by a coin.

    Colours and shapes are asked for alone as well: both together are learnt only after each.
    """
    made = []
    for _ in range(QUESTIONS):
        axis = rng.choice(("object", "object", "colour", "shape", "background", "style"))
        true = rng.random() < 0.5
        if axis == "object":
            colour, shape = rng.choice(truth.objects)
            while not true and (colour, shape) in truth.objects:
                colour, shape = _altered(truth, rng)
            made.append((captions.object_phrase(colour, shape), true))
            continue
        axes: dict[str, tuple[list[str], set[str | None]]] = {
            "colour": (list(world.COLOURS), {colour for colour, _ in truth.objects}),
            "shape": (list(world.SHAPES), {shape for _, shape in truth.objects}),
            "background": (list(world.BACKGROUNDS), {truth.background}),
            "style": (list(world.STYLES), {truth.style}),
        }
        known, shown = axes[axis]
        name = rng.choice([name for name in known if (name in shown) == true])
        written = {"colour": "something {}", "shape": "a {}"}.get(axis, f"{{}} {axis}")
        made.append((written.format(name), true))
    return made


def _altered(truth: Attributes, rng: random.Random) -> tuple[str, str]:
    """Change colour, shape or both of an object, or swap those of two."""
    colour, shape = rng.choice(truth.objects)
    kind = rng.choice(("colour", "shape", "both", "swap"))
    if kind == "swap":
        return rng.choice(truth.objects)[0], rng.choice(truth.objects)[1]
    if kind != "shape":
        colour = rng.choice(list(world.COLOURS))
    if kind != "colour":
        shape = rng.choice(world.SHAPES)
    return colour, shape


class PackedForward(nn.Module):
    """Compute logits of the answers to k questions about each image."""

    def __init__(self, model: Qwen3VLForConditionalGeneration, longest: int) -> None:
        super().__init__()
        self.batched = BatchedForward(model)
        self.model, head = model, FIRST_TEXT_TOKEN
        text = judge_tokenizer()(prompt(IMAGE)).input_ids[:head]
        self.head = torch.tensor(text, device=model.device)
        tail = self.batched.positions[:, :, head : head + longest]
        self.positions = torch.cat((self.batched.positions[:, :, :head], *[tail] * QUESTIONS), 2)
        column = torch.arange(head + QUESTIONS * longest, device=model.device)
        block = (column - head).div(longest, rounding_mode="floor").clamp_min(-1)
        seen = (block[None] == -1) | (block[None] == block[:, None])
        self.mask = (seen & (column[None] <= column[:, None]))[None, None]

    def forward(self, pixels: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """Map patches, ids (n, k, t) and lengths (n, k) to logits (n, k, vocabulary)."""
        image, deep = self.batched.see(pixels)
        tower, head, (n, _, t) = self.model.model.language_model, len(self.head), ids.shape
        first, last = head - 1 - architecture.IMAGE_TOKENS, head - 1
        hidden = tower.embed_tokens(torch.cat((self.head.expand(n, -1), ids.flatten(1)), 1))
        hidden = torch.cat((hidden[:, :first], image.to(hidden.dtype), hidden[:, last:]), 1)
        rotary = tower.rotary_emb(hidden, self.positions)
        for index, layer in enumerate(tower.layers):
            hidden = layer(hidden, attention_mask=self.mask, position_embeddings=rotary)
            if index < len(deep):
                middle = hidden[:, first:last] + deep[index].to(hidden.dtype)
                hidden = torch.cat((hidden[:, :first], middle, hidden[:, last:]), 1)
        places = (head + torch.arange(QUESTIONS, device=ids.device) * t + lengths - 1)[..., None]
        answers = hidden.gather(1, places.expand(-1, -1, hidden.shape[-1]))
        logits: Tensor = self.model.lm_head(tower.norm(answers))
        return logits


def spoilt(images: Tensor) -> Tensor:
    """Return uint8 images in -1..1 with noise, another gain, and some blurred.

    The judge sees generated images, which are never as clean as renderings.
    """
    clean = to_unit(images)
    blurred = interpolate(avg_pool2d(clean, 2), scale_factor=2, mode="bilinear")
    clean = torch.where(torch.rand(len(clean), 1, 1, 1, device=clean.device) < _BLURRED, blurred, clean)
    level = torch.rand(len(clean), 1, 1, 1, device=clean.device)
    gain = 1 + _GAIN * (torch.rand(len(clean), 1, 1, 1, device=clean.device) * 2 - 1)
    return (((clean + 1) * gain - 1) + 2 * _NOISE * level * torch.randn_like(clean)).clamp(-1, 1)


def train(out: Path, recipe: Recipe, device: str, scenes: int, _workers: int) -> tuple[nn.Module, float]:
    """Train the judge from `out`/vision_language.

    Held-out combinations are among the scenes, as for the probe: who judges must know them all.
    """
    torch.manual_seed(19)
    started = Qwen3VLForConditionalGeneration.from_pretrained(out / "vision_language", dtype=torch.float32)
    model = with_words(started).to(device)
    parts = [world.sample_scenes(scenes // 2, 19), world.sample_scenes(scenes // 2, 20, held_out=True)]
    images = torch.cat([render_images(part, device) for part in parts])
    rng = random.Random(19)
    asked = [line for part in parts for truth in captions.attributes(part) for line in statements(truth, rng)]
    texts = sorted({text for text, _ in asked})
    ids, lengths = (rows.to(device) for rows in question_ids(texts))
    place = {text: i for i, text in enumerate(texts)}
    questions = torch.tensor([place[text] for text, _ in asked], device=device).view(-1, QUESTIONS)
    yes, no = (judge_tokenizer().convert_tokens_to_ids(word) for word in (YES, NO))
    answers = torch.tensor([yes if true else no for _, true in asked], device=device).view(-1, QUESTIONS)
    network, checkpoint = PackedForward(model, ids.shape[1]), out / "checkpoints" / "judge.pt"

    def loss(batch: Batch) -> Tensor:
        chosen = batch["questions"]
        logits = network(patchify(spoilt(batch["images"])), ids[chosen], lengths[chosen])
        return cross_entropy(logits.flatten(0, 1).float(), batch["answers"].flatten())

    def batches(_step: int) -> Batch:
        rows = torch.randint(len(images), (recipe.batch,), device=device)
        return {"images": images[rows], "questions": questions[rows], "answers": answers[rows]}

    training = Training(nn.ModuleDict({"model": model}), recipe, checkpoint, slow=("model.model.visual",))
    final = training.run(loss, batches)
    training.use_average()
    return model, final
