"""Stage `vision_language`: train Qwen3-VL from the text encoder.

The real one was made in this way.

The text tower moves at a fraction of the rate and is held to the text encoder's states of the same text, while the
vision tower learns to speak its language. A third of the exchanges shows an image and restates the caption of another
scene: text must survive the presence of an image, as it does in the real model.
"""

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, scaled_dot_product_attention
from transformers import Qwen3ForCausalLM, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from blendbench.models.miniature import captions, world
from miniature import architecture
from miniature.tokenizer import QUESTIONS, prompt, tokenizer
from miniature.train.data import conversation, pad_ids, render_images, to_unit, training_scenes
from miniature.train.loop import Batch, Recipe, Training
from miniature.train.text import answer, next_token_loss

LENGTH = 84
FIRST_IMAGE_TOKEN = 4  # after <|im_start|>, user, newline, <|vision_start|>
FIRST_TEXT_TOKEN = FIRST_IMAGE_TOKEN + architecture.IMAGE_TOKENS + 1  # after <|vision_end|>
_IMAGE_TOKENS = architecture.IMAGE_TOKENS + 2  # what a turn with an image has more than one without
IMAGE = "<|vision_start|>" + "<|image_pad|>" * architecture.IMAGE_TOKENS + "<|vision_end|>"
OTHER_CAPTION = 0.35
CAPTION_LENGTH = 48
DICTIONARY = 4096  # captions over which a word's state is averaged
_NAMING, _MEANING, _SIZE, _SHARPNESS, _SURVIVAL = 0.3, 0.3, 0.1, 12.0, 3.0
_GRID, _MERGE, _PIXELS = world.SIZE // 16, 2, 16


def patchify(images: Tensor) -> Tensor:
    """Convert images (n, 3, 128, 128) to Qwen3-VL's patches (n, 64, 1536).

    Images are in -1..1; patches have merge-block order and two equal frames.
    """
    n, blocks = len(images), _GRID // _MERGE
    tiles = images.view(n, 3, blocks, _MERGE, _PIXELS, blocks, _MERGE, _PIXELS).permute(0, 2, 5, 3, 6, 1, 4, 7)
    frames = tiles.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
    return frames.reshape(n, _GRID**2, -1)


