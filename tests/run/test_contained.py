"""A strategy that exits, crashes, hangs or fills the memory ends its own cells and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_outcomes import rows_of

from blendbench.core.tokens import Tokens
from blendbench.registry.loading import load_plugin
from blendbench.registry.strategies import Configuration, Sources, all_strategies, get_strategy
from blendbench.run import contained
from blendbench.run.contained import EndedError, StrategyError, call, end_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strategies share the process elsewhere")

PLUGIN = """\
import faulthandler, os, signal, sys, time
import torch
from blendbench.blending import strategy

class Odd(BaseException):
    pass

kept = []

@strategy("exits", source="test")
def exits(text):
    os._exit(0)

@strategy("leaves", source="test")
def leaves(text):
    sys.exit(0)

@strategy("odd", source="test")
def odd(text):
    raise Odd("not an Exception")

@strategy("interrupts", source="test")
def interrupts(text):
    raise KeyboardInterrupt

@strategy("crashes", source="test")
def crashes(text):
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)

@strategy("hangs", source="test", seconds=0.3)
def hangs(text):
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass

@strategy("stops", source="test", seconds=0.3)
def stops(text):
    os.kill(os.getpid(), signal.SIGSTOP)

@strategy("eats", source="test")
def eats(text):
    while True:
        kept.append(torch.ones(8 << 20))

@strategy("huge", source="test")
def huge(text):
    return torch.zeros(4000, text.hidden.shape[1])

@strategy("asks", source="test")
def asks(text):
    print("asked", input())

@strategy("prints", source="test")
def prints(text):
    os.write(1, b"to standard output")
    print("by Python")
    return text.hidden + torch.randn_like(text.hidden)

@strategy("process", source="test", equation="its own process")
def process(text):
    return torch.full_like(text.hidden, os.getpid() % 65536)
