"""`blendbench doctor`: is everything here that a run needs?"""

import importlib.metadata
import sys
from typing import Annotated

import typer

from blendbench.core.errors import UsageError

_NEEDED = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "safetensors",
    "huggingface_hub",
    "duckdb",
    "pandas",
)


def doctor(
    models: Annotated[str, typer.Option(help="model set to look at: a shipped name or a folder")] = "miniature",
) -> None:
    """Check packages, device and a model set; exit code 2, and all that is missing, if a run could not work."""
    print(f"python {sys.version.split()[0]}")
    versions = {name: _version(name) for name in _NEEDED}
    for name, found in versions.items():
        print(f"{name} {found or 'MISSING'}")
    if not _version("accelerate"):
        print("accelerate absent: weights pass through host memory on their way to a GPU")
    if absent := [name for name, found in versions.items() if not found]:
        raise UsageError(f"{', '.join(absent)} missing; install with: pip install 'blendbench[models]'")
    from blendbench.models.diagnosis import diagnose
    from blendbench.models.sets import list_model_sets, load_model_set

    print(f"model sets shipped: {', '.join(list_model_sets())}")
    chosen = load_model_set(models)
    print(f"device {_device(chosen.device)}")
    fatal: list[str] = []
    for finding in diagnose(chosen):
        fatal += [finding.line] if finding.fatal else []
        print(f"{'MISSING ' if finding.fatal else ''}{chosen.name}: {finding.line}")
    if fatal:
        more = f" (and {len(fatal) - 1} more, above)" if len(fatal) > 1 else ""
        raise UsageError(f"{chosen.name} cannot run here: {fatal[0]}{more}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(device: str) -> str:
    if device == "cpu":
        return device
    import torch

    free, total = torch.cuda.mem_get_info()
    return f"{device}: {torch.cuda.get_device_name()}, {free / 1024**3:.1f} of {total / 1024**3:.1f} GiB free"
