"""Registration: from code, from a file, from an installed package."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from blendbench.blending import BlendError, Kind, Sources, Tokens, get_strategy, load_plugin, strategy
from blendbench.blending.registry import _REGISTRY
from blendbench.errors import UsageError

PLUGIN = '''\
"""A strategy in ten lines."""
from torch import Tensor

from blendbench.blending import Tokens, strategy


@strategy("half_and_half", version=1, source="me", equation="(T + mean V) / 2")
def half_and_half(text: Tokens, vision: Tokens, *, alpha: float = 0.5) -> Tensor:
    """Add the mean vision token."""
    return (1 - alpha) * text.hidden + alpha * vision.hidden.mean(0)
'''


@pytest.fixture(autouse=True)
def registry_as_before() -> object:
    before = dict(_REGISTRY)
    yield
    _REGISTRY.clear()
    _REGISTRY.update(before)


def test_a_plugin_file_of_ten_lines_registers_a_strategy(tmp_path: Path) -> None:
    path = tmp_path / "my_idea.py"
    path.write_text(PLUGIN)
    assert load_plugin(path) == ["half_and_half"]
    text, vision = Tokens(torch.ones(2, 3), torch.ones(2)), Tokens(torch.zeros(4, 3), torch.full((4,), int(Kind.IMAGE)))
    assert get_strategy("half_and_half").bind().blend(Sources(text, vision)).tolist() == [[0.5] * 3] * 2


@pytest.mark.parametrize(
    ("code", "told"),
    [("x = 1", "registers no strategy"), ("1/0", "ZeroDivisionError"), ("import nothere", "ModuleNotFoundError")],
)
def test_a_broken_plugin_is_told_in_one_line(tmp_path: Path, code: str, told: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    with pytest.raises(UsageError, match=told):
        load_plugin(path)
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


def test_a_wrong_return_value_is_a_blend_error() -> None:
    @strategy("wrong_shape", version=1, source="me")
    def wrong_shape(text: Tokens) -> Tensor:
        return text.hidden[0]

    with pytest.raises(BlendError, match=r"must return \(tokens, 3\)"):
        get_strategy("wrong_shape").bind().blend(Sources(Tokens(torch.ones(2, 3), torch.ones(2))))


def test_the_key_of_a_configuration_follows_code_version_and_parameters() -> None:
    def register(version: int) -> str:
        _REGISTRY.pop("keyed", None)

        @strategy("keyed", version=version, source="me")
        def keyed(text: Tokens, *, alpha: float = 0.1) -> Tensor:
            return text.hidden * alpha

        return get_strategy("keyed").source_sha256

    assert register(1) != register(2)
    bound = get_strategy("keyed")
    assert bound.bind(alpha=0.1).key() == bound.bind().key()
    assert bound.bind(alpha=0.2).key() != bound.bind().key()


def test_an_installed_package_is_found_through_its_entry_point(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "plugin_package"
    info = tmp_path / "blendbench_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blendbench-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[blendbench.strategies]\nexample = blendbench_example\n")
    code = "from blendbench.blending import get_strategy; print(get_strategy('example_mean').bind().label)"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{source / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.strip() == "example_mean:alpha=0.2", told.stderr
