"""Steps of every kind can be registered, and their code counts as that of the strategies that take them."""

from pathlib import Path

import pytest
import torch

from blendbench.core.conditioning import Denoising
from blendbench.core.errors import UsageError
from blendbench.core.tokens import Kind, Tokens
from blendbench.registry.parameters import Steps
from blendbench.registry.strategies import Sources, load_plugin, parse_configuration
from blendbench.steps.align import ALIGNMENTS, alignment

STEP = '''\
from blendbench.steps.align import alignment


@alignment("last")
def last(text, vision):
    """The last vision tokens."""
    return text, vision[-len(text):]
'''


def test_a_registered_alignment_serves_every_strategy_that_aligns(tmp_path: Path) -> None:
    path = tmp_path / "step.py"
    path.write_text(STEP)
    assert load_plugin(path) == []
    try:
        bound = parse_configuration("lerp:alpha=1,align=last")
        text, rows = Tokens(torch.ones(2, 3), torch.ones(2)), torch.arange(12.0).view(4, 3)
        blended = bound.blend(Sources(text, Tokens(rows, torch.full((4,), int(Kind.IMAGE))))).rows
        assert torch.equal(blended, rows[2:])
        with pytest.raises(ValueError, match="registered twice"):
            alignment("last")(lambda text, vision: (text, vision))
        broken = tmp_path / "broken_step.py"
        broken.write_text(STEP.replace("last", "other") + "\n1/0")
        with pytest.raises(UsageError, match="ZeroDivisionError"):
            load_plugin(broken)
        assert "other" not in ALIGNMENTS
    finally:
        ALIGNMENTS.pop("last", None)


def test_the_code_of_a_step_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {how: parse_configuration(f"lerp:align={how}").key()["steps"] for how in ("area", "kmeans")}
    monkeypatch.setitem(ALIGNMENTS, "kmeans", lambda text, vision: (text, vision[:1].expand(len(text), -1)))
    after = {how: parse_configuration(f"lerp:align={how}").key()["steps"] for how in ("area", "kmeans")}
    assert before["area"] == after["area"]
    assert before["kmeans"] != after["kmeans"]


STEPS_OF_EVERY_KIND = """\
from blendbench.steps.align import alignment
from blendbench.steps.combine import combiner
from blendbench.steps.normalize import normaliser
from blendbench.steps.schedule import Moment, curve
from blendbench.steps.mask import mask


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


def test_a_step_of_any_kind_can_be_registered_and_composed(tmp_path: Path) -> None:
    path = tmp_path / "steps.py"
    path.write_text(STEPS_OF_EVERY_KIND)
    before = [dict(steps) for steps in Steps.every]
    try:
        assert load_plugin(path) == []
        chosen = "normalise=negated,mask=even_zero,align=first_only,combine=add,curve=last_call"
        text, rows = Tokens(torch.ones(2, 4), torch.ones(2)), torch.arange(12.0).view(3, 4)
        given = Sources(
            text, Tokens(rows, torch.full((3,), int(Kind.IMAGE))), denoising=Denoising((1.0, 0.7, 0.4), blocks=2)
        )
        steps = parse_configuration(f"composed:alpha=0.5,{chosen}").blend(given).steps
        assert [step.tolist() for step in steps] == [[[1] * 4] * 2] * 2 + [[[1, 0.5, 1, -0.5]] * 2]
        with pytest.raises(UsageError, match="composed: curve = 'lost' is not one of constant"):
            parse_configuration("composed:curve=lost")
        for steps_of_a_kind in Steps.every:
            with pytest.raises(ValueError, match=f"{steps_of_a_kind.kind} 'a,b': a name has lower-case"):
                steps_of_a_kind.register("a,b")(lambda *given: given)
    finally:
        for steps_of_a_kind, kept in zip(Steps.every, before, strict=True):
            steps_of_a_kind.clear()
            steps_of_a_kind.update(kept)
