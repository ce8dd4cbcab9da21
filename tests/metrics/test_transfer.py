"""style_gain, reference_similarity, content_override, siglip_logit and the counts of unread tokens."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from blendbench.metrics import Batch, measure, patterns


def image(name: str, size: int = 200) -> torch.Tensor:
    return torch.from_numpy(patterns.photos()[name][:size, :size].copy()).permute(2, 0, 1)


BASELINE, REFERENCE = "chelsea.png", "rocket.jpg"


def gain(made: torch.Tensor, reference: torch.Tensor | None = None) -> float:
    reference = image(REFERENCE) if reference is None else reference
    batch = Batch(made[None], baselines=image(BASELINE)[None], references=[reference])
    outcome = measure(batch, ["style_gain"])["style_gain"][0]
    assert outcome.value is not None
    return outcome.value


def test_style_gain_is_zero_for_a_no_op_and_greatest_for_the_reference_itself() -> None:
    assert gain(image(BASELINE)) == 0
    assert gain(image(REFERENCE)) > 0.95


def test_style_gain_grows_with_the_share_of_the_references_colours() -> None:
    baseline, reference = image(BASELINE).float(), image(REFERENCE).float()

    def stats(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((1, 2), keepdim=True), x.std((1, 2), keepdim=True)

    (m, s), (rm, rs) = stats(baseline), stats(reference)
    moved = (baseline - m) / s * rs + rm
    levels = [gain((baseline + a * (moved - baseline)).clamp(0, 255).byte()) for a in (-0.5, 0.0, 0.3, 0.6, 1.0)]
    assert levels == sorted(levels) and levels[0] < 0 and levels[-1] > 0.1


def test_style_gain_ignores_size_and_place() -> None:
    mirrored = image(REFERENCE).flip(-1)
    assert gain(image(REFERENCE), mirrored) > 0.95
    assert gain(image(REFERENCE), image(REFERENCE, 300)) > 0.3


class Mean:
    """Embeds an image by its mean colour: the answers can be worked out by hand."""

    context_length, logit_scale, logit_bias = 4, 10.0, -5.0

    def __init__(self) -> None:
        self.calls = 0

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.nn.functional.normalize(images.float().mean((-2, -1)), dim=-1)

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(texts), 3)

    def token_counts(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def plain(r: int, g: int, b: int, size: int = 8) -> torch.Tensor:
    return torch.tensor([r, g, b], dtype=torch.uint8)[:, None, None].expand(3, size, size)


def values(names: list[str], images: list[torch.Tensor], prompts: list[str] | None = None) -> dict[str, list[float]]:
    n, encoder = len(images), Mean()
    batch = Batch(
        torch.stack(images),
        baselines=torch.stack([plain(100, 0, 0)] * n),
        references=[plain(0, 50, 0, 5 + 3 * i) for i in range(n)],
        prompts=prompts or ["red"] * n,
        scorers=SimpleNamespace(clip=encoder, siglip=encoder, probe=None),
    )
    return {name: [outcome.value for outcome in rows] for name, rows in measure(batch, names).items()}  # type: ignore[misc]


def test_similarity_and_override_of_plain_colours() -> None:
    made = [plain(100, 0, 0), plain(0, 80, 0), plain(60, 80, 0)]
    found = values(["reference_similarity", "content_override"], made)
    np.testing.assert_allclose(found["reference_similarity"], [0, 1, 0.8], atol=1e-6)
    np.testing.assert_allclose(found["content_override"], [0, 1, 0.8], atol=1e-6)


def test_a_reference_that_items_share_is_encoded_once() -> None:
    encoder = Mean()
    batch = Batch(
        torch.stack([plain(1, 2, 3)] * 4),
        references=[plain(0, 50, 0), plain(0, 50, 0), plain(9, 0, 0), plain(9, 0, 0)],
        scorers=SimpleNamespace(clip=None, siglip=encoder, probe=None),
    )
    measure(batch, ["reference_similarity"])
    assert encoder.calls == 1 + 2


def test_the_logit_is_scale_times_cosine_plus_bias() -> None:
    found = values(["siglip_cosine", "siglip_logit"], [plain(30, 40, 0), plain(9, 0, 0)])
    np.testing.assert_allclose(found["siglip_logit"], [10 * 0.6 - 5, 5], atol=1e-5)


@pytest.mark.parametrize("name", ["clip_cut_tokens", "siglip_cut_tokens"])
def test_tokens_past_the_context_are_counted(name: str) -> None:
    found = values([name], [plain(1, 2, 3)] * 3, ["one", "one two three four", "one two three four five six"])
    assert found[name] == [0, 0, 2]
