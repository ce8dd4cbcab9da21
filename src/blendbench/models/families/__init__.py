"""Model families, one class per architecture, as model_index.json names it."""

import json
from pathlib import Path

from blendbench.core.errors import UsageError
from blendbench.models.families.base import Family
from blendbench.models.families.z_image import ZImage

FAMILIES: dict[str, type[Family]] = {family.class_name: family for family in (ZImage,)}


def family_of(pipeline: Path) -> type[Family]:
    """Return the family of a pipeline's folder. Errors: UsageError."""
    index = pipeline / "model_index.json"
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{pipeline} has no model_index.json") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{index}: cannot be read: {error}") from None
    name = found.get("_class_name") if isinstance(found, dict) else None
    if name not in FAMILIES:
        raise UsageError(f"{index}: _class_name = {name!r} is not supported, expected {' or '.join(FAMILIES)}")
    return FAMILIES[name]
