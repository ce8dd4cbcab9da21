"""The device that networks run on."""

import sys
from pathlib import Path

from blendbench.core.errors import UsageError

# Files of the NVIDIA, WSL and AMD drivers: without one of them there is nothing that torch could use as CUDA.
_DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


def choose_device(requested: str) -> str:
    """Resolve a device, importing torch only beside a GPU. Errors: UsageError."""
    if requested == "cpu":
        return "cpu"
    available = _may_have_gpu() and _has_gpu()
    if requested == "cuda" and not available:
        raise UsageError("--device cuda: this machine has no usable GPU; use --device cpu")
    return "cuda" if available else "cpu"


def _may_have_gpu() -> bool:
    if sys.platform.startswith("linux"):
        return any(Path(driver).exists() for driver in _DRIVERS)
    return sys.platform == "win32"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
