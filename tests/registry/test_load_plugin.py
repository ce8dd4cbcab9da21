"""Strategies from a file: one or several files, of any form, and what it reports if something is wrong."""

import sys
from pathlib import Path

import pytest
import torch

from blendbench.core.errors import UsageError
from blendbench.core.tokens import Kind, Tokens
from blendbench.registry.loading import load_everything, load_plugin
from blendbench.registry.strategies import (
    STRATEGIES,
    Sources,
    all_strategies,
    get_strategy,
    parse_configuration,
)

IDEA = '''\
from blendbench.blending import Tokens, strategy


@strategy("half_and_half", source="me", equation="(T + mean V) / 2")
def half_and_half(text: Tokens, vision: Tokens, *, alpha: float = 0.5):
    """Add the mean vision token."""
    return (1 - alpha) * text.hidden + alpha * vision.hidden.mean(0)
'''
HELPED = """\
import functools
import torch
from blendbench.blending import Tokens, strategy
{imported}

GAINS = [0.2, 0.1]


@strategy("helped", source="me")
def helped(text: Tokens, vision: Tokens):
    return text.hidden + GAINS[0] * gain(vision.hidden.mean(0))
"""
HELPER = "def gain(v):\n    return 2.0 * v\n"
CALLABLES = """\
import functools
from blendbench.blending import Tokens, strategy, text_transform


class Blend:
    def __init__(self, a):
        self.a = a

    def __call__(self, text: Tokens, vision: Tokens, *, b: float = 1.0):
        "Add some."
        return text.hidden + self.a * b * vision.hidden.mean(0)


def base(text: Tokens, vision: Tokens, *, a: float = 0.1):
    return text.hidden + a * vision.hidden.mean(0)


strategy("of_class", source="me")(Blend(0.2))
for a in (0.1, 0.3):
    strategy(f"part{int(a * 10)}", source="me")(functools.partial(base, a=a))
text_transform("of_form", "2 T", "me")(lambda text: text.hidden * 2)
"""


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / f"{next(iter(files))}.py"


def value_of(name: str, **params: object) -> float:
    """Blend a text of ones with an image of ones."""
    text = Tokens(torch.ones(2, 3), torch.ones(2))
    vision = Tokens(torch.ones(4, 3), torch.full((4,), int(Kind.IMAGE)))
    (value,) = get_strategy(name).bind(**params).blend(Sources(text, vision)).rows.unique().tolist()
    return float(value)


def test_a_file_of_eight_lines_registers_a_strategy(tmp_path: Path) -> None:
    path = write(tmp_path, my_idea=IDEA)
    assert load_plugin(path) == ["half_and_half"]
    assert value_of("half_and_half") == 1
    found = get_strategy("half_and_half")
    assert (found.folder, found.origin, found.dose) == (tmp_path, str(path), None)
    # The same file given twice.
    assert load_plugin(path) == ["half_and_half"]
    assert load_everything(path) == {"strategy": ["half_and_half"]}
    assert get_strategy("half_and_half") is found


@pytest.mark.parametrize("imported", ["from helper_mod import gain", "from .helper_mod import gain"])
def test_a_strategy_in_two_files_follows_both(imported: str, tmp_path: Path) -> None:
    path = write(tmp_path, two_files=HELPED.format(imported=imported), helper_mod=HELPER)
    keys = []
    for module, old, new in (("", "", ""), ("helper_mod", "2.0", "4.0"), ("two_files", "[0.2", "[0.9")):
        if module:
            (tmp_path / f"{module}.py").write_text((tmp_path / f"{module}.py").read_text().replace(old, new))
        assert load_plugin(path) == ["helped"]
        keys.append((get_strategy("helped").bind().key()["source_sha256"], round(value_of("helped"), 4)))
    assert [value for _, value in keys] == [1.4, 1.8, 4.6]
    assert len({sha256 for sha256, _ in keys}) == 3


def test_objects_partials_and_lambdas_are_strategies(tmp_path: Path) -> None:
    assert load_plugin(write(tmp_path, callables=CALLABLES)) == ["of_class", "of_form", "part1", "part3"]
    assert value_of("of_class") == pytest.approx(1.2) and value_of("of_class", b=2) == pytest.approx(1.4)
    assert [value_of("part1"), value_of("part3"), value_of("of_form", alpha=1)] == pytest.approx([1.1, 1.3, 2])
    keys = {name: get_strategy(name).bind().key()["source_sha256"] for name in ("of_class", "part1", "part3")}
    assert len(set(keys.values())) == 3
    assert get_strategy("of_class").doc == "Add some."
    write(tmp_path, callables=CALLABLES.replace("Blend(0.2)", "Blend(0.4)"))
    load_plugin(tmp_path / "callables.py")
    changed = {name: get_strategy(name).bind().key()["source_sha256"] for name in keys}
    assert {name for name in keys if keys[name] != changed[name]} == {"of_class"}


