"""Registration: from code, from a file, from an installed package."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from torch import Tensor

from blendbench.core.conditioning import BlendError
from blendbench.core.errors import UsageError
from blendbench.core.tokens import Kind, Tokens
from blendbench.registry.parameters import Range
from blendbench.registry.strategies import (
    _REGISTRY,
    Sources,
    all_strategies,
    get_strategy,
    load_plugin,
    parse_configuration,
    strategy,
)

PLUGIN = '''\
"""A strategy in ten lines."""
from torch import Tensor

from blendbench.core.tokens import Tokens
from blendbench.registry.strategies import strategy


@strategy("half_and_half", version=1, source="me", equation="(T + mean V) / 2")
def half_and_half(text: Tokens, vision: Tokens, *, alpha: float = 0.5) -> Tensor:
    """Add the mean vision token."""
    return (1 - alpha) * text.hidden + alpha * vision.hidden.mean(0)
'''


@pytest.fixture(autouse=True)
def registry_as_before() -> object:
    before = all_strategies()
    yield
    _REGISTRY.clear()
    _REGISTRY.update(before)


def test_a_plugin_file_of_ten_lines_registers_a_strategy(tmp_path: Path) -> None:
    path = tmp_path / "my_idea.py"
    path.write_text(PLUGIN)
    assert load_plugin(path) == ["half_and_half"]
    text, vision = Tokens(torch.ones(2, 3), torch.ones(2)), Tokens(torch.zeros(4, 3), torch.full((4,), int(Kind.IMAGE)))
    assert get_strategy("half_and_half").bind().blend(Sources(text, vision)).rows.tolist() == [[0.5] * 3] * 2


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = 1", "registers no strategy"),
        ("1/0", "ZeroDivisionError"),
        ("import nothere", "ModuleNotFoundError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("def f(:", "SyntaxError"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        (PLUGIN.replace("half_and_half", "lerp"), "'lerp' is registered twice"),
        (PLUGIN + "\n1/0", "ZeroDivisionError"),
    ],
)
def test_a_broken_plugin_is_told_in_one_line_and_leaves_nothing(tmp_path: Path, code: str, told: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    before = all_strategies()
    with pytest.raises(UsageError, match=told) as caught:
        load_plugin(path)
    assert "\n" not in str(caught.value)
    assert all_strategies() == before
    with pytest.raises(UsageError, match="no such file"):
        load_plugin(tmp_path / "absent.py")


def test_names_are_unique() -> None:
    get_strategy("lerp")
    with pytest.raises(ValueError, match="registered twice"):

        @strategy("lerp", version=1, source="me")
        def lerp(text: Tokens) -> Tensor:
            return text.hidden


def test_an_unknown_input_or_a_missing_default_is_refused() -> None:
    with pytest.raises(TypeError, match="inputs must be among"):

        @strategy("bad_input", version=1, source="me")
        def bad_input(text: Tokens, sound: Tokens) -> Tensor:
            return text.hidden

    with pytest.raises(TypeError, match="needs a default"):

        @strategy("no_default", version=1, source="me")
        def no_default(text: Tokens, *, alpha: float) -> Tensor:
            return text.hidden


@pytest.mark.parametrize("name", ["Lerp", "my lerp", "a:b", "a,b", "", "3d"])
def test_a_name_that_a_command_line_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lower-case"):
        strategy(name, version=1, source="me")(lambda text: text.hidden)


def test_parameters_that_cannot_be_checked_are_refused() -> None:
    def free_text(text: Tokens, *, note: str = "") -> Tensor:
        return text.hidden

    def outside(text: Tokens, *, alpha: Annotated[float, Range(0, 1)] = 2) -> Tensor:
        return text.hidden

    def select_setting(text: Tokens, *, layer: int = 3) -> Tensor:
        return text.hidden

    for function, told in (
        (free_text, "must be int, float, bool or a Literal"),
        (outside, "default of outside: alpha = 2 is outside 0..1"),
        (select_setting, "'layer' is a select setting"),
    ):
        with pytest.raises(TypeError, match=re.escape(told)):
            strategy(function.__name__, version=1, source="me")(function)


def test_every_type_of_parameter_is_read_from_text_and_back() -> None:
    @strategy("typed", version=1, source="me")
    def typed(
        text: Tokens, *, count: int = 1, share: float = 0.5, flip: bool = False, power: Literal[1, 2] = 1
    ) -> Tensor:
        return text.hidden

    bound = parse_configuration("typed:count=3,share=0.12345678,flip=true,power=2")
    assert bound.params == {"count": 3, "share": 0.12345678, "flip": True, "power": 2}
    assert [type(value) for value in bound.params.values()] == [int, float, bool, int]
    assert bound.label == "typed:count=3,share=0.12345678,flip=true,power=2"
    assert parse_configuration(bound.label).key() == bound.key()
    for wrong in ("count=1e999", "count=inf", "share=-inf", "flip=1", "power=3", "count=true"):
        with pytest.raises(UsageError, match="typed: "):
            parse_configuration(f"typed:{wrong}")
    assert get_strategy("typed").bind(share=-0.0).key() == get_strategy("typed").bind(share=0).key()


def blend_of(function: object) -> Tensor:
    strategy("tried", version=1, source="me")(function)  # type: ignore[type-var]
    return get_strategy("tried").bind().blend(Sources(Tokens(torch.ones(2, 3), torch.ones(2)))).rows


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda text: text.hidden[0], r"must return \(tokens, 3\), not \(3,\)"),
        (lambda text: text.hidden[:0], r"not \(0, 3\)"),
        (lambda text: text.hidden[:, :2], r"not \(2, 2\)"),
        (lambda text: text, "not Tokens"),
        (lambda text: text.hidden * 1j, "real numbers, not torch.complex64"),
        (lambda text: sys.exit(3), "tried to end the program"),
        (lambda text: text.hidden / 0, "6 values that are not finite"),
        (lambda text: text.hidden.double() * 1e300, "6 values that are not finite"),  # finite until it is float32
    ],
)
def test_an_unusable_return_value_is_a_blend_error(function: object, told: str) -> None:
    with pytest.raises(BlendError, match=told):
        blend_of(function)


def test_a_result_with_a_graph_or_of_another_precision_is_taken_as_float32() -> None:
    result = blend_of(lambda text: text.hidden.double().requires_grad_() * 2)
    assert result.dtype == torch.float32
    assert not result.requires_grad


def test_a_strategy_that_writes_in_place_changes_nothing_for_the_next() -> None:
    @strategy("vandal", version=1, source="me")
    def vandal(text: Tokens, vision: Tokens, corpus: tuple[Tokens, ...]) -> Tensor:
        vision.hidden.zero_()
        corpus[0].hidden.zero_()
        return text.hidden.mul_(7)

    text = Tokens(torch.ones(2, 3), torch.ones(2))
    given = Sources(text, Tokens(torch.ones(4, 3), torch.full((4,), 3)), corpus=(text,))
    assert get_strategy("vandal").bind().blend(given).rows.unique().tolist() == [7]
    assert given.vision is not None
    assert given.text.hidden.unique().tolist() == given.vision.hidden.unique().tolist() == [1]


def test_what_a_strategy_prints_is_not_taken_for_the_program_s_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "talks.py"
    path.write_text("print('loaded')\n" + PLUGIN.replace("    return", "    print('blended')\n    return"))
    load_plugin(path)
    text, vision = Tokens(torch.ones(2, 3), torch.ones(2)), Tokens(torch.zeros(4, 3), torch.full((4,), 3))
    get_strategy("half_and_half").bind().blend(Sources(text, vision))
    assert capsys.readouterr() == ("", "loaded\nblended\n")


IDENTITY = """\
from torch import Tensor

