"""`blendbench doctor`: check that everything a run needs is here."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blendbench.results.health import Defect

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
    results: Annotated[Path, typer.Option(help="results folder to look at")] = Path("results"),
) -> None:
    """Check packages, device, a model set, and a results folder whole.

    Every row, image and cached encoding of the folder is read; REPAIR lines say what was found and what puts it right.
    Exit code 2 if a run could not work.
    """
    print(f"python {sys.version.split()[0]}")
    versions = {name: _version(name) for name in _NEEDED}
    for name, found in versions.items():
        print(f"{name} {found or 'MISSING'}")
    if not _version("accelerate"):
        print("accelerate absent: weights pass through host memory to a GPU; pip install 'blendbench[gpu]' avoids it")
    if absent := [name for name, found in versions.items() if not found]:
        raise UsageError(f"{', '.join(absent)} missing; install with: pip install 'blendbench[models]'")
    from blendbench.models.diagnosis import diagnose
    from blendbench.models.sets import list_model_sets, load_model_set

    print(f"model sets shipped: {', '.join(list_model_sets())}")
    chosen = load_model_set(models)
    print(f"device {_device(chosen.device)}")
    line, usable = _results(results)
    findings = [(line, not usable)]
    for defect in _defects(results) if usable else ():
        if defect.fatal:
            findings.append((defect.line, True))
        else:
            print(f"REPAIR {defect.line}")
    findings += [(f"{chosen.name}: {each.line}", each.fatal) for each in diagnose(chosen)]
    for line, is_problem in findings:
        print(f"{'PROBLEM ' if is_problem else ''}{line}")
    if problems := [line for line, is_problem in findings if is_problem]:
        more = f" (and {len(problems) - 1} more, above)" if len(problems) > 1 else ""
        raise UsageError(f"a run cannot work here: {problems[0]}{more}")


def _defects(results: Path) -> "Iterator[Defect]":
    from blendbench.results.health import Defect, examine
    from blendbench.results.shards import shard_paths
    from blendbench.run.embeddings import FOLDER, damaged_files

    if not shard_paths(results):
        return
    yield from examine(results)
    if damaged := damaged_files(results / FOLDER):
        what = f"embeddings: {len(damaged)} damaged, such as {damaged[0]}"
        yield Defect(what, "they are computed again when they are read")


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


def _results(folder: Path) -> tuple[str, bool]:
    """Describe a results folder, and whether a run can write there."""
    if not folder.exists():
        parent = next(parent for parent in folder.absolute().parents if parent.exists())
        usable = parent.is_dir() and os.access(parent, os.W_OK)
        return f"results: {folder} is new" + ("" if usable else f", and {parent} cannot be written to"), usable
    if not folder.is_dir():
        return f"results: {folder} is a file; name a folder", False
    shards = sum(1 for _ in (folder / "shards").glob("*.jsonl"))
    images = list((folder / "images").rglob("*.png"))
    size = sum(path.stat().st_size for path in images) / 1e6
    usable = os.access(folder, os.W_OK)
    line = f"results: {folder} has {shards} shards and {len(images)} images ({size:.1f} MB)"
    return line + ("" if usable else ", and cannot be written to"), usable
