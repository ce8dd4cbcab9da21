"""`blendbench validate`: check files without running anything."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict

from blendbench.core.errors import UsageError


class _AnyFile(BaseModel):
    model_config = ConfigDict(extra="allow")


def validate(
    files: Annotated[
        list[Path],
        typer.Argument(help="experiment and hypotheses .toml files, suite or model set folders, plug-in .py files"),
    ],
) -> None:
    """Check files; the first mistake is printed in one line, with exit code 2.

    Name plug-ins before what uses them.
    """
    for path in files:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        print(f"{path}: {_described(path)}")


def _described(path: Path) -> str:
    """Check one file and describe it in a few words. Errors: UsageError."""
    folder = path if path.is_dir() else path.parent
    if path.suffix == ".py":
        from blendbench.registry.loading import load_everything

        found = load_everything(path)
        return "registers " + "; ".join(f"{kind} {', '.join(names)}" for kind, names in found.items())
    if path.name == "model_set.toml" or (path.is_dir() and (path / "model_set.toml").is_file()):
        from blendbench.models.sets import load_model_set

        models = load_model_set(folder)
        models.check()
        return f"model set {models.name}"
    if path.is_dir() or path.name == "suite.toml":
        from blendbench.core.suites import load_suite

        return f"suite of {len(load_suite(folder).items)} items"
    from blendbench.core.config import read_toml
    from blendbench.core.numbers import counted

    if "hypothesis" in (read_toml(path, _AnyFile).model_extra or {}):
        from blendbench.reports.hypotheses import read_hypotheses

        file, sha256 = read_hypotheses(path)
        return f"{counted(len(file.hypotheses), 'statement')}, sha256 {sha256}"
    from blendbench.core.suites import load_suite
    from blendbench.models.sets import load_model_set
    from blendbench.run.planning import checked_experiment

    experiment, count = checked_experiment(path)
    load_suite(experiment.suite)
    load_model_set(experiment.model_set)
    return f"experiment with {count} configurations"
