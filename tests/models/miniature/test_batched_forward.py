"""The training forwards equal the library's own: a network trained through them is the network that is used."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from blendbench.models.miniature import architecture, world
from blendbench.models.miniature.tokenizer import tokenizer
from blendbench.models.miniature.train import transformer, vision_language
from blendbench.models.miniature.train.data import conversation, pad_ids, to_unit
from blendbench.models.miniature.train.muon import orthogonalise


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
                module.set_processor(transformer.RealRotaryAttention())
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
    pictures = (world.render(world.sample_scenes(2, 5)) * 255).to(torch.uint8)
    ids, _ = pad_ids([conversation(f"{vision_language.PICTURE}which style", "flat")] * 2, vision_language.LENGTH)
    pixels = vision_language.patchify(to_unit(pictures))
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
