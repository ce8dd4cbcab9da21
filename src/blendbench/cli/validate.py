"""`blendbench validate`: check files without running anything."""

from pathlib import Path
from typing import Annotated

import typer


def validate(
    files: Annotated[list[Path], typer.Argument(help="experiment .toml files, suite folders, plug-in .py files")],
) -> None:
    """Check experiment, suite and plug-in files; the first mistake is named, with exit code 2."""
    from blendbench.blending import load_plugin
    from blendbench.experiments import load_experiment
    from blendbench.suites import load_suite

    for path in files:
        if path.suffix == ".py":
            told = f"registers {', '.join(load_plugin(path))}"
        elif path.is_dir() or path.name == "suite.toml":
            suite = load_suite(path if path.is_dir() else path.parent)
            told = f"suite of {len(suite.items)} items"
        else:
            from blendbench.engine.plan import configurations

            told = f"experiment with {len(configurations(load_experiment(path))[1])} configurations"
        print(f"{path}: {told}")
