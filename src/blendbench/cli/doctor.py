"""`blendbench doctor`: is everything here that a run needs?"""

import importlib.metadata
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from blendbench.errors import UsageError

if TYPE_CHECKING:
    from blendbench.models.sets import ModelSet

_NEEDED = ("torch", "torchvision", "diffusers", "transformers", "open_clip_torch", "safetensors", "duckdb", "pandas")


def doctor(
    models: Annotated[str, typer.Option(help="model set to look at: a shipped name or a folder")] = "miniature",
) -> None:
    """Check packages, device and a model set; exit code 2, and what is missing, if a run could not work."""
    print(f"python {sys.version.split()[0]}")
    versions = {name: _version(name) for name in _NEEDED}
    for name, found in versions.items():
        print(f"{name} {found or 'MISSING'}")
    if absent := [name for name, found in versions.items() if not found]:
        raise UsageError(f"{', '.join(absent)} missing; install with: pip install 'blendbench[models]'")
    from blendbench.models.sets import list_model_sets, load_model_set

    print(f"model sets shipped: {', '.join(list_model_sets())}")
    chosen = load_model_set(models)
    print(f"device {chosen.device}")
    chosen.check()
    for name in ("pipeline", "vision_language", "clip", "siglip", "probe"):
        print(f"{chosen.name}: {name}: {_whereabouts(chosen, name)}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _whereabouts(models: "ModelSet", name: str) -> str:
    place = models.component(name)
    if place is None:
        return "none in this set; metrics that need it are skipped"
    return f"folder {place}" if models.is_local(name) else f"{place}, from the model hub or its local cache"