"""


@pytest.fixture(autouse=True)
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(contained, "_MEMORY", 256 << 20)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own.py").write_text(PLUGIN)
    load_plugin(tmp_path / "own" / "own.py")
    yield
    end_child()


def tokens(rows: int, seed: int) -> Tokens:
    hidden = torch.randn(rows, 32, generator=torch.Generator().manual_seed(seed))
    return Tokens(hidden, torch.ones(rows, dtype=torch.int64), None)


def blend(name: str) -> torch.Tensor:
    return call(get_strategy(name).bind(), Sources(tokens(7, 1)), 5).rows


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("exits", "exits ended its process with exit code 0"),
        ("crashes", "crashes crashed: Segmentation fault (SIGSEGV)"),
        ("hangs", "hangs took longer than 0.3 s for one call; @strategy(seconds=...) allows more"),
        ("stops", "stops took longer than 0.3 s for one call; @strategy(seconds=...) allows more"),
    ],
)
def test_a_strategy_that_ends_its_process_fails_alone(name: str, message: str) -> None:
    with pytest.raises(EndedError) as failure:
        blend(name)
    assert str(failure.value) == message
    assert blend("process").shape == (7, 32)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaves", "BlendError: leaves tried to end the program: SystemExit (own.py:"),
        ("odd", "BlendError: odd tried to end the program: Odd (own.py:"),
        ("interrupts", "KeyboardInterrupt (own.py:"),
        ("eats", "RuntimeError: [enforce fail at alloc_cpu.cpp"),
        ("asks", "EOFError: EOF when reading a line (own.py:"),
    ],
)
def test_whatever_a_strategy_raises_is_described_with_its_place(name: str, message: str) -> None:
    process = blend("process")
    with pytest.raises(StrategyError) as failure:
        blend(name)
    assert str(failure.value).startswith(message)
    assert torch.equal(blend("process"), process)


def test_an_answer_that_no_model_has_room_for_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "_LARGEST", 100_000)
    with pytest.raises(StrategyError, match=r"it gave .* bytes, which is more than any model has room for"):
        blend("huge")
    assert blend("process").shape == (7, 32)


def test_shipped_strategies_give_the_same_conditioning_in_both_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    text, vision, other = tokens(9, 1), tokens(16, 2), tokens(16, 3)
    sources = Sources(text, vision=vision, neutral=other, other=other, wordless=vision, corpus=(text, tokens(5, 4)))
    shipped = [s.bind() for s in all_strategies().values() if s.origin == "blendbench" and "pairs" not in s.inputs]
    shipped = [c for c in shipped if "denoising" not in c.strategy.inputs]
    inside = {c.label: _outcome(c, sources) for c in shipped}
    monkeypatch.setattr(Configuration, "is_shipped", False)
    outside = {c.label: _outcome(c, sources) for c in shipped}
    assert outside == inside
    assert len(set(inside.values())) > 20
    assert call(get_strategy("process").bind(), sources, 0).rows[0, 0] != os.getpid() % 65536


def _outcome(configuration: Configuration, sources: Sources) -> str:
    try:
        return call(configuration, sources, 11).sha256()
    except StrategyError as error:
        return str(error).partition(" (")[0]
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_only_strategies_and_steps_of_the_user_get_a_process(tmp_path: Path) -> None:
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "step.py").write_text(
        "from blendbench.steps.align import ALIGNMENTS\n"
        "@ALIGNMENTS.register('first')\n"
        "def first(text, vision):\n    return text, vision[:1].expand_as(text)\n"
    )
    load_plugin(tmp_path / "step" / "step.py")
    assert get_strategy("lerp").bind().is_shipped
    assert not get_strategy("lerp").bind(align="first").is_shipped
    assert not get_strategy("process").bind().is_shipped


def test_a_run_keeps_what_other_strategies_make(
    cli: Callable[..., subprocess.CompletedProcess[str]], untrained: Path, tmp_path: Path
) -> None:
    (tmp_path / "e.toml").write_text(
        'name = "e"\ntitle = "x"\nsuite = "miniature"\nseeds = [0]\nitems = 2\nmetrics = ["effect_size"]\n'
        'sampler = {steps = 2}\nstrategies = [{name = "lerp", alpha = 0.3}]\nquick = {items = 1}\n'
    )
    arguments = ("run", tmp_path / "e.toml", "--models", untrained, "--json")
    strategies = ("exits", "crashes", "hangs", "leaves", "prints", "lerp")
    chosen = [word for name in strategies for word in ("--strategy", name)]
    plugin = ("--plugin", tmp_path / "own" / "own.py")
    whole = cli(*arguments, "--strategy", "lerp", "--results", tmp_path / "whole")
    mixed = cli(*arguments, *plugin, *chosen, "--results", tmp_path / "mixed")
    assert (whole.returncode, mixed.returncode) == (0, 5), mixed.stderr
    assert mixed.stdout.startswith("{")
    assert contained._Child.running is None
    images = {row.cell_id: row.image_sha256 for row in rows_of(tmp_path / "whole", "cells")}
    rows = rows_of(tmp_path / "mixed", "cells")
    assert images.items() <= {row.cell_id: row.image_sha256 for row in rows}.items()
    failed: dict[str, set[Any]] = {}
    for row in rows:
        if row.status == "failed":
            failed.setdefault(row.strategy, set()).add(row.error)
    assert {name: len(errors) for name, errors in failed.items()} == dict.fromkeys(strategies[:4], 1)
    again = cli(*arguments, *plugin, *chosen, "--results", tmp_path / "mixed")
    assert again.returncode == 5


def test_the_child_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "import torch\n"
        "from blendbench.core.tokens import Tokens\n"
        "from blendbench.registry.loading import load_plugin\n"
        "from blendbench.registry.strategies import Sources, get_strategy\n"
        "from blendbench.run import contained\n"
        "load_plugin(Path(sys.argv[1]))\n"
        "text = Tokens(torch.zeros(1, 4), torch.ones(1, dtype=torch.int64))\n"
        "contained.call(get_strategy('process').bind(), Sources(text), 0)\n"
        "print(contained._Child.running.pid, flush=True)\n"
        "contained.call(get_strategy('hangs').bind(), Sources(text), 0)\n"
    )
    path = tmp_path / "own" / "own.py"
    path.write_text(PLUGIN.replace("seconds=0.3", "seconds=300"))
    with subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert Path(f"/proc/{child}").exists()
        os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while _runs(child) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
