"""Save global state before third-party code and restore it after."""

import contextlib
import decimal
import locale
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

_CUDNN_FLAGS = ("enabled", "deterministic", "benchmark", "allow_tf32")
_MATMUL_FLAGS = (
    "allow_tf32",
    "allow_fp16_reduced_precision_reduction",
    "allow_bf16_reduced_precision_reduction",
    "allow_fp16_accumulation",
)
_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")


@contextlib.contextmanager
def guarded_state() -> Iterator[None]:
    """Run third-party code; print to stderr, then restore global state.

    Not for several threads at once: the state belongs to the process.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        stack.enter_context(warnings.catch_warnings())
        for restore in (*_python_state(), *_numpy_state()):
            stack.callback(restore)
        _guard_torch(stack)
        yield


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch, numpy and random; give back their previous states after."""
    with contextlib.ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())  # noqa: NPY002  third-party code uses it
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        if (torch := _torch()) is not None:
            _guard_generators(torch, stack)
            torch.manual_seed(seed)
        yield


def _torch() -> Any:
    try:
        import torch
    except ImportError:  # reading results needs no torch
        return None
    return torch


def _python_state() -> list[Callable[[], Any]]:
    folder, path, context = os.getcwd(), list(sys.path), decimal.getcontext().copy()  # noqa: PTH109
    language, generator, environment = locale.setlocale(locale.LC_ALL), random.getstate(), dict(os.environ)

    def restore_environment() -> None:
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)

    def restore_path() -> None:
        sys.path[:] = path

    return [
        lambda: os.chdir(folder),
        restore_path,
        restore_environment,
        lambda: decimal.setcontext(context),
        lambda: locale.setlocale(locale.LC_ALL, language),
        lambda: random.setstate(generator),
    ]


def _numpy_state() -> list[Callable[[], Any]]:
    generator, errors, call = np.random.get_state(), np.geterr(), np.geterrcall()  # noqa: NPY002
    options, size = np.get_printoptions(), np.getbufsize()
    return [
        lambda: np.random.set_state(generator),  # noqa: NPY002
        lambda: np.seterr(**errors),
        lambda: np.seterrcall(call),
        lambda: np.set_printoptions(**options),
        lambda: np.setbufsize(size),
    ]


def _guard_torch(stack: contextlib.ExitStack) -> None:
    torch = _torch()
    if torch is None:
        return
    # Leaving this restores grad mode and inference mode, even if the code entered one and never left it.
    grad = torch.is_grad_enabled()
    stack.enter_context(torch.inference_mode(torch.is_inference_mode_enabled()))
    torch.set_grad_enabled(grad)
    _guard_generators(torch, stack)
    dtype, device, threads = torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    denormal = _flushes_denormal(torch)
    autocast = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}

    def restore() -> None:
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # A default device costs every call; the CPU is what torch has without one.
            torch.set_default_device(None if device.type == "cpu" else device)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        found = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
        if found != (deterministic, warn_only):
            # Only then: the call imports torch's compiler, which takes seconds.
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        if _flushes_denormal(torch) != denormal:
            torch.set_flush_denormal(denormal)
        for kind, enabled in autocast.items():
            torch.set_autocast_enabled(kind, enabled)

    stack.callback(_backend_flags(torch))
    stack.callback(restore)


def _guard_generators(torch: Any, stack: contextlib.ExitStack) -> None:
    stack.callback(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_initialized():
        stack.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())


def _backend_flags(torch: Any) -> Callable[[], None]:
    """Save the settings of the kernels; return what restores them."""
    backends = torch.backends
    holders = [(backends.cudnn, _CUDNN_FLAGS), (backends.cuda.matmul, _MATMUL_FLAGS)]
    flags = [(holder, name, getattr(holder, name)) for holder, names in holders for name in names]
    precision = torch.get_float32_matmul_precision()
    attention = {name: getattr(backends.cuda, f"{name}_sdp_enabled")() for name in _ATTENTION}

    def restore() -> None:
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)  # before the flags: it sets some of them
        for holder, name, value in flags:
            if getattr(holder, name) != value:
                setattr(holder, name, value)
        for name, enabled in attention.items():
            getattr(backends.cuda, f"enable_{name}_sdp")(enabled)

    return restore


def _flushes_denormal(torch: Any) -> bool:
    return float(torch.tensor(1e-310, dtype=torch.float64, device="cpu") * 1.0) == 0.0
