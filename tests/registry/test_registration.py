"""Registering strategies: what the decorator reads from a function, and what it refuses."""

import re
import subprocess
import sys
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import Tensor

from blendbench.blending import text_transform, vision_transform
from blendbench.core.errors import UsageError
from blendbench.core.tokens import Tokens
from blendbench.registry import source
from blendbench.registry.entries import transaction
from blendbench.registry.parameters import Range
from blendbench.registry.source import source_identity
from blendbench.registry.strategies import Sources, get_strategy, parse_configuration, strategy
from blendbench.strategies import base, controls, references


def plain(text: Tokens) -> Tensor:
    return text.hidden


def unknown_input(text: Tokens, sound: Tokens) -> Tensor:
    return text.hidden


def without_text(vision: Tokens) -> Tensor:
    return vision.hidden


def no_default(text: Tokens, *, alpha: float) -> Tensor:
    return text.hidden


def free_text(text: Tokens, *, note: str = "") -> Tensor:
    return text.hidden


def dosed(text: Tokens, *, alpha: Annotated[float, Range(0, 2)] = 0.5) -> Tensor:
    return text.hidden * (1 - alpha)


def unbounded(text: Tokens, *, size: float = 3.0) -> Tensor:
    return text.hidden * (1 - size)


def outside(text: Tokens, *, alpha: Annotated[float, Range(0, 1)] = 2) -> Tensor:
    return text.hidden


def select_setting(text: Tokens, *, layer: int = 3) -> Tensor:
    return text.hidden


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (unknown_input, {}, "inputs must be among ('text', "),
        (without_text, {}, "and contain text, not ('vision',)"),
        (no_default, {}, "strategy tried: parameter alpha needs a default"),
        (free_text, {}, "parameter note must be int, float, bool or a Literal"),
        (outside, {}, "default of tried: alpha = 2 is outside 0..1"),
        (select_setting, {}, "'layer' is a select setting; give its default to @strategy"),
        (plain, {"dose": "alpha"}, "dose='alpha' is not among its settings ()"),
        (plain, {"dose_grid": (0.1, 0.3)}, "dose_grid without a dose"),
        (dosed, {"dose": "alpha", "dose_grid": (0.3, 0.1)}, "dose_grid must rise and begin above 0"),
        (dosed, {"dose": "alpha", "dose_grid": (0.0, 0.1)}, "dose_grid must rise and begin above 0"),
        (dosed, {"dose": "alpha", "dose_grid": (0.5, 2.5)}, "tried: alpha = 2.5 is outside 0..2"),
        (eval("lambda text: text.hidden"), {}, "its source is not in a file"),
    ],
)
def test_what_cannot_be_checked_is_refused(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        strategy("tried", source="me", **options)(function)
    with pytest.raises(UsageError, match="unknown strategy"):
        get_strategy("tried")


@pytest.mark.parametrize(
    ("function", "options", "grid"),
    [
        (dosed, {"dose": "alpha"}, (0.2, 0.4, 0.6, 1.0, 2.0)),
        (dosed, {"dose": "alpha", "dose_grid": (0.5, 1.0)}, (0.5, 1.0)),
        (unbounded, {"dose": "size"}, (3.0,)),
        (plain, {}, ()),
    ],
)
def test_the_grid_of_doses_is_that_given_or_one_over_the_range(
    function: Any, options: dict[str, Any], grid: tuple[float, ...]
) -> None:
    found = None
    with pytest.raises(ZeroDivisionError), transaction():
        strategy("tried", source="me", **options)(function)
        found = get_strategy("tried").dose_grid
        raise ZeroDivisionError  # nothing stays registered
    assert found == grid


@pytest.mark.parametrize("form", [vision_transform, text_transform])
def test_the_forms_own_alpha_and_their_default_has_to_be_in_range(form: Any) -> None:
    def with_alpha(text: Tokens, *, alpha: float = 0.5) -> Tensor:
        return text.hidden

    with pytest.raises(UsageError, match="'alpha' is given by the form"):
        form("tried", "T", "me")(with_alpha)
    with pytest.raises(UsageError, match=re.escape("tried: alpha = 2 is outside 0..1")):
        form("tried", "T", "me", alpha=2)(plain)


def test_the_form_orders_settings_and_mixes_with_the_text_as_it_was() -> None:
    @vision_transform("formed", "2 V", "me", alpha=0.5, note="; a note")
    def formed(vision: Tokens, text: Tokens, *, sink: Literal["keep", "drop"] = "drop", gain: float = 2.0) -> Tensor:
        text.hidden.zero_()
        return vision.hidden * gain

    found = get_strategy("formed")
    assert list(found.own) == ["alpha", "gain", "align", "sink"]
    assert found.bind().label == "formed:alpha=0.5"
    assert (found.equation, found.dose) == ("(1 - alpha) T + alpha align(2 V); a note", "alpha")
    text, vision = Tokens(torch.ones(2, 3), torch.ones(2)), Tokens(torch.ones(2, 3), torch.full((2,), 3))
    assert found.bind().blend(Sources(text, vision)).rows.unique().tolist() == [1.5]
    assert found.bind(alpha=0).blend(Sources(text, vision)).rows.unique().tolist() == [1]


def test_names_are_unique() -> None:
    with pytest.raises(UsageError, match=r"'lerp' is registered twice: in blendbench and in .*; rename one"):
        strategy("lerp", source="me")(plain)


def test_every_type_of_parameter_is_read_from_text_and_back() -> None:
    @strategy("typed", source="me")
    def typed(
        text: Tokens, *, count: int = 1, share: float = 0.5, flip: bool = False, power: Literal[1, 2] = 1
    ) -> Tensor:
        return text.hidden

    bound = parse_configuration("typed:count=3,share=0.12345678,flip=true,power=2")
    assert bound.params == {"count": 3, "share": 0.12345678, "flip": True, "power": 2}
    assert [type(value) for value in bound.params.values()] == [int, float, bool, int]
    assert bound.label == "typed:count=3,share=0.12345678,flip=true,power=2"
    assert parse_configuration(bound.label).key() == bound.key()
    for wrong in ("count=1e999", "count=inf", "count=1.5", "share=-inf", "flip=1", "power=3", "count=true"):
        with pytest.raises(UsageError, match="typed: "):
            parse_configuration(f"typed:{wrong}")
    assert get_strategy("typed").bind(share=-0.0).key() == get_strategy("typed").bind(share=0).key()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerp:alpha=2", "lerp: alpha = '2' is outside 0..1"),
        ("lerp:alpha=nan", "not a number"),
        ("lerp:alpha=x", "not a number"),
        ("lerp:alhpa=0.1", "did you mean 'alpha'"),
        ("lerp:align=crop", "is not one of area, attention, interpolate, kmeans, truncate"),
        ("lerp:layer=1.5", "neither a layer like -2"),
        ("lerp:layer=1*-2+-1*3", "neither a layer like -2"),
        ("lrep", "did you mean 'lerp'"),
        ("lerp:alpha", "'lerp:alpha': 'alpha' is not parameter=value"),
        ("style_delta:alph" + '{"a":' * 1000, "is not parameter=value"),
        ("style_delta:alpha=0.3,neutr\nal_p", r"'neutr\nal_p' is not parameter=value"),
        ("lerp:" + "a" * 5000 + "=1", "unknown parameter"),
    ],
)
def test_a_wrong_configuration_gets_one_short_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_configuration(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [pytest.param(10**5000, id="long"), float("inf"), float("nan"), None, [1], True])
@pytest.mark.parametrize("name", ["alpha", "layer", "align"])
def test_values_of_a_wrong_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"lerp: {name} = "):
        get_strategy("lerp").bind(**{name: value})


