"""Looks at test items: each is recorded, and every further one is paid for.

Who changes an idea and gates it again until it passes has tested several ideas and reports one. The level of .05 is
therefore spent over the looks at one strategy: .04 for the first, and for each further one a fifth of the last, which
sums to .05 however many follow. The same cells read again are the same look. New items (`run --fresh`) are free of
earlier looks, because they were not there to be looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.results.shards import ShardWriter
from blendbench.results.store import Results
from blendbench.stats.decide import ALPHA

FIRST = 0.8  # of the level, for the first look
EACH = 0.2  # of the last look's level, for the next


@dataclass(frozen=True)
class Look:
    """A look at test items; `number` counts from 1, `alpha` is its level."""

    look_id: str
    number: int
    experiment: str
    strategy: str
    baseline: str
    split: str
    items: int
    recorded: bool

    @property
    def alpha(self) -> float:
        """Return the level of each decision at this look."""
        return level_of(self.number)


def level_of(number: int) -> float:
    """Return the level of the look of that number, from 1."""
    return ALPHA * FIRST * EACH ** (number - 1)


def find_look(
    results: Results, experiment: str, strategy: str, baseline: str, split: str, images: Iterable[str], items: int
) -> Look:
    """Return the look that reading these cells is: an earlier one, or the next.

    `baseline` names what is compared with, `images` are the candidate's and the baseline's.
    """
    look_id = sha256_json([experiment, strategy, baseline, split, sorted(images)])
    earlier = [
        str(name)
        for (name,) in results.rows(
            """
            SELECT look_id FROM looks
            WHERE experiment = ? AND strategy = ? AND baseline = ? AND CAST(split AS VARCHAR) = ? ORDER BY sequence
            """,
            [experiment, strategy, baseline, split],
        )
    ]
    recorded = look_id in earlier
    number = (earlier.index(look_id) if recorded else len(earlier)) + 1
    return Look(look_id, number, experiment, strategy, baseline, split, items, recorded)


def record_look(results: Results, look: Look) -> str | None:
    """Write a look into the results folder once; return why that failed."""
    if look.recorded:
        return None
    names = ("look_id", "experiment", "strategy", "baseline", "split", "items")
    row = {name: getattr(look, name) for name in names}
    row["looked_at"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        with ShardWriter(results.folder, f"look-{look.look_id[:16]}") as shard:
            shard.append("looks", [row])
    except UsageError as error:
        return str(error)
    return None
