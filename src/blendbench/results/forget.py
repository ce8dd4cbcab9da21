"""Forget a configuration: its cells leave the tables, and its images the folder."""

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError
from blendbench.results.images import ImageStore
from blendbench.results.shards import ShardWriter
from blendbench.results.store import Results, open_results


@dataclass(frozen=True)
class Forgotten:
    """What was removed: cells of a configuration, and images of them."""

    experiment: str
    label: str
    cells: int
    images: int


def forget(folder: Path, label: str, experiment: str | None = None) -> Forgotten:
    """Remove a configuration from a results folder.

    Shards are only appended to: a row says from which run on the configuration counts, so that the database made anew
    is the same, and a later run brings it back. Images that nothing else uses are deleted after that, and are found
    again by the next call if it is interrupted here. Only for who holds the folder's lock. Errors: UsageError (unknown,
    in several experiments, or the baseline that the others are compared with).
    """
    results = open_results(folder)
    chosen = _experiment(results, label, experiment)
    rows = results.rows(
        "SELECT cell_id, image_sha256 FROM cells WHERE experiment = ? AND label = ? ORDER BY ALL", [chosen, label]
    )
    labels = _labels(results).get(chosen, set())
    if label in labels:
        others = labels - {label}
        if others and results.rows("SELECT 1 FROM current_sets WHERE experiment = ? AND baseline = ?", [chosen, label]):
            raise UsageError(
                f"{label}: {len(others)} configurations of {chosen} are compared with it; forget them first"
            )
        before = results.rows("SELECT images FROM forgotten WHERE experiment = ? AND label = ?", [chosen, label])
        images = {**(json.loads(before[0][0]) if before else {}), **dict(rows)}
        with ShardWriter(folder, f"forget-{uuid.uuid4().hex[:8]}") as shard:
            shard.append("forgotten", [{"experiment": chosen, "label": label, "images": images}])
        results = open_results(folder)
    return Forgotten(chosen, label, len(rows), ImageStore(folder).remove(_unused(results)))


def _labels(results: Results) -> dict[str, set[str]]:
    """Return what was generated or planned, by experiment."""
    found: dict[str, set[str]] = {}
    for experiment, label in results.rows(
        "SELECT experiment, label FROM cells"
        " UNION SELECT experiment, label FROM planned_configurations JOIN runs USING (run_id)"
    ):
        found.setdefault(experiment, set()).add(label)
    return found


def _experiment(results: Results, label: str, wanted: str | None) -> str:
    """Return the one experiment that has, or had, a configuration."""
    known = _labels(results)
    if wanted is not None and wanted not in known:
        raise UsageError(f"{wanted}: no results of this experiment{suggest(wanted, sorted(known))}")
    has = {name for name, labels in known.items() if label in labels and wanted in (None, name)}
    # One that was forgotten already: what an interrupted call left is removed.
    has = has or {
        name
        for (name,) in results.rows("SELECT experiment FROM forgotten WHERE label = ?", [label])
        if wanted in (None, name)
    }
    if len(has) > 1:
        raise UsageError(f"{label}: {len(has)} experiments have it; name one by --experiment: {', '.join(sorted(has))}")
    if not has:
        every = sorted({each for name, labels in known.items() if wanted in (None, name) for each in labels})
        raise UsageError(f"{label}: no such configuration in these results{suggest(label, every)}")
    return has.pop()


def _unused(results: Results) -> list[str]:
    """Return images of forgotten cells that no cell and no item has."""
    rows = results.rows(
        """
        SELECT DISTINCT image FROM (SELECT unnest(json_extract_string(images, '$.*')) AS image FROM forgotten)
        WHERE image IS NOT NULL AND image NOT IN (SELECT image_sha256 FROM cells WHERE image_sha256 IS NOT NULL)
            AND NOT EXISTS (SELECT 1 FROM items WHERE contains(reference_image, image))
        ORDER BY image
        """
    )
    return [image for (image,) in rows]
