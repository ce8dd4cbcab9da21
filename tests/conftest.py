"""Shared fixtures: model sets, the command line in this process, and the guard of the fast tests."""

import gc
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import safetensors

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Two workers share two cores: torch's own threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TRAINED = Path(__file__).parents[1] / "src" / "blendbench" / "models" / "miniature" / "weights"
_running: list[pytest.Item] = []
_open_weights = safetensors.safe_open


def _guarded_open(filename: str | Path, *args: Any, **options: Any) -> Any:
    """Open a weights file; fail where an unmarked test reads a trained one."""
    if _running and _running[-1].get_closest_marker("trained") is None:
        path = Path(filename).resolve()
        assert not path.is_relative_to(TRAINED), f"{path.name} is trained: mark this test with pytest.mark.trained"
    return _open_weights(filename, *args, **options)


# Before any library imports it by name: all of them read weights through this one function.
safetensors.safe_open = _guarded_open  # type: ignore[assignment, misc]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Name the running test for the guard; the fixtures of modules are set up within it too."""
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a browser by the fixture that starts it; put files with slow tests first.

    Whole files are given to workers: a slow one at the end would leave the others idle.
    """
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Take what the imports made out of the garbage collector's sight: libraries collect often, and torch is large."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Give it back, for the end of the process."""
    gc.unfreeze()


@contextmanager
def own_plugins() -> Iterator[None]:
    """Forget afterwards what is registered meanwhile and not shipped, as the end of a process does."""
    from blendbench.registry.entries import SHIPPED
    from blendbench.registry.registry import Registry

    before = {id(registry): registry.entries() for registry in Registry.every}
    yield
    for registry in Registry.every:
        for name, entry in registry.entries().items():
            if entry.origin != SHIPPED and name not in before.get(id(registry), {}):
                del registry._entries[name]


@pytest.fixture(autouse=True)
def _registers_nothing_for_others() -> Iterator[None]:
    """Undo, at the end of a test, what it registered."""
    with own_plugins():
        yield


@pytest.fixture(scope="session")
def cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give a function that runs `blendbench ARGUMENTS` in this process, where the imports are paid for."""
    from blendbench.cli import main

    def call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        words = ["blendbench", *map(str, arguments)]
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", words)
            patch.setenv("COLUMNS", "80")
            with chdir(cwd) if cwd else nullcontext(), own_plugins(), pytest.raises(SystemExit) as stopped:
                main()
        code = stopped.value.code
        texts = (stream.buffer.getvalue().decode() for stream in (out, err))
        return subprocess.CompletedProcess(words, code if isinstance(code, int) else int(code is not None), *texts)

    return call


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Give a function that runs `blendbench ARGUMENTS` in this process and returns its exit code."""
    from blendbench.cli import main

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["blendbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0)

    return call


@pytest.fixture
def default_signals() -> Iterator[None]:
    """Let signals do what they do by default: whatever started the tests may ignore them, and Ray handles SIGTERM."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model set folder with random weights: everything works, the images are noise."""
    from miniature.untrained import write_untrained

    folder = tmp_path_factory.mktemp("models") / "untrained"
    write_untrained(folder)
    return folder


@pytest.fixture(scope="session")
def speed_scripts() -> Path:
    """Make the scripts of bench/speed importable."""
    folder = Path(__file__).parents[1] / "bench" / "speed"
    sys.path.append(str(folder))
    return folder


@pytest.fixture(scope="session")
def tiny_set(speed_scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model set in the layout of the full-size one, at tiny sizes with random weights."""
    import full_size

    folder = tmp_path_factory.mktemp("models") / "tiny"
    full_size.write_model_set(folder, full_size.tiny(), "cpu")
    return folder
