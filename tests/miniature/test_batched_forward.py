"""The training forwards equal the library's own: a network trained through them is the network that is used."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from blendbench.models.families.z_image.fast import RealRotaryAttention
from blendbench.models.miniature import captions, world
from miniature import architecture
from miniature.tokenizer import prompt, tokenizer
from miniature.train import transformer, vision_language
from miniature.train.data import conversation, pad_ids, to_unit
from miniature.train.muon import orthogonalise


@pytest.mark.parametrize("caption_tokens", [32, 64])
def test_batched_transformer_equals_the_library_forward(caption_tokens: int) -> None:
    torch.manual_seed(0)
    model = architecture.transformer().eval()
    lengths = torch.tensor([caption_tokens - 9, caption_tokens])
    captions = torch.randn(2, caption_tokens, architecture.HIDDEN)
    latents, time = torch.randn(2, *architecture.LATENT), torch.tensor([0.2, 0.7])
    with torch.no_grad():
        expected = model(
            [latent[:, None] for latent in latents],
            time,
            [caption[:n] for caption, n in zip(captions, lengths, strict=True)],
        ).sample
        network = transformer.BatchedForward(model)
        for module in model.modules():
            if isinstance(module, Attention):
                module.set_processor(RealRotaryAttention())
        is_pad = torch.arange(caption_tokens) >= lengths[:, None]
        rotations = network.rotations(caption_tokens, torch.device("cpu"))
        actual = network(transformer.patches(latents), time, captions, is_pad, rotations)
    expected_tokens = transformer.patches(torch.stack(list(expected))[:, :, 0])
    torch.testing.assert_close(actual, expected_tokens, atol=2e-5, rtol=1e-4)


def test_batched_vision_language_equals_the_library_forward() -> None:
    torch.manual_seed(0)
    model = architecture.vision_language().eval()
    # Unused at creation: give the deepstack branch and the positions a say.
    for parameter in model.model.visual.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    images = (world.render(world.sample_scenes(2, 5)) * 255).to(torch.uint8)
    ids, _ = pad_ids([conversation(f"{vision_language.IMAGE}which style", "flat")] * 2, vision_language.LENGTH)
    pixels = vision_language.patchify(to_unit(images))
    with torch.no_grad():
        actual = vision_language.BatchedForward(model)(ids, pixels)
        expected = model(
            input_ids=ids,
            pixel_values=pixels.flatten(0, 1),
            image_grid_thw=torch.tensor([[1, 8, 8]] * 2),
            mm_token_type_ids=(ids == tokenizer().convert_tokens_to_ids("<|image_pad|>")).int(),
        ).logits
    torch.testing.assert_close(actual, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 24, 24)])
def test_orthogonalise_brings_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_the_meaning_loss_is_least_where_the_tokens_are_the_caption_s_words() -> None:
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(10, 32, generator=generator)
    words = torch.zeros(1, 10)
    words[0, [2, 5]] = 0.5

    def loss(states: torch.Tensor) -> float:
        return float(vision_language.meaning_loss(states[None], dictionary, words))

    both = loss(dictionary[[2, 5] * 8])
    one, wrong = loss(dictionary[[2] * 16]), loss(dictionary[[3, 7] * 8])
    longer, nothing = loss(10 * dictionary[[2, 5] * 8]), loss(torch.randn(16, 32, generator=generator))
    assert both < one < wrong
    assert both < nothing
    assert both < longer


def test_the_survival_loss_compares_the_words_beside_an_image_with_the_same_words_alone() -> None:
    requests, answers = ["a red ring", "what style is it"], ["a red ring", "flat"]
    turns = zip(requests, answers, strict=True)
    ids, _ = pad_ids([conversation(f"{vision_language.IMAGE}{r}", a) for r, a in turns], vision_language.LENGTH)
    plain, lengths = pad_ids([prompt(request) for request in requests], vision_language.CAPTION_LENGTH)
    beside, alone = (x[..., None].expand(-1, -1, 4).float() + 1 for x in (ids, plain))
    assert vision_language.survival_loss(beside, alone, lengths) == 0

    def changed(position: int) -> float:
        states = beside.clone()
        states[0, position] *= 2
        return float(vision_language.survival_loss(states, alone, lengths))

    first = vision_language.FIRST_TEXT_TOKEN
    last = first + int(lengths[0]) - 4
    assert changed(first - 1) == 0
    assert changed(first) > 0
    assert changed(last) > 0
    assert changed(last + 1) == 0


def test_word_states_are_means_over_the_captions_that_hold_the_word() -> None:
    torch.manual_seed(0)
    text = architecture.text_encoder().eval()
    scenes = world.sample_scenes(6, 3)
    ids, _ = pad_ids([prompt(caption) for caption in captions.canonical(scenes)], vision_language.CAPTION_LENGTH)
    known = torch.tensor(vision_language.attribute_ids())
    present = known[torch.isin(known, ids)]
    states = vision_language.word_states(text, ids, present)
    with torch.no_grad():
        hidden = text(input_ids=ids, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(states[0], hidden[ids == present[0]].mean(0), atol=1e-4, rtol=1e-4)
    targets = vision_language.word_targets(ids, known)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    held = {tokenizer().decode([int(i)]).strip() for i in known[targets[0] > 0]}
    said = set(captions.canonical(scenes)[0].replace(",", "").split())
    assert held <= said
    assert {world.STYLES[int(scenes.style[0])]} <= held