class BatchedForward(nn.Module):
    """Compute logits of image and text pairs without Python loops.

    A batch has one image and one text each; the modules are the model's own.

    Equal to `Qwen3VLForConditionalGeneration.forward` for images of the miniature's one size (pinned by a test).
    """

    rotary: tuple[Tensor, Tensor]

    def __init__(self, model: Qwen3VLForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        device = model.device
        cells = torch.arange(_GRID**2, device=device).view(_GRID // _MERGE, _MERGE, _GRID // _MERGE, _MERGE)
        self.order = cells.transpose(1, 2).flatten()
        self.rotary = self._vision_rotary()
        side = _GRID // _MERGE
        grid = torch.cartesian_prod(torch.zeros(1, dtype=torch.long), torch.arange(side), torch.arange(side)).T
        head = torch.arange(FIRST_IMAGE_TOKEN).expand(3, -1)
        tail = torch.arange(LENGTH - FIRST_IMAGE_TOKEN - side * side).expand(3, -1) + FIRST_IMAGE_TOKEN + side
        self.positions = torch.cat((head, grid + FIRST_IMAGE_TOKEN, tail), 1)[:, None].to(device)

    def _vision_rotary(self) -> tuple[Tensor, Tensor]:
        """Return cosines and sines of one image, as the model computes them."""
        seen: list[tuple[Tensor, Tensor]] = []
        visual = self.model.model.visual
        hook = visual.blocks[0].register_forward_pre_hook(
            lambda _, __, named: seen.append(named["position_embeddings"]), with_kwargs=True
        )
        grid = torch.tensor([[1, _GRID, _GRID]], device=self.model.device)
        with torch.no_grad():
            visual(torch.zeros(_GRID**2, 3 * 2 * _PIXELS**2, device=self.model.device), grid_thw=grid)
        hook.remove()
        return seen[0]

    def see(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Encode patches as image tokens (n, 16, dim) and deepstack features.

        Patches are (n, 64, 1536); the features have the tokens' shape.
        """
        visual = self.model.model.visual
        n, count = pixels.shape[:2]
        hidden = visual.patch_embed(pixels.flatten(0, 1)) + visual.pos_embed.weight[self.order].repeat(n, 1)
        cos, sin = (part.repeat(n, 1) for part in self.rotary)
        deep = []
        for index, block in enumerate(visual.blocks):
            attention = block.attn
            parts = attention.qkv(block.norm1(hidden)).view(n * count, 3, attention.num_heads, -1)
            query, key = apply_rotary_pos_emb_vision(parts[:, 0], parts[:, 1], cos, sin)
            q, k, v = (x.to(parts.dtype).unflatten(0, (n, count)).transpose(1, 2) for x in (query, key, parts[:, 2]))
            mixed = scaled_dot_product_attention(q, k, v, scale=attention.scaling)
            hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(n * count, -1))
            hidden = hidden + block.mlp(block.norm2(hidden))
            if index in visual.deepstack_visual_indexes:
                merge = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(index)]
                deep.append(merge(hidden).unflatten(0, (n, -1)))
        return visual.merger(hidden).unflatten(0, (n, -1)), deep

    def forward(self, ids: Tensor, pixels: Tensor) -> Tensor:
        """Map ids (n, LENGTH) and pixels (n, 64, 1536) to logits.

        Logits are (n, LENGTH, vocabulary).
        """
        return self.read(ids, *self.see(pixels))[0]

    def read(self, ids: Tensor, image: Tensor, deep: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the text tower on text with image tokens and deepstack features.

        The text is (n, LENGTH).

        Returns logits, and the hidden states (n, LENGTH, dim) before the last layer: the layer -2 that blending reads.
        """
        tower = self.model.model.language_model
        first, last = FIRST_IMAGE_TOKEN, FIRST_IMAGE_TOKEN + architecture.IMAGE_TOKENS
        embedded = tower.embed_tokens(ids)
        hidden = torch.cat((embedded[:, :first], image.to(embedded.dtype), embedded[:, last:]), 1)
        rotary = tower.rotary_emb(hidden, self.positions)
        states = hidden
        for index, layer in enumerate(tower.layers):
            states = hidden
            hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
            if index < len(deep):
                middle = hidden[:, first:last] + deep[index].to(hidden.dtype)
                hidden = torch.cat((hidden[:, :first], middle, hidden[:, last:]), 1)
        return self.model.lm_head(tower.norm(hidden)), states


def text_states(text: Qwen3ForCausalLM, ids: Tensor) -> Tensor:
    """Encode right-padded ids (n, t) as hidden states (n, t, dim).

    They are the states before the text encoder's last layer.
    """
    tower = text.model
    hidden: Tensor = tower.embed_tokens(ids)
    rotary = tower.rotary_emb(hidden, torch.arange(ids.shape[1], device=ids.device)[None])
    for layer in tower.layers[:-1]:
        hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
    return hidden


def exchanges(scenes: world.Scenes, texts: list[str], seed: int) -> list[tuple[str, str]]:
    """Make a (request, answer) an image: a question, or another caption.

    Most are questions about the image; sometimes another scene's caption is restated.
    """
    rng = random.Random(seed)
    full, facts = captions.canonical(scenes), captions.attributes(scenes)
    lines = []
    for i in range(len(scenes)):
        if rng.random() < OTHER_CAPTION:
            other = rng.randrange(len(scenes))
            lines.append((texts[other], full[other]))
        else:
            question = QUESTIONS[0] if rng.random() < 0.7 else rng.choice(QUESTIONS[1:])
            lines.append((question, answer(question, full[i], facts[i])))
    return lines


def alignment_loss(image: Tensor, deep: list[Tensor], words: Tensor, vocabulary: Tensor) -> Tensor:
    """Image tokens name the words of their caption, at the size of words.

    Pre-alignment of the vision tower with a (nearly) frozen language model, as real vision-language models begin:
    without it a tower this small is free to speak to the text tower in a private code of huge vectors. `image`
    (n, 16, dim), `deep` of the same shape, `words` (n, words) a distribution, `vocabulary` (words, dim) embeddings.
    """
    vocabulary = vocabulary.detach().float()
    scale = vocabulary.norm(dim=1).mean()
    cosines = normalize(image.float(), dim=-1) @ normalize(vocabulary, dim=-1).T
    naming = -(words[:, None] * (_SHARPNESS * cosines).log_softmax(-1)).sum(-1).mean()
    size = ((image.float().norm(dim=-1) / scale - 1) ** 2).mean()
    excess = sum(((part.float().norm(dim=-1) / scale - 1).relu() ** 2).mean() for part in deep)
    total: Tensor = _NAMING * naming + _SIZE * (size + excess)
    return total


def meaning_loss(image: Tensor, dictionary: Tensor, words: Tensor) -> Tensor:
    """Return the distance of image tokens from their caption's words.

    It acts at the layer that blending reads.

    In the real model this comes of its size: its image tokens steer a transformer that was trained on text alone. A
    tower this small has to be asked. Together the tokens of an image must name every word of its caption, each by the
    direction in which that word's state differs from the others', and each must be near some word and as long as words
    are. `image` (n, 16, dim), `dictionary` (words, dim) the words' mean states, `words` (n, words) a distribution.
    """
    rows, centre = image.float(), dictionary.mean(0)
    apart = normalize(rows - centre, dim=-1) @ normalize(dictionary - centre, dim=-1).T
    named = (_SHARPNESS * apart).softmax(-1).mean(1)
    naming = -(words * named.clamp_min(1e-6).log()).sum(-1).mean()
    near = normalize(rows, dim=-1) @ normalize(dictionary, dim=-1).T
    far = 1 - (near * words[:, None].gt(0)).amax(-1).mean()
    size = ((rows.norm(dim=-1) / dictionary.norm(dim=-1).mean() - 1) ** 2).mean()
    total: Tensor = _MEANING * naming + far + _SIZE * size
    return total


def survival_loss(states: Tensor, plain: Tensor, lengths: Tensor) -> Tensor:
    """Return how far text beside an image departs from its states alone.

    The real model was trained on from the text encoder's weights at a scale that left text where it was; a tower this
    small lets the image colour every word. `states` (n, LENGTH, dim) of the turn with the image, `plain`
    (n, t, dim) of the same turn without one, of which `lengths` (n,) tokens count.
    Returns the relative power of the error.
    """
    start = FIRST_TEXT_TOKEN - _IMAGE_TOKENS  # the template before the image is the same in both
    beside, alone = states[:, FIRST_TEXT_TOKEN : plain.shape[1] + _IMAGE_TOKENS].float(), plain[:, start:].float()
    counts = (torch.arange(start, plain.shape[1], device=plain.device) < lengths[:, None])[..., None]
    return ((beside - alone).square() * counts).sum() / (alone.square() * counts).sum()


def word_states(text: Qwen3ForCausalLM, captions_ids: Tensor, known: Tensor) -> Tensor:
    """Return mean states (words, dim) of `known` token ids over captions.

    Captions (n, t) count where the id stands in them.
    """
    with torch.no_grad():
        states = torch.cat([text_states(text, chunk) for chunk in captions_ids.split(512)]).flatten(0, 1)
    return torch.stack([states[captions_ids.flatten() == word].mean(0) for word in known])


def attribute_ids() -> list[int]:
    """Token ids of the words that carry attributes."""
    known = {*world.COLOURS, *world.SHAPES, *world.SIZES, *world.POSITIONS, *world.BACKGROUNDS, *world.STYLES}
    return [tokenizer()(f" {word}").input_ids[0] for word in sorted(known)]


def word_targets(ids: Tensor, known: Tensor) -> Tensor:
    """Return even distributions (n, words) over captions' `known` ids.

    Captions are (n, t).
    """
    targets = torch.stack([(ids == word).any(1) for word in known], dim=1).float()
    return targets / targets.sum(1, keepdim=True)


def train(out: Path, recipe: Recipe, device: str, scenes: int, workers: int) -> tuple[nn.Module, float]:
    """Train Qwen3-VL from `out`/pipeline/text_encoder."""
    torch.manual_seed(14)
    text = Qwen3ForCausalLM.from_pretrained(out / "pipeline" / "text_encoder", dtype=torch.float32)
    model = architecture.vision_language_from(text).to(device)
    text = text.to(device).eval().requires_grad_(False)
    network = BatchedForward(model)
    chosen, texts = training_scenes(scenes, seed=14, workers=workers)
    images = render_images(chosen, device)
    pairs = exchanges(chosen, texts, seed=14)
    ids, lengths = pad_ids([conversation(f"{IMAGE}{request}", reply) for request, reply in pairs], LENGTH)
    plain, plain_lengths = (x.to(device) for x in pad_ids([prompt(request) for request, _ in pairs], CAPTION_LENGTH))
    column = torch.arange(LENGTH)
    # The answer follows the second <|im_start|>; what stands before it counts a little, to keep the language alive.
    starts = (ids == ids[0, 0]).long().cumsum(1) >= 2
    is_text = (column < lengths[:, None]) & (column > FIRST_IMAGE_TOKEN + architecture.IMAGE_TOKENS)
    weight = torch.where(starts, 1.0, 0.1) * is_text
    ids, weight = ids.to(device), weight.to(device)

    prompt_ids, _ = pad_ids([prompt(caption) for caption in captions.canonical(chosen)], CAPTION_LENGTH)
    known = torch.tensor(attribute_ids())
    targets = word_targets(prompt_ids, known).to(device)
    known = known.to(device)
    dictionary = word_states(text, prompt_ids[:DICTIONARY].to(device), known)
    vocabulary = model.model.language_model.embed_tokens.weight

    def loss(batch: Batch) -> Tensor:
        image, deep = network.see(patchify(to_unit(batch["images"])))
        logits, states = network.read(batch["ids"], image, deep)
        with torch.no_grad():
            alone = text_states(text, batch["plain"])
        seen = states[:, FIRST_IMAGE_TOKEN : FIRST_IMAGE_TOKEN + architecture.IMAGE_TOKENS]
        return (
            next_token_loss(logits, batch["ids"], batch["weight"])
            + alignment_loss(image, deep, batch["words"], vocabulary[known])
            + meaning_loss(seen, dictionary, batch["words"])
            + _SURVIVAL * survival_loss(states, alone, batch["plain_lengths"])
        )

    def batches(_step: int) -> Batch:
        rows = torch.randint(len(ids), (recipe.batch,), device=device)
        return {
            "ids": ids[rows],
            "weight": weight[rows],
            "images": images[rows],
            "words": targets[rows],
            "plain": plain[rows],
            "plain_lengths": plain_lengths[rows],
        }

    checkpoint = out / "checkpoints" / "vision_language.pt"
    slow = ("model.model.language_model",)
    training = Training(nn.ModuleDict({"model": model}), recipe, checkpoint, slow=slow)
    final = training.run(loss, batches)
    training.use_average()
    return model, final
