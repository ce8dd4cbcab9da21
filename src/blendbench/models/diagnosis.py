"""What a model set needs of this machine, and whether it is here: files, hub, memory and disk. Nothing is loaded."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blendbench.core.errors import UsageError
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
    """Everything that a run on this model set needs, found or missing: all of it, not the first alone."""
    places: dict[str, Place] = {}
    downloads, lost = 0, False
    for name in COMPONENTS:
        try:
            place = models.find(name)
        except UsageError as error:
            yield Finding(str(error), fatal=True)
            lost = True
            continue
        if place is None:
            yield Finding(f"{name}: none in this set; metrics that need it are skipped")
            continue
        places[name] = place
        missing = _missing(place)
        if place.local or not missing:
            yield Finding(f"{place.component}: {place}: {'complete' if not missing else f'{len(missing)} problems'}")
            yield from (Finding(f"{place.component}: {line}", fatal=True) for line in missing)
        else:
            finding, size = _downloadable(place)
            downloads += size
            yield finding
    folders = {name: folder for name, place in places.items() if (folder := place.known())}
    for line in requirements.mismatches(folders, models.file.text.layer):
        yield Finding(line, fatal=True)
    yield _disk(downloads)
    if not lost and not any(_missing(place) for place in places.values()):
        yield from (Finding(line, fatal=True) for line in models.odd_sizes())
        yield _memory(models)
    else:
        yield Finding("memory: known when the weights are here")


def _missing(place: Place) -> list[str]:
    folder = place.known()
    if folder is None:
        return [f"{place} is not in the hub's cache"]
    absent = [f"{folder} has no {file}" for file in requirements.absent(place.component, folder)]
    return [*absent, *requirements.absent_weights(place.component, folder)]


def _downloadable(place: Place) -> tuple[Finding, int]:
    """Whether a repository that is not complete here can be had, and how many bytes are left to download."""
    told = f"{place.component}: {place}"
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return Finding(f"{told}: not complete in the hub's cache, and HF_HUB_OFFLINE is set", fatal=True), 0
    try:
        size = place.to_download()
    except Exception as error:
        # The hub's client, its transport and the proxy between raise what they like.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Finding(f"{told}: not complete in the hub's cache, and the hub cannot be asked: {reason}", fatal=True), 0
    return Finding(f"{told}: {size / 1e9:.1f} GB are downloaded at the first run"), size


def _disk(needed: int) -> Finding:
    """Room for `needed` bytes of downloads; else what is free for results."""
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
    """The plan that a run would take here, and whether one image at a time fits."""
    if models.device == "cpu":
        budget = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        budget = free_memory(models.device) or 0
    least = models.memory_sizes(images=1).needs(list(PLANS)[-1])
    if least > budget:
        line = f"memory: {budget / GIB:.1f} GiB can be used, and the least that a run needs is {least / GIB:.1f} GiB"
        return Finding(line, fatal=True)
    return Finding(f"memory: {choose(models.memory_sizes(), budget)}")