def test_state_that_a_file_sets_is_restored(tmp_path: Path) -> None:
    leaking = "import torch\ntorch.set_default_dtype(torch.bfloat16)\ntorch.set_grad_enabled(False)\n"
    load_plugin(write(tmp_path, dtype=leaking + IDEA))
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


METRIC = """\
from blendbench.metrics import Batch, metric


@metric("tried_size", needs=("images",), role="diagnostic", direction="none", unit="px", margin=1.0)
def tried_size(batch: Batch):
    "Width."
    return batch.images.float().mean((1, 2, 3)) * 0 + batch.images.shape[-1]
"""


def test_a_file_of_metrics_alone_registers(tmp_path: Path) -> None:
    path = write(tmp_path, sizes=METRIC)
    assert load_everything(path) == {"metric": ["tried_size"]}
    assert load_plugin(path) == []


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1", r"idea\.py: registers no strategy, step or metric; decorate a function with blendbench\.blending"),
        (IDEA + "\n1/0", r"idea\.py:9: ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", r"idea\.py:1: SystemExit: 0"),
        ("def f(:", r"idea\.py:1: SyntaxError: invalid syntax"),
        (IDEA.replace('"half_and_half"', '"lerp"'), r"idea\.py:4: strategy 'lerp' is registered twice: in blendbench"),
        (IDEA.replace('"half_and_half"', '"my idea"'), r"idea\.py:4: strategy 'my idea': a name"),
        (
            IDEA.replace("*, alpha: float = 0.5", "*, alpha: str = 'x'"),
            r"idea\.py:4: strategy half_and_half: parameter",
        ),
        ("from blendbench.blending import nothing_here", r"idea\.py:1: ImportError: cannot import name"),
    ],
)
def test_a_broken_file_is_reported_in_one_line_and_leaves_nothing(code: str, message: str, tmp_path: Path) -> None:
    before = all_strategies()
    with pytest.raises(UsageError, match=message) as caught:
        load_plugin(write(tmp_path, idea=code))
    assert "\n" not in str(caught.value)
    assert all_strategies() == before


@pytest.mark.slow
def test_an_installed_package_is_found_through_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "blendbench_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blendbench-example\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[blendbench.strategies]\nexample = blendbench_example\n")
    for folder in (tmp_path, Path(__file__).parents[1] / "plugin_package" / "src"):
        monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(STRATEGIES, "_loads_installed", True)  # as in a new process
    monkeypatch.delitem(sys.modules, "blendbench_example", raising=False)
    bound = parse_configuration("example_mean:alpha=0.5")
    assert bound.strategy.origin == "blendbench_example"
    assert value_of("example_mean", alpha=0.5) == 1.5
    assert parse_configuration("lerp:align=example_first").key()["steps"]["align"]


@pytest.mark.parametrize(
    "line",
    [
        "n = " + "+".join("1" * 600),
        "n = ''" + ".strip()" * 300,
        "if alpha == 1: pass" + "\n    elif alpha == 2: pass" * 600,
    ],
    ids=["sum", "calls", "branches"],
)
def test_a_strategy_nested_deeper_than_its_source_can_be_followed_has_the_identity_of_its_file(
    line: str, tmp_path: Path
) -> None:
    keys = []
    for changed in (line, line, line.replace("1", "3", 1).replace("strip", "lower", 1)):
        (tmp_path / "idea.py").write_text(IDEA.replace("    return", f"    {changed}\n    return"))
        assert load_plugin(tmp_path / "idea.py") == ["half_and_half"]
        keys.append(get_strategy("half_and_half").source_sha256)
    assert keys[0] == keys[1] != keys[2]


def test_what_python_cannot_parse_for_its_depth_is_refused(tmp_path: Path) -> None:
    for deep in ("x = " + "[" * 20_000, "x = " + "+".join("1" * 20_000), "@f(" + "[" * 190 + "1" + "]" * 190 + ")"):
        (tmp_path / "idea.py").write_text(f"{deep}\n{IDEA}")
        with pytest.raises(UsageError):
            load_plugin(tmp_path / "idea.py")
