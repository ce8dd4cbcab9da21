"""Style gain in embeddings: the axes it finds, and how well it knows style from content on the miniature's world."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from blendbench.core.suites import load_suite
from blendbench.metrics import Batch, measure
from blendbench.metrics.style_space import LEAST_PAIRS, StylePairs, style_space
from blendbench.models.miniature import world
from blendbench.models.sets import load_model_set


def test_axes_are_what_differs_within_pairs_and_not_between_contents() -> None:
    random = torch.Generator().manual_seed(0)
    plain = torch.zeros(24, 10, dtype=torch.float64)
    plain[:, :4] = torch.randn(24, 4, generator=random, dtype=torch.float64)  # content lies in the first four
    styled = plain.clone()
    styled[:, 4:6] += torch.randn(24, 2, generator=random, dtype=torch.float64)
    space = style_space(styled, plain)
    content, style = torch.eye(10, dtype=torch.float64)[:1], torch.eye(10, dtype=torch.float64)[4:5]
    origin = torch.zeros(1, 10, dtype=torch.float64)
    assert space.distance(content, origin).item() < 1e-6 * space.distance(style, origin).item()
    assert 0 < space.alike < 0.2 * space.distance(style, origin).item()


class Encoder:
    """The mean colour of an image, as an embedding."""

    calls = 0

    def encode_images(self, images: Tensor) -> Tensor:
        self.calls += len(images)
        return torch.nn.functional.normalize(images.float().mean((2, 3)) + 1, dim=1)


@pytest.fixture
def pairs(tmp_path: Path) -> StylePairs:
    """Plain images are gray, the styled ones tinted red, at several lightnesses."""
    files = []
    for i in range(LEAST_PAIRS):
        for name, colour in (("styled", (90 + 10 * i, 60, 60)), ("plain", (60 + i, 60, 60 + 2 * i))):
            Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}-{i}.png")
        files.append((tmp_path / f"styled-{i}.png", tmp_path / f"plain-{i}.png"))
    return StylePairs(tuple(files))


def batch(pairs: StylePairs | None, colours: list[tuple[int, int, int]], scorers: Any) -> Batch:
    def images(rows: list[tuple[int, int, int]]) -> Tensor:
        return torch.tensor(rows, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, 64, 64)

    count = len(colours)
    return Batch(
        images(colours),
        baselines=images([(60, 60, 60)] * count),
        references=list(images([(180, 60, 60)] * count)),
        pairs=pairs,
        scorers=scorers,
    )


def test_the_gain_is_the_way_to_the_reference_and_pairs_are_embedded_once(pairs: StylePairs) -> None:
    encoder = Encoder()
    scorers = SimpleNamespace(siglip=encoder, clip=encoder, probe=None, judge=None)
    for _ in range(2):
        colours = [(60, 60, 60), (180, 60, 60), (110, 60, 60), (60, 180, 60)]
        scores = measure(batch(pairs, colours, scorers), ["embedding_style_gain"])["embedding_style_gain"]
        values = [score.value for score in scores]
        assert values[0] == 0 and None not in values
        assert values[1] > 0.8 and 0.2 < values[2] < values[1] and values[3] < 0  # type: ignore[operator]
    # Of the second batch only its own four images, their baselines and one reference are embedded, by both encoders.
    assert encoder.calls == 2 * LEAST_PAIRS + 2 * 2 * (4 + 4 + 1)


def test_without_pairs_it_is_skipped_and_with_few_it_is_unscorable(pairs: StylePairs) -> None:
    scorers = SimpleNamespace(siglip=Encoder(), clip=Encoder(), probe=None, judge=None)
    few = StylePairs(pairs.files[: LEAST_PAIRS - 1])
    for given, status in ((None, "skipped"), (few, "unscorable")):
        scores = measure(batch(given, [(90, 60, 60)], scorers), ["embedding_style_gain"])["embedding_style_gain"]
        assert scores[0].status == status


def auroc(first: Tensor, second: Tensor) -> float:
    return float((np.sign(first.numpy()[:, None] - second.numpy()[None]).mean() + 1) / 2)


@pytest.mark.trained
def test_it_knows_a_style_from_another_one_and_from_copied_content() -> None:
    models, count, flat = load_model_set("miniature", "cpu"), 120, world.STYLES.index("flat")
    random = torch.Generator().manual_seed(1)
    styles = [i for i in range(len(world.STYLES)) if i != flat]
    style = torch.randint(0, len(styles), (count,), generator=random)
    other = (style + torch.randint(1, len(styles), (count,), generator=random)) % len(styles)
    scene, shown = world.sample_scenes(count, seed=5), world.sample_scenes(count, seed=6)

    def images(scenes: world.Scenes, which: Tensor | None) -> Tensor:
        chosen = torch.full((count,), flat) if which is None else torch.tensor(styles)[which]
        return (world.render(replace(scenes, style=chosen)) * 255).round().to(torch.uint8)

    suite = load_suite("miniature")
    pairs = StylePairs(tuple((pair.image, pair.plain) for pair in suite.pairs))
    gains = {}
    for name, seen in {
        "style": images(scene, style),
        "another": images(scene, other),
        "content": images(shown, None),
    }.items():
        given = Batch(
            seen, baselines=images(scene, None), references=list(images(shown, style)), pairs=pairs, scorers=models
        )
        scores = measure(given, ["embedding_style_gain", "content_override"])
        gains[name] = {metric: torch.tensor([s.value for s in found]) for metric, found in scores.items()}
    known = {name: found["embedding_style_gain"] for name, found in gains.items()}
    assert auroc(known["style"], known["another"]) > 0.93
    assert auroc(known["style"], known["content"]) > 0.75
    # A plain cosine takes copied content for style every time.
    cosine = {name: found["content_override"] for name, found in gains.items()}
    assert auroc(cosine["style"], cosine["content"]) < 0.05
