"""Global state: whatever third-party code sets is put back."""

import decimal
import locale
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blendbench.registry.guard import guarded_state, seeded
from blendbench.registry.plugins import load_plugin_file

_ENTERED: list[Any] = []


def _mode() -> None:
    _ENTERED.append(torch.inference_mode())  # kept, because its end would leave the mode
    _ENTERED[-1].__enter__()


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "default type": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.bfloat16)),
    "default device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "grad mode": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "inference mode": (torch.is_inference_mode_enabled, _mode),
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    "deterministic": (torch.are_deterministic_algorithms_enabled, lambda: torch.use_deterministic_algorithms(True)),
    "warn only": (
        torch.is_deterministic_algorithms_warn_only_enabled,
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    ),
    "cudnn": (
        lambda: torch.backends.cudnn.deterministic,
        lambda: setattr(torch.backends.cudnn, "deterministic", True),
    ),
    "benchmark": (lambda: torch.backends.cudnn.benchmark, lambda: setattr(torch.backends.cudnn, "benchmark", True)),
    "tf32 of cudnn": (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    ),
    "tf32": (
        lambda: torch.backends.cuda.matmul.allow_tf32,
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    ),
    "precision": (torch.get_float32_matmul_precision, lambda: torch.set_float32_matmul_precision("medium")),
    "attention": (torch.backends.cuda.flash_sdp_enabled, lambda: torch.backends.cuda.enable_flash_sdp(False)),
    "autocast": (lambda: torch.is_autocast_enabled("cpu"), lambda: torch.set_autocast_enabled("cpu", True)),
    "denormal numbers": (
        lambda: str((torch.tensor(1e-310, dtype=torch.float64) * 1.0).view(torch.int64)),  # compared as bits
        lambda: torch.set_flush_denormal(True),
    ),
    "torch generator": (lambda: torch.get_rng_state().tolist(), lambda: torch.manual_seed(7)),
    "numpy generator": (lambda: str(np.random.get_state()), lambda: np.random.seed(7)),  # noqa: NPY002
    "random": (random.getstate, lambda: random.seed(7)),
    "numpy errors": (np.geterr, lambda: np.seterr(all="raise")),
    "numpy printing": (lambda: np.get_printoptions()["precision"], lambda: np.set_printoptions(precision=2)),
    "decimals": (lambda: decimal.getcontext().prec, lambda: setattr(decimal.getcontext(), "prec", 5)),
    "folder": (os.getcwd, lambda: os.chdir("/")),
    "environment": (lambda: dict(os.environ), lambda: os.environ.update(BLENDBENCH_TEST="1")),
    "path": (lambda: list(sys.path), lambda: sys.path.insert(0, "/nowhere")),
    "locale": (lambda: locale.setlocale(locale.LC_ALL), lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8")),
}


@pytest.fixture
def plain_locale() -> Iterator[None]:
    """Run a test in the locale C, and the next ones in the one before: it decides how text files are read."""
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.usefixtures("plain_locale")
def test_state_is_put_back_even_after_an_error(name: str) -> None:
    read, change = CHANGES[name]
    before = read()
    with pytest.raises(ZeroDivisionError), guarded_state():
        change()
        assert read() != before, "the change does nothing here"
        _ = 1 / 0
    assert read() == before


def test_warnings_stay_as_they_were(recwarn: pytest.WarningsRecorder) -> None:
    import warnings

    with guarded_state():
        warnings.simplefilter("error")
    warnings.warn("shown", stacklevel=1)
    assert len(recwarn) == 1


def test_seeds_count_within_and_are_forgotten_after() -> None:
    def numbers() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    with seeded(2**40 + 1):
        first = numbers()
        after = numbers()
    free = numbers()
    with seeded(2**40 + 1):
        assert numbers() == first
    assert numbers() not in (first, after, free)


def test_a_plugin_that_sets_the_default_type_leaves_it_alone(tmp_path: Path) -> None:
    text = "import torch\ntorch.set_default_dtype(torch.bfloat16)\ntorch.set_grad_enabled(False)\nK = torch.ones(1)\n"
    (tmp_path / "dtype.py").write_text(text)
    assert load_plugin_file(tmp_path / "dtype.py").K.dtype == torch.bfloat16
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_the_registry_layer_does_not_import_torch() -> None:
    modules = "registry, plugins, guard, source"
    code = f"import sys\nfrom blendbench.registry import {modules}\nassert 'torch' not in sys.modules"
    source = str(Path(__file__).parents[2] / "src")
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": source})
