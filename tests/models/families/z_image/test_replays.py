"""Which calls of a transformer are recorded and which are replayed; on a CPU, with a recorder that only remembers."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from blendbench.models.families.base import Injection
from blendbench.models.families.z_image.denoiser import Guidance, ZImageDenoiser
from blendbench.models.families.z_image.replays import Recorder, Replays
from blendbench.models.sets import load_model_set
from miniature import architecture


class Remembered:
    """Stands in for a CUDA graph: inputs and outputs of its own, the second overwritten by every replay."""

    made = finished = 0

    def __init__(self, call: Callable[[list[Tensor]], list[Tensor]], given: list[Tensor]) -> None:
        type(self).made += 1
        self.call, self.inputs = call, [tensor.clone() for tensor in given]
        self.outputs = call(self.inputs)

    def replay(self, given: list[Tensor]) -> list[Tensor]:
        for kept, tensor in zip(self.inputs, given, strict=True):
            kept.copy_(tensor)
        for kept, made in zip(self.outputs, self.call(self.inputs), strict=True):
            kept.copy_(made)
        return [tensor.clone() for tensor in self.outputs]

    def finish(self) -> None:
        type(self).finished += 1


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> type[Remembered]:
    monkeypatch.setattr(Remembered, "made", 0)
    monkeypatch.setattr(Remembered, "finished", 0)
    return Remembered


def forward(latents: list[Tensor], time: Tensor, captions: list[Tensor], **settings: Any) -> Any:
    forward.calls += 1  # type: ignore[attr-defined]
    made = [x * t + c.sum() for x, t, c in zip(latents, time, captions, strict=True)]
    return (made,) if not settings.get("return_dict", True) else made


@pytest.fixture
def replays(remembered: type[Remembered]) -> Replays:
    forward.calls = 0  # type: ignore[attr-defined]
    return Replays(forward, remembered)


def given(seed: int, lengths: tuple[int, ...] = (3, 4)) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    made = torch.Generator().manual_seed(seed)
    count = len(lengths)
    return (
        [torch.randn(2, 1, 4, 4, generator=made) for _ in range(count)],
        torch.rand(count, generator=made),
        [torch.randn(n, 8, generator=made) for n in lengths],
    )


def same(found: list[Tensor], inputs: tuple[list[Tensor], Tensor, list[Tensor]]) -> bool:
    return all(map(torch.equal, found, forward(*inputs, return_dict=False)[0]))


def test_the_first_call_runs_the_second_is_recorded_and_all_give_their_own_results(replays: Replays) -> None:
    inputs = [given(seed) for seed in range(4)]
    found = []
    for each in inputs:
        found.append(replays(*each, return_dict=False)[0])
        assert Remembered.made == (len(found) > 1)
    # Results stay what they were when later calls overwrite what the graph holds.
    assert all(same(made, each) for made, each in zip(found, inputs, strict=True))


def test_other_lengths_of_captions_are_recorded_for_themselves_and_those_before_are_kept(replays: Replays) -> None:
    for lengths in ((3, 4), (4, 3), (3, 4), (4, 3), (3, 4), (4, 3)):
        inputs = given(1, lengths)
        assert same(replays(*inputs, return_dict=False)[0], inputs)
    assert Remembered.made == 2


def test_another_number_of_images_forgets_what_was_recorded(replays: Replays) -> None:
    for lengths in ((3, 4), (3, 4), (3,), (3,), (3, 4), (3, 4)):
        inputs = given(1, lengths)
        assert same(replays(*inputs, return_dict=False)[0], inputs)
    assert Remembered.made == 3
    assert Remembered.finished == 2  # a graph is waited for before it is given up


def test_paused_calls_and_those_for_another_kind_of_result_run_as_they_are(replays: Replays) -> None:
    with replays.paused():
        for _ in range(3):
            replays(*given(1), return_dict=False)
    for _ in range(3):
        replays(*given(1))
    assert (Remembered.made, replays.active) == (0, True)
    assert forward.calls == 6  # type: ignore[attr-defined]


def test_without_memory_for_a_recording_calls_run_as_they_are_from_then_on(replays: Replays) -> None:
    def full(*_: Any) -> None:
        Remembered.made += 1
        raise torch.OutOfMemoryError("no memory for a graph")

    replays.record = full
    for seed in range(4):
        assert same(replays(*given(seed), return_dict=False)[0], given(seed))
    assert Remembered.made == 1


def test_a_call_that_fails_fails_as_it_is(replays: Replays) -> None:
    replays(*given(1), return_dict=False)
    latents, time, captions = given(1)
    with pytest.raises(ValueError, match="shorter"):
        replays(latents, time, captions[:1], return_dict=False)


class Graph:
    """A CUDA graph without a GPU, which counts a pool's graphs as torch's allocator does."""

    uses: ClassVar[dict[int, int]] = {}

    def capture_begin(self, pool: int, capture_error_mode: str) -> None:
        if Graph.uses.get(pool, 1) == 0:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        Graph.uses[pool] = Graph.uses.get(pool, 0) + 1
        self.pool = pool

    def capture_end(self) -> None:
        pass

    def replay(self) -> None:
        pass

    def __del__(self) -> None:
        Graph.uses[self.pool] -= 1


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graph, "uses", {})
    stream = SimpleNamespace(synchronize=lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", itertools.count().__next__)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())


@pytest.mark.usefixtures("no_gpu")
def test_recordings_go_on_after_all_of_them_were_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    forward.calls = 0  # type: ignore[attr-defined]
    replays = Replays(forward, Recorder())
    for length in range(1, 151):  # more than are kept at a time
        inputs = given(length, (length, 2))
        for _ in range(3):
            assert same(replays(*inputs, return_dict=False)[0], inputs)
    for _ in range(3):
        replays(*given(1, (3,)), return_dict=False)
    assert replays.active
    assert sum(Graph.uses.values()) == 1  # of one image; the others are gone
    assert len(Graph.uses) > 2
    assert capsys.readouterr().err == ""


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once(
    replays: Replays, capsys: pytest.CaptureFixture[str]
) -> None:
    def refusing(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    replays.record = refusing
    for seed in range(4):
        assert same(replays(*given(seed), return_dict=False)[0], given(seed))
    assert not replays.active
    assert capsys.readouterr().err == (
        "generating without CUDA graphs, slower: operation not permitted when stream is capturing\n"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_gives_the_call_s_own_bits() -> None:
    forward.calls = 0  # type: ignore[attr-defined]
    replays = Replays(forward, Recorder())
    for seed in range(4):
        latents, time, captions = given(seed)
        inputs = ([x.cuda() for x in latents], time.cuda(), [x.cuda() for x in captions])
        assert same(replays(*inputs, return_dict=False)[0], inputs)
    assert forward.calls == 2 + 4  # type: ignore[attr-defined]


def test_a_denoiser_generates_the_same_with_replays_and_leaves_injections_out(
    untrained: Path, remembered: type[Remembered]
) -> None:
    parts = load_model_set(untrained, "cpu", {"steps": 3}).denoiser
    assert isinstance(parts, ZImageDenoiser)
    noise = parts.initial_latents(0)[None]
    rows = torch.randn(20, architecture.HIDDEN, generator=torch.Generator().manual_seed(1))
    injection = Injection([rows.flip(0)], (1,))
    expected = [parts.denoise([(rows,)], noise), parts.denoise([(rows,)], noise, injection)]
    replayed = ZImageDenoiser(parts.pipeline, parts.size, parts.sigmas, recorder=remembered)
    assert torch.equal(replayed.denoise([(rows,)], noise), expected[0])
    assert Remembered.made == 1
    assert torch.equal(replayed.denoise([(rows,)], noise, injection), expected[1])
    assert torch.equal(replayed.denoise([(rows,)], noise), expected[0])
    assert Remembered.made == 1


def test_a_guided_batch_is_recorded_whole_and_gives_the_same(untrained: Path, remembered: type[Remembered]) -> None:
    parts = load_model_set(untrained, "cpu", {"steps": 3, "guidance": 2.0}).denoiser
    assert isinstance(parts, ZImageDenoiser)
    noise = torch.stack([parts.initial_latents(seed) for seed in (0, 1)])
    generator = torch.Generator().manual_seed(1)
    schedules, negatives = ([(torch.randn(n, architecture.HIDDEN, generator=generator),)] * 2 for n in (20, 40))
    expected = parts.denoise(schedules, noise, negatives=negatives)
    replayed = ZImageDenoiser(parts.pipeline, parts.size, parts.sigmas, Guidance(2.0), recorder=remembered)
    for _ in range(2):
        assert torch.equal(replayed.denoise(schedules, noise, negatives=negatives), expected)
    assert Remembered.made == 1