def test_labels_name_alpha_and_what_differs_from_the_defaults() -> None:
    assert parse_configuration("lerp").label == "lerp:alpha=0.3"
    assert parse_configuration("lerp:alpha=0.30,align=truncate").label == "lerp:alpha=0.3,align=truncate"
    assert parse_configuration("noise_reference").label == "noise_reference"
    assert parse_configuration("noise_reference:alpha=0.6").label == "noise_reference:alpha=0.6"
    assert parse_configuration("lerp:layer=3*-2+1*-4").label == "lerp:alpha=0.3,layer=0.25*-4+0.75*-2"


@pytest.mark.parametrize(
    ("label", "family", "dose"),
    [
        ("lerp:alpha=0.3", "lerp", 0.3),
        ("lerp:alpha=0.3,align=truncate", "lerp:align=truncate", 0.3),
        ("concatenate:share=0.5", "concatenate", 0.5),
        ("concatenate", "concatenate", 1.0),
        ("timestep_alpha:alpha=0.3,curve=cosine", "timestep_alpha:curve=cosine", 0.3),
        ("self_alignment", "self_alignment", 0.3),
        ("vision_only:tokens=text", "vision_only:tokens=text", None),
    ],
)
def test_a_family_is_the_label_without_the_dose(label: str, family: str, dose: float | None) -> None:
    configuration = parse_configuration(label)
    assert (configuration.label, configuration.family, configuration.dose) == (label, family, dose)


def test_the_key_follows_parameters_code_and_the_named_steps() -> None:
    lerp = get_strategy("lerp")
    assert lerp.bind(alpha="0.30").key() == lerp.bind().key()
    assert lerp.bind(alpha=0.2).key() != lerp.bind().key()
    assert lerp.bind(layer=-6).key() != lerp.bind().key()
    keys = {how: lerp.bind(align=how).key() for how in ("area", "kmeans")}
    assert keys["area"]["source_sha256"] == keys["kmeans"]["source_sha256"]
    assert keys["area"]["steps"] != keys["kmeans"]["steps"]
    assert set(get_strategy("composed").bind().key()["steps"]) == {"normalise", "mask", "align", "combine", "curve"}
    assert lerp.source_sha256 != get_strategy("slerp").source_sha256 != get_strategy("norm_lerp").source_sha256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "users"),
    [("aligned_mix", {"lerp", "noise_reference"}), ("area_averaged", {"noise_reference", "multi_concatenate"})],
)
def test_a_changed_step_changes_those_that_call_it(step: str, users: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("lerp", "noise_reference", "multi_concatenate", "text_only")
    before = {name: source_identity(get_strategy(name).function, 1).sha256 for name in names}
    for module in (base, controls, references):
        if hasattr(module, step):
            monkeypatch.setattr(module, step, lambda *given: given)
    monkeypatch.setattr(source, "_KNOWN", {})
    after = {name: source_identity(get_strategy(name).function, 1).sha256 for name in names}
    assert {name for name in names if before[name] != after[name]} == users


PLANNING = """
import sys
from blendbench.registry.strategies import all_strategies, parse_configuration
import blendbench.blending
for strategy in all_strategies().values():
    configuration = strategy.bind()
    assert parse_configuration(configuration.label).key() == configuration.key()
    assert strategy.identity_note is None, (strategy.name, strategy.identity_note)
    configuration.companion(), configuration.layers, strategy.folder, strategy.doc
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_planning_does_not_import_torch_and_follows_all_shipped_code() -> None:
    ran = subprocess.run([sys.executable, "-c", PLANNING], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
