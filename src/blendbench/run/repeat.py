"""Generate cells again: is an image independent of its batch, its order and chance?"""

import math
from collections.abc import Mapping
from dataclasses import replace

from blendbench.run.engine import Rows, Task
from blendbench.run.generate import Finished
from blendbench.run.plan import Cell, Plan


def cells_to_repeat(plan: Plan, images: Mapping[str, str], percent: float) -> list[Cell]:
    """Return `percent` % of the cells with different images, rounded up, in the order that they are generated in.

    `images`: hashes by cell id. Cell ids are hashes: their order spreads over strategies and items, and is not that of
    the plan, so that batches hold other jobs than before.
    """
    by_image: dict[str, Cell] = {}
    for cell in sorted(plan.cells, key=lambda cell: cell.cell_id):
        if image := images.get(cell.cell_id):
            by_image.setdefault(image, cell)
    cells = list(by_image.values())
    # Rounded first: 1.1 % of 1,000 is 11.000000000000002.
    return cells[: math.ceil(round(len(cells) * percent / 100, 9))]


def repeating_task(task: Task, cells: list[Cell]) -> Task:
    """Return a task that knows no image, and measures nothing."""
    seen = {cell.cell_id for cell in cells}  # what may have scores is not scored beside generation
    return Task(replace(task.plan, metrics=()), task.models, task.folder, task.reporter, seen=seen, stage="repeat")


def repeat_rows(outcome: Finished, images: Mapping[str, str], run_id: str) -> Rows:
    """Return the rows of `repeats`; `images`: hashes of the first images, by cell id."""
    return [
        {
            "run_id": run_id,
            "cell_id": image.cell.cell_id,
            "image_sha256": images[image.cell.cell_id],
            "again_sha256": image.image_sha256,
            "batch_size": image.batch_size,
            "error": image.error,
        }
        for image in outcome.images
    ]
