"""Content hashes: the identity of suites, cells, conditionings and images."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """Serialise equal values to equal text: sorted keys, no spaces, no NaN."""
    return _ENCODER.encode(value)


def sha256_json(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of raw bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_contents(contents: Mapping[Path, str], root: Path) -> str:
    """Hash files by content and posix name relative to `root`, in any order."""
    digest = hashlib.sha256()
    for path in sorted(contents):
        digest.update(f"{path.relative_to(root).as_posix()}\0{contents[path]}\n".encode())
    return digest.hexdigest()