from blendbench.core.tokens import Tokens
from blendbench.registry.strategies import strategy

GAIN = {gain}


@strategy("keyed", version={version}, source="me")
def keyed(text: Tokens, *, alpha: float = 0.1) -> Tensor:
    return helper(text.hidden) * alpha


def helper(x: Tensor) -> Tensor:
    return inner(x)


def inner(x: Tensor) -> Tensor:
    return x {operator} GAIN


def unused() -> int:
    return {unused}
"""


def identity_of(folder: Path, **changes: object) -> str:
    folder.mkdir()
    path = folder / "keyed.py"
    path.write_text(IDENTITY.format(**{"gain": 2, "version": 1, "operator": "*", "unused": 0} | changes))
    _REGISTRY.pop("keyed", None)
    load_plugin(path)
    return get_strategy("keyed").source_sha256


def test_the_identity_follows_version_code_helpers_and_constants_but_not_the_place(tmp_path: Path) -> None:
    plain = identity_of(tmp_path / "a")
    assert identity_of(tmp_path / "b") == plain
    assert identity_of(tmp_path / "c", unused=1) == plain
    changed = [
        identity_of(tmp_path / "d", version=2),
        identity_of(tmp_path / "e", operator="+"),
        identity_of(tmp_path / "f", gain=3),
    ]
    assert len({plain, *changed}) == 4


def test_the_identity_of_a_shipped_strategy_follows_the_shared_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from blendbench.registry.identity import code_sha256
    from blendbench.strategies import linear

    before = {name: code_sha256(get_strategy(name).function, 1) for name in ("lerp", "noise_reference", "text_only")}

    def mix(text: Tensor, other: Tensor, alpha: float) -> Tensor:
        return other

    mix.__module__ = "blendbench.steps.normalize"
    monkeypatch.setattr(linear, "mix", mix)
    after = {name: code_sha256(get_strategy(name).function, 1) for name in before}
    assert {name for name in before if before[name] != after[name]} == {"lerp", "noise_reference"}


def test_the_key_of_a_configuration_follows_its_parameters() -> None:
    lerp = get_strategy("lerp")
    assert lerp.bind(alpha=0.3).key() == lerp.bind().key()
    assert lerp.bind(alpha="0.30").key() == lerp.bind().key()
    assert lerp.bind(alpha=0.2).key() != lerp.bind().key()
    assert lerp.bind(layer=-6).key() != lerp.bind().key()


def test_an_installed_package_is_found_through_its_entry_point(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "plugin_package"
    info = tmp_path / "blendbench_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blendbench-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[blendbench.strategies]\nexample = blendbench_example\n")
    assert label_of_example(tmp_path, source / "src") == "example_mean:alpha=0.2"
    (tmp_path / "blendbench_example.py").write_text("1 / 0")
    told = label_of_example(tmp_path, tmp_path)
    assert told == "installed package blendbench-example, entry point example: ZeroDivisionError: division by zero"


def label_of_example(*path: Path) -> str:
    """The label of the package's strategy, or the error, in a process that has `path` to import from."""
    code = """
from blendbench.registry.strategies import get_strategy
from blendbench.core.errors import UsageError
try:
    print(get_strategy("example_mean").bind().label)
except UsageError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    run = [sys.executable, "-c", code]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_strategy_in_the_guide_works_as_printed(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
    path = tmp_path / "my_idea.py"
    path.write_text(guide.partition("```python\n")[2].partition("```")[0])
    assert load_plugin(path) == ["mean_vision"]
    text, vision = Tokens(torch.ones(2, 3), torch.ones(2)), Tokens(torch.zeros(4, 3), torch.full((4,), 3))
    assert get_strategy("mean_vision").bind(alpha=0.5).blend(Sources(text, vision)).rows.tolist() == [[0.5] * 3] * 2
