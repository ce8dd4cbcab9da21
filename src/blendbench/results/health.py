"""Examine a results folder whole: shards, database, images and leftovers."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from blendbench.core.errors import UsageError
from blendbench.core.files import partial_files, printable, read_file
from blendbench.core.numbers import listed
from blendbench.results.database import DATABASE, is_damage, open_patiently
from blendbench.results.images import LARGEST, ImageStore
from blendbench.results.ingest import WORK, ingest
from blendbench.results.schema import sql_name, sql_text, tables
from blendbench.results.shards import check_shards, read_shard, shard_paths

_NAMED = 3  # files that a line names


@dataclass(frozen=True)
class Defect:
    """Something that is not as it was written.

    `repair`: what puts it right. `fatal`: nothing can be read until someone does.
    """

    what: str
    repair: str
    fatal: bool = False

    @property
    def line(self) -> str:
        """Describe it in one line."""
        return f"{self.what}; {self.repair}"


def examine(folder: Path) -> Iterator[Defect]:
    """Yield what is damaged, missing or left over.

    Every row is checked, the database is compared with one that is made anew, and every image is hashed. Nothing is
    written but a note that damaged images are to be generated again.
    """
    try:
        paths = shard_paths(folder)
        check_shards(paths)
    except UsageError as error:
        yield Defect(str(error), "what it held is lost if there is no copy", fatal=True)
        return
    if torn := [path.name for path in paths if read_shard(path).torn]:
        yield Defect(f"shards: {_few(torn)}: the last line was cut off", "it is left out, and the next run repeats it")
    with tempfile.TemporaryDirectory(prefix="blendbench-") as made:
        fresh = Path(made) / DATABASE
        ingest(folder, fresh)
        yield from _database(folder / DATABASE, fresh)
        yield from _images(folder, fresh)
    yield from _leftovers(folder)


def _database(database: Path, fresh: Path) -> Iterator[Defect]:
    if not database.exists():
        return
    again = "delete it, any command makes it again"
    try:
        with open_patiently(database) as connection:
            connection.execute(f"ATTACH {sql_text(str(fresh))} AS fresh (READ_ONLY)")
            known = dict(connection.execute("SELECT name, sha256 FROM shards").fetchall())
            if known != dict(connection.execute("SELECT name, sha256 FROM fresh.shards").fetchall()):
                return  # behind its shards: the next command brings it up to date
            for name in map(sql_name, tables()):
                rows = (
                    f"((FROM {name} EXCEPT ALL FROM fresh.{name}) UNION ALL (FROM fresh.{name} EXCEPT ALL FROM {name}))"
                )
                if connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchall():
                    yield Defect(f"{printable(database)}: {name} is not what its shards say", again)
    except UsageError as error:
        yield Defect(str(error).partition(";")[0], again)
    except duckdb.Error as error:
        reason = "damaged" if is_damage(error) else "made by another version"
        yield Defect(f"{printable(database)}: {reason}", "the next command makes it again")


def _images(folder: Path, fresh: Path) -> Iterator[Defect]:
    with duckdb.connect(str(fresh), read_only=True) as connection:
        rows = connection.execute(
            "SELECT image_sha256, min(experiment) FROM cells WHERE image_sha256 IS NOT NULL GROUP BY 1"
        ).fetchall()
    store = ImageStore(folder)
    missing: dict[str, str] = {}  # the experiments that have them
    damaged: dict[str, str] = {}
    for sha256, experiment in rows:
        path = store.path(sha256)
        try:
            if hashlib.sha256(read_file(path, LARGEST)).hexdigest() != sha256:
                damaged[f"{path.name[:12]}..."] = experiment
                store.distrust([sha256])
        except UsageError:
            missing[f"{path.name[:12]}..."] = experiment
    for what, found in (("damaged", damaged), ("missing", missing)):
        if found:
            commands = " and ".join(f"`blendbench run {name}`" for name in sorted(set(found.values())))
            yield Defect(f"images: {len(found)} {what}: {_few([*found])}", f"{commands} generates them again")


def _leftovers(folder: Path) -> Iterator[Defect]:
    found = [path for path in (folder / WORK,) if path.exists()]
    found += partial_files(folder)
    if found:
        yield Defect(
            f"left by a command that was killed: {_few([str(path.relative_to(folder)) for path in found])}",
            "the next run removes them",
        )
    free = shutil.disk_usage(folder).free
    if free < 1 << 28:
        yield Defect(f"the disk has {free / 1e6:.0f} MB left", "free some space")


def _few(names: list[str]) -> str:
    return listed([*map(printable, names)], _NAMED)
