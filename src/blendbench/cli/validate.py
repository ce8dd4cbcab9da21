"""`blendbench validate`: check files without running anything."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict

from blendbench.core.errors import UsageError
from blendbench.core.files import printable
from blendbench.core.numbers import counted


class _AnyFile(BaseModel):
    model_config = ConfigDict(extra="allow")


def validate(
    files: Annotated[
        list[Path],
        typer.Argument(help="experiment and hypotheses .toml files, suite or model set folders, plug-in .py files"),
    ],
) -> int:
    """Check files: every problem of each is printed on a line of stderr, with exit code 2.

    Name plug-ins before what uses them. Of a plug-in only the first problem is found, because Python stops there.
    """
    code = 0
    for path in files:
        try:
            if not path.exists():
                raise UsageError(f"{printable(path)}: no such file or folder")
            print(f"{path}: {described(path)}", flush=True)
        except UsageError as error:
            code = 2
            for problem in error.problems:
                print(f"blendbench: {problem}", file=sys.stderr, flush=True)
    return code


def described(path: Path) -> str:
    """Check one file and describe it in a few words. Errors: UsageError."""
    folder = path if path.is_dir() else path.parent
    if path.suffix == ".py":
        from blendbench.registry.loading import load_everything

        found = load_everything(path)
        return "registers " + "; ".join(f"{kind} {', '.join(names)}" for kind, names in found.items())
    if path.name == "model_set.toml" or (path.is_dir() and (path / "model_set.toml").is_file()):
        from blendbench.core.suites import load_suite
        from blendbench.models.sets import load_model_set

        models = load_model_set(folder.absolute())
        models.check()
        if models.suite:
            load_suite(models.suite)
        return f"model set {models.name}"
    if path.is_dir() or path.name == "suite.toml":
        from blendbench.core.suites import load_suite

        # Absolute: a folder here is no shipped suite of its name.
        return f"suite of {counted(len(load_suite(folder.absolute()).items), 'item')}"
    from blendbench.core.config import read_toml

    if "hypothesis" in (read_toml(path, _AnyFile).model_extra or {}):
        from blendbench.reports.hypotheses import read_hypotheses

        file, sha256 = read_hypotheses(path)
        return f"{counted(len(file.hypotheses), 'statement')}, sha256 {sha256}"
    from blendbench.run.planning import checked_experiment

    return f"experiment with {counted(checked_experiment(path, with_suite=True)[1], 'configuration')}"
