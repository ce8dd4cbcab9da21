"""Find the components of a model set: folders, or pinned hub repositories.

A repository becomes a folder too, that of its commit in the hub's cache; everything else reads folders only. So there
is one place where something is downloaded, and what is downloaded are configurations, tokenizers and safetensors: no
pickle and no code.
"""

import re
import time
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from blendbench.core.errors import UsageError, first_line

# Configurations and tokenizers: small, and enough to check whether the weights are worth their download.
_SMALL = ("*.json", "*.txt", "*.jinja", "*.model")
# A scorer's repository may hold the same weights in several libraries' layouts.
_WEIGHTS = {"clip": "open_clip_model.safetensors", "siglip": "open_clip_model.safetensors"}
_REPOSITORY = re.compile(
    r"(?=.{1,96}$)(?!.*(--|\.\.|\.git$))[a-z0-9]([\w.-]*\w)?/[a-z0-9]([\w.-]*\w)?", re.ASCII | re.IGNORECASE
)
_HUB_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True)
class Place:
    """The place of one component; `commit` is None for a folder."""

    component: str
    value: str
    file: Path
    local: Path | None
    commit: str | None

    def __str__(self) -> str:
        return str(self.local) if self.local else f"{self.value} at {str(self.commit)[:8]}"

    @property
    def name(self) -> str:
        """Return the folder, or the repository's name."""
        return str(self.local) if self.local else self.value

    def known(self) -> Path | None:
        """Return the folder without asking the hub; None if it is not cached."""
        if self.local:
            return self.local
        try:
            return _snapshot(self, _SMALL, offline=True)
        except OSError:
            return None

    def configured(self) -> Path:
        """Return the folder with configurations. Errors: UsageError."""
        return self.known() or self._fetched(_SMALL)

    def complete(self) -> Path:
        """Return the folder with all weights. Errors: UsageError."""
        if self.local:
            return self.local
        return self._fetched(self._patterns)

    def to_download(self) -> int:
        """Return the bytes that `complete` would download, as the hub says."""
        from huggingface_hub import HfApi

        if (error := hub_error()) is not None:
            raise error
        known = self.known()
        files = HfApi().model_info(self.value, revision=self.commit, files_metadata=True).siblings or []
        wanted = [file for file in files if any(fnmatch(Path(file.rfilename).name, p) for p in self._patterns)]
        return sum(f.size or 0 for f in wanted if known is None or not (known / f.rfilename).is_file())

    @property
    def _patterns(self) -> tuple[str, ...]:
        return (*_SMALL, _WEIGHTS.get(self.component, "*.safetensors"))

    @property
    def fix(self) -> str:
        """Return what to do where the hub cannot be reached."""
        return (
            f"call `hf download {self.value} --revision {self.commit}` where there is a network and copy the cache "
            f"here (HF_HOME, HF_HUB_OFFLINE=1), or name a folder as {self.component}"
        )

    def _fetched(self, patterns: tuple[str, ...]) -> Path:
        try:
            # Without the hub its client takes the folder as it is, too, but only after two minutes.
            if (error := hub_error()) is not None and (known := self.known()) is not None:
                return known
            if error is not None:
                raise error
            return _snapshot(self, patterns, offline=False)
        except Exception as error:
            # The hub's client, its transport and the proxy between raise what they like.
            raise UsageError(
                f"{self.file}: {self.component}: {self} is not complete in the hub's cache and cannot be downloaded: "
                f"{first_line(error)}; {self.fix}"
            ) from error


def find(component: str, value: str, commit: str | None, file: Path) -> Place:
    """Read one entry of the model_set.toml at `file`. Errors: UsageError."""
    local = file.parent / value
    try:
        is_folder, is_file = local.is_dir(), local.is_file()
    except OSError as error:  # a name that is too long
        raise UsageError(f"{file}: {component}: {value[:100]!r}: {error.strerror}; name a folder") from error
    if is_folder:
        return Place(component, value, file, local, None)
    if is_file:
        raise UsageError(f"{file}: {component}: {value!r} is a single file; {_single_file_fix(local)}")
    if not _REPOSITORY.fullmatch(value):
        raise UsageError(f"{file}: {component}: folder {value!r} is missing")
    if commit is None:
        raise UsageError(
            f"{file}: {component}: there is no folder {value!r}; if it is a hub repository, pin its commit as "
            f"{component} under [revisions]"
        )
    return Place(component, value, file, None, commit)


def _single_file_fix(path: Path) -> str:
    if path.suffix == ".gguf":
        return "GGUF is not supported; name a folder or repository with the original safetensors weights"
    return (
        "name a folder: load it with from_single_file() of diffusers, write the folder with save_pretrained(), and "
        "put the folder's name here"
    )


def hub_error() -> Exception | None:
    """Return why the hub cannot be reached. It is asked once a minute; its own client repeats every request."""
    return _hub_error(int(time.monotonic() // 60))


@cache
def _hub_error(minute: int) -> Exception | None:  # noqa: ARG001
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return None  # the hub's client says so itself
    try:
        get_session().head(constants.ENDPOINT, timeout=_HUB_TIMEOUT)
    except Exception as error:
        return error
    return None


def _snapshot(place: Place, patterns: tuple[str, ...], offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"revision": place.commit, "allow_patterns": list(patterns), "local_files_only": offline}
    return Path(snapshot_download(place.value, **options))
