"""Steps of every kind can be registered, and their code counts as that of the strategies that take them."""

import math
from pathlib import Path

import pytest
import torch

from blendbench.core.conditioning import Denoising
from blendbench.core.errors import UsageError
from blendbench.core.tokens import Kind, Tokens
from blendbench.registry.loading import load_everything
from blendbench.registry.registry import Registry
from blendbench.registry.steps import Steps
from blendbench.registry.strategies import Sources, parse_configuration
from blendbench.steps.align import ALIGNMENTS, alignment
from blendbench.steps.schedule import weights

STEPS = """\
from blendbench.blending import Moment, alignment, combiner, curve, mask, normaliser


@normaliser("negated")
def negated(text, vision):
    return -vision.hidden


@mask("even_zero")
def even_zero(text, vision, outlier):
    kept = vision.clone()
    kept[:, ::2] = 0
    return kept


@alignment("first_only")
def first_only(text, vision):
    return text, vision[:1].expand(len(text), -1)


@combiner("add")
def add(text, vision, alpha):
    return text + alpha * vision


@curve("last_call")
def last_call(at: Moment):
    return float(at.passed == 1)
"""


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear_decay", [1, 2 / 3, 1 / 3, 0]),
        ("linear_growth", [0, 1 / 3, 2 / 3, 1]),
        ("cosine", [1, 0.75, 0.25, 0]),
        ("exponential", [1, math.exp(-0.75), math.exp(-1.5), math.exp(-2.25)]),
        ("step", [1, 1, 1, 0]),
        ("window", [0, 0, 0, 1]),
        ("ramp", [1, 1, 1, 1 / 3]),
    ],
)
def test_schedules(curve: str, expected: list[float]) -> None:
    assert weights(curve, Denoising((1.0, 0.9, 0.75, 0.5), 6), 0.7, 0.4) == pytest.approx(expected)


def test_a_ramp_of_no_width_is_a_step() -> None:
    levels = Denoising((1.0, 0.7, 0.5), 6)
    assert weights("ramp", levels, 0.7, 0.7) == [1, 1, 0]
    assert weights("ramp", levels, 0.7, 0.8) == [1, 1, 0]


def test_a_step_of_any_kind_can_be_registered_and_composed(tmp_path: Path) -> None:
    path = tmp_path / "steps.py"
    path.write_text(STEPS)
    assert load_everything(path) == {
        "alignment": ["first_only"],
        "combiner": ["add"],
        "curve": ["last_call"],
        "mask": ["even_zero"],
        "normaliser": ["negated"],
    }
    chosen = "normalise=negated,mask=even_zero,align=first_only,combine=add,curve=last_call"
    text, rows = Tokens(torch.ones(2, 4), torch.ones(2)), torch.arange(12.0).view(3, 4)
    image = Tokens(rows, torch.full((3,), int(Kind.IMAGE)))
    given = Sources(text, image, denoising=Denoising((1.0, 0.7, 0.4), blocks=2))
    steps = parse_configuration(f"composed:alpha=0.5,{chosen}").blend(given).steps
    assert [step.tolist() for step in steps] == [[[1] * 4] * 2] * 2 + [[[1, 0.5, 1, -0.5]] * 2]
    # Every strategy that aligns can take it too.
    blended = parse_configuration("lerp:alpha=1,align=first_only").blend(given).rows
    assert torch.equal(blended, rows[:1].expand(2, -1))
    with pytest.raises(UsageError, match=r"alignment 'first_only' is registered twice: in .*steps\.py and in"):
        alignment("first_only")(lambda text, vision: (text, vision))


def test_nothing_of_a_file_that_fails_stays(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(STEPS + "\n1/0")
    with pytest.raises(UsageError, match=r"broken\.py:\d+: ZeroDivisionError"):
        load_everything(path)
    assert "first_only" not in ALIGNMENTS


def test_the_code_of_a_step_is_part_of_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "steps.py"
    path.write_text(STEPS)
    load_everything(path)
    before = {how: parse_configuration(f"lerp:align={how}").key() for how in ("area", "first_only")}
    path.write_text(STEPS.replace("vision[:1]", "vision[-1:]"))
    load_everything(path)
    after = {how: parse_configuration(f"lerp:align={how}").key() for how in ("area", "first_only")}
    assert before["area"] == after["area"]
    assert before["first_only"] != after["first_only"]


def test_names_and_choices_are_checked() -> None:
    with pytest.raises(UsageError, match="composed: curve = 'lost' is not one of constant"):
        parse_configuration("composed:curve=lost")
    kinds = [registry for registry in Registry.every if isinstance(registry, Steps)]
    assert len(kinds) == 5
    for steps in kinds:
        with pytest.raises(UsageError, match=f"{steps.kind} 'a,b': a name"):
            steps.register("a,b")(lambda *given: given)
