"""Send plans to other processes, and outcomes back.

A plan travels whole, with the functions of strategies. Outcomes name their cells by id: they are those of the plan.
"""

import io
import pickle
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from blendbench.models.residency import Residency
from blendbench.run.generate import Finished
from blendbench.run.plan import Cell, Plan
from blendbench.run.progress import Clock
from blendbench.run.score import Scores

# By path in a results folder: from a worker, and to workers. The object store copies an array once, and bytes twice.
Files = dict[str, bytes]
SentFiles = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Description:
    """What a worker says of itself.

    `software`: identities of code and weights, which have to be the same everywhere; `scores_behind`: whether it scores
    while it generates; `sees_results`: whether it reaches the results folder, and stores images there itself.
    """

    node: str
    process: int
    software: dict[str, str]
    residency: Residency
    scores_behind: bool
    sees_results: bool


@dataclass
class Message:
    """What a worker has done since the last message.

    `outcome`: cells or scores; `files`: images and hidden states that belong to it; `peaks`: GPU memory in
    bytes, by stage.
    """

    outcome: Finished | Scores | None
    files: Files
    notes: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    peaks: dict[str, int] = field(default_factory=dict)
    batch_size: int = 0


@dataclass(frozen=True)
class Unit:
    """Cells of one item and seed, which share inputs and may share images.

    `known`: images of these conditionings; `images`: hashes of finished cells that these are compared with; `seen`:
    cells that may have scores already.
    """

    cell_ids: tuple[str, ...]
    known: dict[tuple[str, int], str]
    images: dict[str, str]
    seen: frozenset[str]


class _Packer(pickle.Pickler):
    def persistent_id(self, value: object) -> str | None:
        return value.cell_id if isinstance(value, Cell) else None


class _Unpacker(pickle.Unpickler):
    def __init__(self, data: bytes, cells: dict[str, Cell]) -> None:
        super().__init__(io.BytesIO(data))
        self.cells = cells

    def persistent_load(self, cell_id: str) -> Cell:
        return self.cells[cell_id]


def pack(message: Message) -> bytes:
    """Pack a message, with its cells by id."""
    buffer = io.BytesIO()
    _Packer(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getvalue()


def unpack(data: bytes, cells: dict[str, Cell]) -> Message:
    """Unpack a message; `cells` are those of the plan."""
    message: Message = _Unpacker(data, cells).load()
    return message


def pack_plan(plan: Plan) -> bytes:
    """Pack a plan; functions that no module has travel with their code."""
    from ray import cloudpickle

    packed: bytes = cloudpickle.dumps(plan)
    return packed


def unpack_plan(data: bytes) -> Plan:
    """Unpack a plan; plug-ins that it reads have to be loaded before."""
    plan: Plan = pickle.loads(data)
    return plan
