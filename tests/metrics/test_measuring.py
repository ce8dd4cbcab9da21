"""measure(): one outcome an image and metric, whatever happens."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from metric_values import Values

from blendbench.core.errors import UsageError
from blendbench.core.suites import Attributes, Fact, load_suite
from blendbench.metrics import Batch, Score, all_metrics, inputs, measure
from blendbench.metrics.palette import Palette, read_palette
from blendbench.metrics.registry import METRICS, Metric
from blendbench.metrics.style_space import StylePairs
from blendbench.registry.entries import Entry

PIXEL_METRICS = [
    "grid_energy",
    "grid_odd",
    "grid_even",
    "grid_amplitude",
    "grid_severity",
    "blockiness",
    "color_drift",
    "tone_drift",
    "saturation_shift",
    "clip_shift",
    "texture_change",
    "color_bleeding",
    "effect_size",
]


class FakeEncoder:
    """Embeds an image by its mean colour and a text by its length; counts its calls."""

    context_length, logit_scale, logit_bias = 10, 2.0, -1.0

    def __init__(self) -> None:
        self.calls: list[int] = []

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(images))
        return torch.nn.functional.normalize(images.float().mean((-2, -1)), dim=-1)

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.tensor([[float(len(t)), 1.0, 2.0] for t in texts]), dim=-1)

    def token_counts(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]


class FakeJudge:
    """Believes what is short, and more of bright images."""

    def probabilities(self, images: torch.Tensor, facts: Sequence[Sequence[str]]) -> list[torch.Tensor]:
        brightness = images.float().mean((1, 2, 3)) / 255
        return [
            torch.tensor([float(light) / len(text) for text in texts])
            for light, texts in zip(brightness, facts, strict=True)
        ]


def fake_scorers() -> SimpleNamespace:
    return SimpleNamespace(clip=FakeEncoder(), siglip=FakeEncoder(), judge=FakeJudge(), probe=fake_probe)


PAIRS = StylePairs(tuple((pair.image, pair.plain) for pair in load_suite("miniature").pairs))


def fake_probe(images: torch.Tensor) -> SimpleNamespace:
    n, mean = len(images), images.float().mean((-2, -1)) / 255
    return SimpleNamespace(
        objects=mean[:, :2, None] * torch.tensor([1.0, 0.5]),
        style=torch.stack([mean[:, 2], 1 - mean[:, 2]], 1),
        background=torch.full((n, 2), 0.5),
        colours=("red", "blue"),
        shapes=("circle", "star"),
        styles=("flat", "striped"),
        backgrounds=("white", "black"),
    )


def full_batch(n: int = 5, size: int = 128, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, n, 3, size // 8, size // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse.flatten(0, 1), scale_factor=8, mode="bicubic").clamp(0, 1)
    noisy = (smooth * 220 + 30 * torch.rand(smooth.shape, generator=generator)).byte().unflatten(0, (2, n))
    stated = Attributes(objects=(("red", "circle"),), background="white", style="flat")
    return Batch(
        noisy[0],
        baselines=noisy[1],
        # Of other colours than the baselines.
        references=list(noisy[1] // 2),
        prompts=[f"prompt {'x' * i}" for i in range(n)],
        facts=[(Fact("x" * (i + 1), ("a foil", "another")),) for i in range(n)],
        expects=[stated] * n,
        reference_expects=[stated] * n,
        pairs=PAIRS,
        scorers=fake_scorers(),
    )


def part(batch: Batch, rows: list[int]) -> Batch:
    def take(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[rows]
        return [value[i] for i in rows] if isinstance(value, list) else value

    given: dict[str, Any] = {f.name: take(getattr(batch, f.name)) for f in dataclasses.fields(batch) if f.init}
    return Batch(**given)


def values(batch: Batch, names: list[str] | None = None) -> Values:
    """Return (metrics, n) values; all must be there."""
    scores = measure(batch, names or list(all_metrics()))
    assert all(score.status == "ok" for row in scores.values() for score in row), scores
    return np.array([[score.value for score in row] for row in scores.values()], np.float64)


def test_a_batch_of_n_equals_n_batches_of_one() -> None:
    batch = full_batch()
    single = np.concatenate([values(part(batch, [i])) for i in range(len(batch))], axis=1)
    np.testing.assert_allclose(values(batch), single, atol=1e-6, rtol=1e-6)


def test_the_order_of_images_does_not_matter() -> None:
    batch, order = full_batch(), [3, 0, 4, 2, 1]
    np.testing.assert_allclose(values(part(batch, order)), values(batch)[:, order], atol=1e-6, rtol=1e-6)


def test_an_input_shared_by_metrics_is_computed_once() -> None:
    batch = full_batch()
    measure(batch, ["clip_cosine", "clip_cosine"])
    measure(batch, ["clip_cosine"])
    assert batch.scorers is not None
    assert batch.scorers.clip.calls == [len(batch)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "without", "reason"),
    [
        ("color_drift", "baselines", "baselines"),
        ("effect_size", "baselines", "baselines"),
        ("clip_cosine", "prompts", "prompts"),
        ("siglip_cosine", "scorers", "siglip"),
        ("attribute_adherence", "expects", "expects"),
        ("reference_style", "reference_expects", "reference_expects"),
        ("style_gain", "references", "references"),
        ("color_elsewhere", "references", "references"),
        ("content_override", "baselines", "baselines"),
        ("texture_change", "baselines", "baselines"),
        ("facts_vqa", "facts", "facts"),
        ("embedding_style_gain", "pairs", "pairs"),
    ],
)
def test_a_missing_input_skips_the_metric_and_says_which(name: str, without: str, reason: str) -> None:
    missing: dict[str, Any] = {without: None}
    batch = dataclasses.replace(full_batch(), **missing)
    scores = measure(batch, [name, "grid_energy"])
    assert scores[name] == [Score(None, "skipped", f"{name} needs {reason}")] * len(batch)
    assert all(score.status == "ok" for score in scores["grid_energy"])


def test_a_scorer_that_the_model_set_lacks_skips_its_metrics() -> None:
    scorers = SimpleNamespace(clip=FakeEncoder(), siglip=None, judge=None, probe=None)
    batch = dataclasses.replace(full_batch(), scorers=scorers)
    statuses = {name: rows[0].status for name, rows in measure(batch, list(all_metrics())).items()}
    assert {name for name, status in statuses.items() if status == "skipped"} == {
        "siglip_cosine",
        "siglip_logit",
        "siglip_cut_tokens",
        "facts_siglip",
        "facts_vqa",
        "embedding_style_gain",
        "attribute_adherence",
        "reference_style",
        "reference_similarity",
        "content_override",
    }


def test_an_exception_fails_its_metric_alone() -> None:
    def broken(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of cheese")

    batch = full_batch()
    assert batch.scorers is not None
    batch.scorers.clip.encode_images = broken  # type: ignore[union-attr, method-assign]
    scores = measure(batch, ["clip_cosine", "siglip_cosine"])
    assert {score.status for score in scores["clip_cosine"]} == {"failed"}
    for score in scores["clip_cosine"]:
        assert re.fullmatch(r"RuntimeError: out of cheese \(blendbench/metrics/inputs\.py:\d+\)", str(score.error))
    assert scores["siglip_cosine"][0].status == "ok"


def test_an_image_that_fails_leaves_its_neighbours_their_values() -> None:
    batch = full_batch()
    assert batch.scorers is not None and batch.expects is not None
    expected = measure(batch, list(all_metrics()))
    batch.expects[1] = Attributes(objects=(("mauve", "circle"),))
    black = torch.zeros_like(batch.images[3])
    broken = dataclasses.replace(batch, images=torch.stack([*batch.images[:3], black, batch.images[4]]))
    # The fake encoder's unit row of a black image is 0 / 0 here, as an overflowing network's would be.
    broken.scorers.clip.encode_images = lambda images: (  # type: ignore[union-attr, method-assign]
        images.float().mean((-2, -1)) / images.float().mean((-2, -1)).norm(dim=-1, keepdim=True)
    )
    found = measure(broken, ["attribute_adherence", "clip_cosine"])
    assert [score.status for score in found["attribute_adherence"]] == ["ok", "failed", "ok", "ok", "ok"]
    assert "mauve" in (found["attribute_adherence"][1].error or "")
    assert [score.status for score in found["clip_cosine"]] == ["ok", "ok", "ok", "failed", "ok"]
    for name in found:
        for i in (0, 2, 4):
            assert found[name][i].value == pytest.approx(expected[name][i].value, abs=1e-6)


def test_an_embedding_that_is_not_finite_is_a_failure_and_not_unscorable() -> None:
    batch = full_batch()
    assert batch.scorers is not None
    batch.scorers.clip.encode_images = lambda images: torch.full((len(images), 3), math.nan)  # type: ignore
    assert {score.status for score in measure(batch, ["clip_cosine"])["clip_cosine"]} == {"failed"}


@pytest.mark.parametrize(
    ("value", "status"), [(math.nan, "unscorable"), (math.inf, "failed"), (7.0, "failed"), (-1e200, "failed")]
)
def test_values_that_are_no_values(monkeypatch: pytest.MonkeyPatch, value: float, status: str) -> None:
    replace_function(monkeypatch, lambda batch: torch.full((len(batch),), value))
    score = measure(full_batch(n=1), ["grid_energy"])["grid_energy"][0]
    assert (score.value, score.status) == (None, status)
    assert score.error


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda batch: torch.zeros(3), "shape (3,) for 2 images"),
        (lambda batch: torch.tensor(1.0), "shape () for 2 images"),
        (lambda batch: torch.zeros(len(batch), 1), "shape (2, 1) for 2 images"),
        (lambda batch: torch.ones(len(batch), dtype=torch.complex64), "complex64"),
        (lambda batch: torch.ones(len(batch), dtype=torch.bool), "torch.bool"),
        (lambda batch: np.array(["a", "b"]), "<U1"),
        (lambda batch: [0.5, 0.5], "gave list, not a tensor of real numbers"),
        (lambda batch: None, "gave NoneType"),
    ],
)
def test_what_is_not_one_number_an_image_fails(
    monkeypatch: pytest.MonkeyPatch, made: Callable[[Batch], object], said: str
) -> None:
    calls: list[int] = []

    def function(batch: Batch) -> object:
        calls.append(len(batch))
        return made(batch)

    replace_function(monkeypatch, function)
    scores = measure(full_batch(n=2), ["grid_energy"])["grid_energy"]
    assert {score.status for score in scores} == {"failed"} and said in str(scores[0].error)
    assert calls == [2], "such a function is not called again for each image"


def replace_function(monkeypatch: pytest.MonkeyPatch, function: Callable[[Batch], object]) -> None:
    known = all_metrics()["grid_energy"]
    odd = Metric(known.info, known.card, function, known.origin)  # type: ignore[arg-type]
    monkeypatch.setitem(METRICS._entries, "grid_energy", Entry(odd, known.origin))


def test_an_unknown_metric_names_its_neighbour() -> None:
    with pytest.raises(UsageError, match=r"grid_enrgy.*did you mean 'grid_energy'"):
        measure(full_batch(n=1), ["grid_enrgy"])


@pytest.mark.parametrize("size", [1, 2, 15, 33, 64, 127])
def test_small_images_have_a_value_or_are_unscorable(size: int) -> None:
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    scores = measure(Batch(images, baselines=images.flip(0)), PIXEL_METRICS)
    assert {score.status for row in scores.values() for score in row} <= {"ok", "unscorable"}
    assert scores["grid_energy"][0].status == "unscorable"
    assert scores["effect_size"][0].status == "ok"


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (37, 200, 113), (1, 2, 3)])
def test_a_constant_image_has_the_worst_artifacts_and_no_drift(colour: tuple[int, int, int]) -> None:
    images = torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(1, 3, 144, 160).contiguous()
    scores = measure(Batch(images, baselines=images), PIXEL_METRICS)
    worst = {"grid_energy": 1.0, "grid_severity": 10.0, "blockiness": pytest.approx(2 * math.log(8))}
    assert {name: scores[name][0].value for name in PIXEL_METRICS} == dict.fromkeys(PIXEL_METRICS, 0.0) | worst


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((1, 3, 128, 128), math.nan), "uint8"),
        (torch.zeros(1, 3, 128, 128, dtype=torch.int16), "uint8"),
        (torch.zeros(1, 128, 128, 3, dtype=torch.uint8), "uint8"),
        (torch.zeros(3, 128, 128, dtype=torch.uint8), "uint8"),
        (torch.zeros(1, 3, 0, 128, dtype=torch.uint8), "no pixel"),
    ],
)
def test_what_is_no_8_bit_image_is_refused(images: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Batch(images)


def test_lists_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts: 1 for 2 images"):
        Batch(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), prompts=["one"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree() -> None:
    batch = full_batch()
    assert batch.baselines is not None and batch.references is not None
    moved = dataclasses.replace(
        batch,
        images=batch.images.cuda(),
        baselines=batch.baselines.cuda(),
        references=[image.cuda() for image in batch.references],
    )
    names = [*PIXEL_METRICS, "color_towards", "color_elsewhere"]
    np.testing.assert_allclose(values(moved, names), values(batch, names), atol=1e-4, rtol=1e-4)


def test_large_images_are_scored_alone_and_equal_baselines_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = full_batch(n=4)
    shared = dataclasses.replace(batch, baselines=batch.baselines[[0, 0, 0, 3]])  # type: ignore[index]
    together = values(shared)
    read: list[int] = []

    def counted(lab: torch.Tensor) -> Palette:
        read.append(1)
        return read_palette(lab)

    monkeypatch.setattr(inputs, "read_palette", counted)
    monkeypatch.setattr("blendbench.metrics.measuring._LARGE", 100)
    np.testing.assert_allclose(values(dataclasses.replace(shared)), together, atol=1e-6, rtol=1e-6)
    # Four images, four references, and two baselines: three in a row are equal.
    assert len(read) == 4 + 4 + 2
