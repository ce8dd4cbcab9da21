"""Diagnose a model set's files, hub, memory and disk without loading it."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blendbench.core.errors import UsageError, first_line
from blendbench.models import requirements
from blendbench.models.model_file import COMPONENTS
from blendbench.models.places import Place
from blendbench.models.residency import GIB, PLANS, choose, free_memory
from blendbench.models.sets import ModelSet


@dataclass(frozen=True)
class Finding:
    """One line for the user; `fatal` if a run could not work because of it."""

    line: str
    fatal: bool = False


def diagnose(models: ModelSet) -> Iterator[Finding]:
    """Report everything that a run on this model set needs."""
    places: dict[str, Place] = {}
    downloads, complete = 0, True
    for name in COMPONENTS:
        try:
            place = models.find(name)
        except UsageError as error:
            yield Finding(str(error), fatal=True)
            complete = False
            continue
        if place is None:
            yield Finding(f"{name}: none in this set; metrics that need it are skipped")
            continue
        places[name] = place
        missing = _missing(place)
        complete = complete and not missing
        if place.local or not missing:
            yield Finding(f"{place.component}: {place}: {'complete' if not missing else f'{len(missing)} problems'}")
            yield from (Finding(f"{place.component}: {line}", fatal=True) for line in missing)
        else:
            finding, size = _downloadable(place)
            downloads += size
            yield finding
    folders = {name: folder for name, place in places.items() if (folder := place.known())}
    mismatches = requirements.mismatches(folders, models.file)
    yield from (Finding(line, fatal=True) for line in mismatches)
    yield _disk(downloads)
    usable, sampler = complete and not mismatches, models.file.sampler
    if usable:
        yield from (Finding(line, fatal=True) for line in models.problems())
    if usable or sampler.sigmas is not None or sampler.shift is not None:
        yield from _sampling(models)
    if usable:
        yield from _scoring(models)
        yield _memory(models)
    else:
        yield Finding("memory: known when the model set is complete")


def _sampling(models: ModelSet) -> Iterator[Finding]:
    levels, steps = ", ".join(f"{sigma:.4g}" for sigma in models.sigmas), len(models.sigmas) - 1
    sampler = models.file.sampler
    evaluations = 2 * steps if sampler.guidance else steps
    yield Finding(
        f"sampling: {evaluations} function evaluations (NFE) an image in {steps} steps, noise levels {levels}"
    )
    if sampler.guidance:
        which = "blended as the prompt is" if sampler.negative == "blend" else "not blended"
        normalized = ", normalized" if sampler.cfg_normalization else ""
        yield Finding(
            f"guidance: {sampler.guidance:g}{normalized}, away from the negative prompt {sampler.negative_prompt!r}"
            f" ({which}); it evaluates the transformer twice a step"
        )
    else:
        yield Finding("guidance: off; no negative prompt")


def _scoring(models: ModelSet) -> Iterator[Finding]:
    judge, conditioning = models.places.get("judge"), models.places["vision_language"]
    if judge is not None and (judge.name, judge.commit) == (conditioning.name, conditioning.commit):
        yield Finding("judge: the model that conditions as well, so facts_vqa is not independent of a blend")
    if "clip" in models.places:
        try:
            activation = models.activation("clip")
        except UsageError:
            return  # among the problems
        yield Finding(f"clip: activation function {activation}")


def _missing(place: Place) -> list[str]:
    folder = place.known()
    if folder is None:
        return [f"{place} is not in the hub's cache"]
    layout = requirements.layout(place.component, folder)
    return [*(f"{folder} has no {file}" for file in layout.absent(folder)), *layout.absent_weights(folder)]


def _downloadable(place: Place) -> tuple[Finding, int]:
    """Report whether a repository can be downloaded, and the bytes left."""
    subject = f"{place.component}: {place}"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        line = f"{subject}: not complete in the hub's cache, and HF_HUB_OFFLINE is set; {place.fix}"
        return Finding(line, fatal=True), 0
    try:
        size = place.to_download()
    except Exception as error:
        # The hub's client, its transport and proxies raise anything.
        reason = first_line(error)
        line = f"{subject}: not complete in the hub's cache, and the hub cannot be reached: {reason}; {place.fix}"
        return Finding(line, fatal=True), 0
    return Finding(f"{subject}: {size / 1e9:.1f} GB are downloaded at the first run"), size


def _disk(needed: int) -> Finding:
    """Report the room for `needed` bytes of downloads, or else for results."""
    if not needed:
        return Finding(f"disk: {shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB are free here for results")
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    line = f"disk: {free / 1e9:.0f} GB are free for {HF_HUB_CACHE}, {needed / 1e9:.1f} GB are needed"
    return Finding(line, fatal=free < needed)


def _memory(models: ModelSet) -> Finding:
    """Report the plan of a run here and whether one image at a time fits."""
    if models.device == "cpu":
        budget = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        budget = free_memory(models.device) or 0
    least = models.memory_sizes(images=1).needs(list(PLANS)[-1])
    if least > budget:
        line = f"memory: {budget / GIB:.1f} GiB can be used, and the least that a run needs is {least / GIB:.1f} GiB"
        return Finding(line, fatal=True)
    return Finding(f"memory: {choose(models.memory_sizes(), budget)}")
