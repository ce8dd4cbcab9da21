"""`blendbench doctor`: is everything here that a run needs?"""

import importlib.metadata
import sys

import typer

_NEEDED = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "duckdb",
    "pandas",
    "opencv-python-headless",
)


def doctor() -> None:
    """Check packages, device and the shipped model set; exit code 2 if a run could not work."""
    print(f"python {sys.version.split()[0]}")
    missing = []
    for name in _NEEDED:
        try:
            print(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            print(f"{name} MISSING; install blendbench[models]")
    if missing:
        raise typer.Exit(2)
    from blendbench.models.sets import list_model_sets, load_model_set

    models = load_model_set("miniature")
    print(f"device {models.device}")
    for name in list_model_sets():
        print(f"model set {name}: {load_model_set(name).file.title}")
