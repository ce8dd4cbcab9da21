"""Version and commit of this installation."""

import json
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def commit() -> str | None:
    """Return the commit of this code: of its checkout, or that pip installed it from; None if it is not known."""
    root = _PACKAGE.parents[1]
    if not (root / "pyproject.toml").is_file():
        try:  # what `pip install git+URL` has recorded (PEP 610)
            record = json.loads(distribution("blendbench").read_text("direct_url.json") or "{}")
        except (PackageNotFoundError, ValueError):
            return None
        found = record.get("vcs_info", {}).get("commit_id")
        return found if isinstance(found, str) else None
    try:
        called = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return called.stdout.strip() or None
