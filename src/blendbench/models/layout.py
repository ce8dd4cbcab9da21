"""List a component's files: required, with weights, and with settings."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Layout:
    """The files of one component, relative to its folder.

    `needed`: configurations and tokenizer files; of several names one is enough. `networks`: sub-folder of each
    network, and the names that its weights may have, without ".safetensors". `optional`: further files that change what
    is computed, if they are there. `identity_ignores`: needed files whose effect is part of another identity.
    """

    needed: tuple[tuple[str, ...], ...]
    networks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    optional: tuple[str, ...] = ()
    identity_ignores: tuple[str, ...] = ()

    def absent(self, folder: Path) -> list[str]:
        """Return configurations and tokenizer files that are missing."""
        return [" or ".join(names) for names in self.needed if not any((folder / name).is_file() for name in names)]

    def weight_files(self, folder: Path) -> list[Path]:
        """Return the weight files that are here: all shards, or the one file."""
        return [
            path for place, names in self.networks for path in weight_shards(folder / place, names) if path.is_file()
        ]

    def absent_weights(self, folder: Path) -> list[str]:
        """Describe missing or truncated weight files, and pickles instead of them."""
        lines: list[str] = []
        for place, names in self.networks:
            part = folder / place
            shards = weight_shards(part, names)
            pickles = sorted(path.name for path in part.glob("*") if path.suffix in _PICKLES)
            if len(shards) == 1 and not shards[0].is_file() and pickles:
                lines.append(
                    f"{part} has only pickled weights ({pickles[0]}), which are never loaded; convert them to "
                    f"{shards[0].name}"
                )
                continue
            lines += [f"{folder} has no {path.relative_to(folder)}" for path in shards if not path.is_file()]
            lines += [line for path in shards if path.is_file() for line in _damage(path)]
        return lines

    def is_complete(self, folder: Path) -> bool:
        """Report whether configurations, tokenizer and weights are all there."""
        return not self.absent(folder) and not self.absent_weights(folder)

    def parameters(self, folder: Path, place: str = "") -> int:
        """Count a network's values by headers of its files, 0 if missing."""
        files = weight_shards(folder / place, dict(self.networks)[place])
        return sum(math.prod(entry["shape"]) for path in files if path.is_file() for entry in header(path).values())

    def identity_files(self, folder: Path) -> list[Path]:
        """Return exactly the files that decide what the component computes."""
        names = [name for names in self.needed for name in names if name not in self.identity_ignores]
        settings = [path for name in (*names, *self.optional) if (path := folder / name).is_file()]
        return [*settings, *self.weight_files(folder)]


def header(path: Path) -> dict[str, Any]:
    """Read a safetensors header: name -> {dtype, ...}. Errors: ValueError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= size - 8:
            raise ValueError("is not a whole safetensors file")
        found: dict[str, Any] = json.loads(file.read(length))
    found.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in found.values()), default=0)
    if end != size:
        raise ValueError(f"is cut short or damaged: {size} bytes, expected {end}")
    return found


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one, which checks report, if it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def weight_shards(part: Path, names: tuple[str, ...]) -> list[Path]:
    """Return a network's weight files; the expected one if all are missing.

    `names` are those that the files may have, without ".safetensors".
    """
    for name in names:
        index = part / f"{name}.safetensors.index.json"
        if index.is_file():
            return [part / file for file in sorted(set(read_object(index).get("weight_map", {}).values()))] or [index]
        if (part / f"{name}.safetensors").is_file():
            return [part / f"{name}.safetensors"]
    return [part / f"{names[0]}.safetensors"]


def _damage(path: Path) -> list[str]:
    try:
        header(path)
    except ValueError as error:
        return [f"{path} {error}"]
    return []
