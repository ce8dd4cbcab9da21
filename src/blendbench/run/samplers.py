"""Resolved samplers of a results folder: kept, because resolving one imports diffusers, which takes seconds."""

import json
from pathlib import Path
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.models.sets import ModelSet

FILE = "samplers.json"


def resolved_sampler(models: ModelSet, results: Path) -> dict[str, Any]:
    """The sampler record of a model set, from `results` if a run there has resolved the same request before."""
    kept = _read(results).get(models.sampler_request or "")
    return kept if kept is not None else models.sampler_record


def keep_sampler(models: ModelSet, results: Path, record: dict[str, Any]) -> None:
    """Keep a resolved sampler by write-then-rename; only for who holds the folder's lock."""
    kept = _read(results)
    if models.sampler_request is None or models.sampler_request in kept:
        return
    partial = (results / FILE).with_suffix(".partial")
    partial.write_text(json.dumps({**kept, models.sampler_request: record}))
    partial.replace(results / FILE)


def _read(results: Path) -> dict[str, dict[str, Any]]:
    path = results / FILE
    if not path.is_file():
        return {}
    try:
        kept: dict[str, dict[str, Any]] = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path}: {error}; delete this file, it only saves time") from None
    return kept
