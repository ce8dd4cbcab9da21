"""Blind votes: from the file that the gallery exports to rows of a shard."""

import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blendbench.core.errors import UsageError
from blendbench.core.files import read_file
from blendbench.core.hashing import sha256_bytes
from blendbench.results.shards import ShardWriter
from blendbench.results.store import Results, open_results

_LARGEST = 64 * 1024 * 1024  # bytes of an exported file
# What the gallery asks for, as roles of metrics.
_ROLES = {"adherence": "prompt", "artifact": "artifact", "reference": "gain"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Vote(_Strict):
    vote_id: str = Field(min_length=8)
    voter: str
    question: Literal["adherence", "artifact", "reference"]
    item: str
    seed: int = Field(ge=-(2**63), lt=2**63)
    left_cell: str
    right_cell: str
    choice: Literal["left", "right", "equal"]
    seconds: float = Field(ge=0, le=1e6)
    voted_at: str


class _VoteFile(_Strict):
    format: Literal["blendbench-votes"]
    version: Literal[1]
    experiment: str
    suite_sha256: str
    model_set_sha256: str
    votes: list[_Vote]


def take_in_votes(file: Path, results_dir: Path) -> tuple[int, int]:
    """Bring an exported file into a results folder.

    The result: how many votes were new, and how many the file has. The same votes a second time change nothing. Errors:
    UsageError for a file that is none, and for votes on images that these results do not have; nothing is written then.
    """
    data = read_file(file, _LARGEST)
    try:
        read = _VoteFile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{file}: {f'{place}: ' if place else ''}{first['msg']}; export it from the gallery"
        ) from error
    opened = open_results(results_dir)
    places = _places(opened, read.experiment)
    for vote in read.votes:
        for cell in (vote.left_cell, vote.right_cell):
            if places.get(cell) != (vote.item, vote.seed):
                raise UsageError(
                    f"{file}: vote {vote.vote_id[:8]}: these results have no cell {cell[:12]} of {read.experiment} at"
                    f" {vote.item}, seed {vote.seed}; name the folder the gallery was made from with --results"
                )
    known = {vote_id for (vote_id,) in opened.rows("SELECT vote_id FROM votes")}
    fresh = {vote.vote_id: vote for vote in read.votes if vote.vote_id not in known}
    if fresh:
        with ShardWriter(results_dir, f"votes-{sha256_bytes(data)[:12]}-{uuid.uuid4().hex[:8]}") as shard:
            shard.append(
                "votes",
                [
                    {**vote.model_dump(exclude={"item", "seed"}), "experiment": read.experiment}
                    | {"question": _ROLES[vote.question]}
                    for vote in fresh.values()
                ],
            )
    return len(fresh), len(read.votes)


def _places(results: Results, experiment: str) -> dict[str, tuple[str, int]]:
    rows = results.rows("SELECT cell_id, item, seed FROM cells WHERE experiment = ? AND status = 'ok'", [experiment])
    return {cell_id: (item, seed) for cell_id, item, seed in rows}
