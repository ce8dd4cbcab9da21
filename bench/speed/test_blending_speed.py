"""Speed of every blend at the real models' sizes, on one core: `make bench`."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from blendbench.core.tokens import Kind, Tokens, select
from blendbench.registry.strategies import Sources, all_strategies

DIM, TEXT, SIDE = 2560, 64, 32
# An image of 1024² takes a GPU about a second; a blend is done on the CPU meanwhile.
MOST_SECONDS = 0.5
# These factorise (dim, dim) matrices or iterate: seconds a cell.
SLOW = {"coral", "gram_match", "svd_style", "whiten"}
INPUTS = {"text", "vision", "neutral", "other", "wordless"}
STRATEGIES = sorted(name for name, strategy in all_strategies().items() if set(strategy.inputs) <= INPUTS)


def turn(seed: int, image: int) -> Tokens:
    """Sample hidden states of ordinary size of a chat turn, with an attention sink at position 0."""
    kinds = [Kind.TEMPLATE] * 3 + [Kind.IMAGE] * image + [Kind.TEXT] * TEXT + [Kind.TEMPLATE] * 5
    if image:
        kinds[2] = kinds[3 + image] = Kind.MARKER
    hidden = torch.randn(len(kinds), DIM, generator=torch.Generator().manual_seed(seed)) * 7
    hidden[0, [4, 396]] = torch.tensor([9000.0, -4500.0])
    return Tokens(hidden, torch.tensor([int(kind) for kind in kinds]), (SIDE, SIDE) if image else None)


@pytest.fixture(scope="module")
def turns() -> dict[str, Tokens]:
    """Hold one turn for each input."""
    images = {name: turn(seed, SIDE * SIDE) for seed, name in enumerate(("vision", "neutral", "other", "wordless"))}
    return {"text": turn(9, 0), **images}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one core, as a run leaves to blends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_blend_takes_less_than_an_image(benchmark: BenchmarkFixture, name: str, turns: dict[str, Tokens]) -> None:
    """Blend at the defaults, guard of the global state included."""
    configuration = all_strategies()[name].bind()
    mode: Any = configuration.params.get("tokens", "image_no_markers")
    images: dict[str, Any] = {key: select(value, mode) for key, value in turns.items() if key != "text"}
    sources = Sources(turns["text"], **images)
    seconds: list[float] = []

    def blend() -> None:
        began = time.process_time()
        configuration.blend(sources)
        seconds.append(time.process_time() - began)

    slow = name in SLOW
    time_it: Any = benchmark.pedantic
    time_it(blend, rounds=1 if slow else 5, warmup_rounds=0 if slow else 1)
    if not slow:
        assert min(seconds) <= MOST_SECONDS
