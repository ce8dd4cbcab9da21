"""Facts among foils: the probability of what is stated, and how well it knows the truth on the miniature's world."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from blendbench.core.suites import Attributes, Fact
from blendbench.metrics import Batch, get_metric, measure
from blendbench.metrics.adherence import QUESTION
from blendbench.models.miniature import captions, world
from blendbench.models.sets import load_model_set

AXES = {"a red square": 0, "a blue square": 1, "a red star": 2, "black background": 3, "white background": 4}


class Encoder:
    """Texts and images are axes: the image's first pixel says which text it shows."""

    context_length, logit_scale, logit_bias = 32, 10.0, -5.0

    def encode_images(self, images: Tensor) -> Tensor:
        return torch.eye(5)[images[:, 0, 0, 0].long()]

    def encode_texts(self, texts: list[str]) -> Tensor:
        return torch.eye(5)[[AXES[text] for text in texts]]

    def token_counts(self, texts: list[str]) -> list[int]:
        return [3] * len(texts)


OBJECT = Fact("a red square", ("a blue square", "a red star"))
KINDS = ("object", "background", "style")
BACKGROUND = Fact("black background", ("white background",))


@pytest.mark.parametrize("metric", ["facts_siglip", "facts_clip"])
def test_a_fact_is_weighed_against_its_foils_alone(metric: str) -> None:
    images = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
    for i, shown in enumerate((0, 1, 3, 0)):
        images[i] = shown
    stated = [(OBJECT,), (OBJECT,), (OBJECT, BACKGROUND), (Fact("for readers"),)]
    scorers: Any = SimpleNamespace(clip=Encoder(), siglip=Encoder(), probe=None)
    scores = measure(Batch(images, facts=stated, scorers=scorers), [metric])[metric]
    e = np.exp(10.0)
    expected = [e / (e + 2), 1 / (e + 2), (1 / 3 + e / (e + 1)) / 2]
    assert [score.value for score in scores[:3]] == pytest.approx(expected, abs=1e-6)
    assert scores[3].status == "unscorable"


def test_every_foil_of_the_world_is_false_and_different() -> None:
    scenes = world.sample_scenes(300, seed=5)
    for truth in captions.attributes(scenes):
        objects = {f"{captions._article(colour)} {colour} {shape}" for colour, shape in truth.objects}
        for fact in captions.facts(truth):
            assert len({fact.text, *fact.foils}) == 1 + len(fact.foils) >= 4
            assert not objects & set(fact.foils)
    assert captions.facts(Attributes(objects=(("red", "star"),)))[0].text == "a red star"
    assert captions.facts(Attributes(objects=(("orange", "star"),)))[0].text == "an orange star"


def auroc(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float((np.sign(first[:, None] - second[None]).mean() + 1) / 2)


@pytest.mark.trained
@pytest.mark.parametrize("judge", ["siglip", "clip"])
def test_the_judges_know_the_truth_of_the_miniature(judge: str) -> None:
    scenes = world.sample_scenes(160, seed=77)
    truth = captions.attributes(scenes)
    images = (world.render(scenes) * 255).round().to(torch.uint8)
    encoder = getattr(load_model_set("miniature", "cpu"), judge)
    rows = encoder.encode_images(images)
    right: dict[str, list[float]] = {kind: [] for kind in KINDS}
    wrong: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for i, shown in enumerate(truth):
        for fact in captions.facts(shown):
            kind = fact.text.split()[-1]
            kind = kind if kind in KINDS else "object"
            other = next(
                j for j in range(i + 1, i + 161) if fact.text not in {f.text for f in captions.facts(truth[j % 160])}
            )
            logits = encoder.encode_texts([fact.text, *fact.foils]) @ rows[[i, other % 160]].T * encoder.logit_scale
            true, false = logits.softmax(0)[0].tolist()
            right[kind].append(true)
            wrong[kind].append(false)
    found = {kind: auroc(np.array(right[kind]), np.array(wrong[kind])) for kind in KINDS}
    assert min(found.values()) >= 0.95, found


@pytest.mark.trained
def test_the_judge_that_is_asked_knows_the_truth_of_the_miniature() -> None:
    scenes = world.sample_scenes(160, seed=77)
    truth = captions.attributes(scenes)
    images = (world.render(scenes) * 255).round().to(torch.uint8)
    right: dict[str, list[float]] = {kind: [] for kind in KINDS}
    wrong: dict[str, list[float]] = {kind: [] for kind in KINDS}
    asked = []
    for i, shown in enumerate(truth):
        facts = captions.facts(shown)
        asked.append([(f.text, True) for f in facts] + [(f.foils[i % len(f.foils)], False) for f in facts])
    judge = load_model_set("miniature", "cpu").judge
    found = judge.probabilities(images, [[QUESTION.format(text) for text, _ in rows] for rows in asked])
    for rows, values in zip(asked, found, strict=True):
        for (text, true), value in zip(rows, values.tolist(), strict=True):
            kind = text.split()[-1]
            (right if true else wrong)[kind if kind in KINDS else "object"].append(value)
    areas = {kind: auroc(np.array(right[kind]), np.array(wrong[kind])) for kind in KINDS}
    assert min(areas.values()) >= 0.97, areas


def test_another_question_makes_other_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = get_metric("facts_vqa")
    before = replace(metric).source_sha256
    monkeypatch.setattr("blendbench.registry.source._KNOWN", {})
    assert replace(metric).source_sha256 == before
    monkeypatch.setattr("blendbench.registry.source._KNOWN", {})
    monkeypatch.setattr("blendbench.metrics.adherence.QUESTION", "Is this {}?")
    assert replace(metric).source_sha256 != before
