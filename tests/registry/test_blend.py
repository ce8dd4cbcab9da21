"""Calling a strategy: what it is given, what is taken from it, and what stays as it was."""

import os
import random
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from blendbench.core.conditioning import BlendError, Conditioning
from blendbench.core.tokens import Kind, Pair, Tokens
from blendbench.registry.strategies import Sources, get_strategy, strategy


def tokens(value: float, count: int, kind: Kind = Kind.IMAGE) -> Tokens:
    return Tokens(torch.full((count, 3), value), torch.full((count,), int(kind)))


def sources() -> Sources:
    text, vision = tokens(1.0, 2, Kind.TEXT), tokens(0.5, 4)
    return Sources(text, vision, corpus=(text,), pairs=(Pair(text, vision, vision),))


def blend(function: Callable[..., Any], given: Sources | None = None, seed: int = 0) -> Conditioning:
    strategy("tried", source="me")(function)
    return get_strategy("tried").bind().blend(given or sources(), seed)


class Ending(BaseException):
    pass


def end(kind: type[BaseException]) -> Any:
    raise kind


KEPT: list[Tensor] = []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda text: text.hidden[0], r"must return a tensor \(tokens, 3\), not \(3,\)"),
        (lambda text: text.hidden[None], r"not \(1, 2, 3\)"),
        (lambda text: text.hidden[:0], r"not \(0, 3\)"),
        (lambda text: text.hidden[:, :2], r"not \(2, 2\)"),
        (lambda text: text, "not Tokens"),
        (lambda text: None, "not NoneType"),
        (lambda text: text.hidden.numpy(), "not ndarray"),
        (lambda text: text.hidden * 1j, "real numbers, not torch.complex64"),
        (lambda text: text.kinds[:, None].expand(-1, 3), "real numbers, not torch.int64"),
        (lambda text: text.hidden / 0, "6 values that are not finite"),
        (lambda text: text.hidden.double() * 1e300, "6 values that are not finite"),  # finite until it is float32
        (lambda text: Conditioning((text.hidden, "x")), "not str"),  # type: ignore[arg-type]
        (lambda text: Conditioning((text.hidden,), strength=0.5), "only a strategy with a parameter `strength`"),
        (lambda text: sys.exit(3), "tried to end the program: SystemExit"),
        (lambda text: end(Ending), "tried to end the program: Ending"),
        (lambda text: end(GeneratorExit), "tried to end the program: GeneratorExit"),
    ],
)
def test_an_unusable_result_is_an_error_of_the_cell(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(BlendError, match=message):
        blend(function)


def test_other_errors_and_interrupts_pass_as_they_are() -> None:
    with pytest.raises(KeyError, match="my bug"):
        blend(lambda text: dict[str, int]()["my bug"])


def test_an_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        blend(lambda text: end(KeyboardInterrupt))


def test_the_end_of_the_program_names_the_line() -> None:
    with pytest.raises(BlendError) as caught:
        blend(lambda text: end(SystemExit))
    assert [entry.name for entry in caught.traceback][-1] == "end"
    assert get_strategy("tried").folder in caught.traceback[-1].path.parents  # type: ignore[union-attr]


def test_a_result_with_a_graph_or_of_another_precision_is_taken_as_float32() -> None:
    rows = blend(lambda text: (text.hidden.double().requires_grad_() * 2).T.contiguous().T).rows
    assert rows.dtype == torch.float32
    assert not rows.requires_grad and rows.is_contiguous()


def test_a_strategy_that_keeps_or_writes_into_tensors_changes_nothing_for_the_next() -> None:
    def vandal(text: Tokens, vision: Tokens, corpus: tuple[Tokens, ...], pairs: tuple[Pair, ...]) -> Tensor:
        for given in (vision, corpus[0], *(tokens for pair in pairs for tokens in (pair.text, pair.vision))):
            given.hidden.zero_()
            given.kinds.zero_()
        KEPT.append(text.hidden.mul_(7))
        return KEPT[0].mul_(1)

    given = sources()
    first = blend(vandal, given)
    again = get_strategy("tried").bind().blend(given)
    assert first.rows.unique().tolist() == again.rows.unique().tolist() == [7]
    KEPT[0].zero_()
    assert first.rows.unique().tolist() == [7]
    assert given.vision is not None and given.pairs is not None
    assert given.text.hidden.unique().tolist() == [1] and given.vision.hidden.unique().tolist() == [0.5]
    assert given.pairs[0].vision.kinds.unique().tolist() == [int(Kind.IMAGE)]


def noisy(text: Tokens) -> Tensor:
    found = [torch.rand(3), torch.tensor(np.random.rand(3)), torch.tensor([random.random()] * 3)]  # noqa: NPY002
    return torch.stack([rows.float() for rows in found])


def test_unseeded_noise_follows_the_seed_of_the_cell() -> None:
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index]  # noqa: NPY002
    first = blend(noisy, seed=1)
    torch.rand(5), random.random(), np.random.rand()  # noqa: NPY002
    bound = get_strategy("tried").bind()
    assert first.sha256() == bound.blend(sources(), 1).sha256()
    different = [torch.equal(a, b) for a, b in zip(first.rows, bound.blend(sources(), 2).rows, strict=True)]
    assert different == [False] * 3
    torch.set_rng_state(before[0])
    random.setstate(before[2])
    state = (torch.get_rng_state(), random.getstate())
    bound.blend(sources(), 1)
    assert torch.equal(state[0], torch.get_rng_state()) and state[1] == random.getstate()


def test_global_state_is_restored() -> None:
    def leaking(text: Tokens) -> Tensor:
        torch.set_default_dtype(torch.bfloat16)
        torch.set_grad_enabled(False)
        torch.set_num_threads(torch.get_num_threads() + 1)
        os.environ["BLENDBENCH_LEAK"] = "1"
        warnings.simplefilter("ignore")
        return text.hidden

    before = (torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters))
    blend(leaking)
    assert (torch.get_default_dtype(), torch.get_num_threads(), list(warnings.filters)) == before
    assert torch.is_grad_enabled()
    assert "BLENDBENCH_LEAK" not in os.environ


def test_prints_are_not_taken_for_the_output_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    def talks(text: Tokens) -> Tensor:
        print("blended")  # noqa: T201  that is what is tested
        return text.hidden

    blend(talks)
    assert capsys.readouterr() == ("", "blended\n")


def test_missing_and_broken_inputs_are_named() -> None:
    with pytest.raises(BlendError, match="style_delta needs neutral"):
        get_strategy("style_delta").bind().blend(sources())
    broken = sources()
    assert broken.vision is not None
    broken.vision.hidden[0, 0] = float("nan")
    with pytest.raises(BlendError, match="lerp: its vision tokens hold values that are not finite"):
        get_strategy("lerp").bind(alpha=0).blend(broken)


def test_only_a_strategy_with_a_strength_starts_from_the_reference() -> None:
    started = get_strategy("img2img").bind(strength=0.5)
    assert started.starts_from_reference and not get_strategy("lerp").bind().starts_from_reference
    assert started.blend(sources()).strength == 0.5
