"""Merge results folders: the union of their shards and of the images that these name.

The database is a function of the shards, so merging in any order and any number of times gives the same one. Folders
may come from strangers: their rows are checked as those of one's own are, and nothing is read outside of `shards/` and
`images/`. Caches of hidden states are not taken: a later run would trust them.
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import duckdb

from blendbench.core.errors import UsageError
from blendbench.core.files import printable, read_file, write_atomically
from blendbench.core.images import ImageError, load_image_bytes
from blendbench.results.database import DATABASE, literal_path
from blendbench.results.images import ImageStore, image_name
from blendbench.results.ingest import ingest
from blendbench.results.schema import sql_name, sql_text, tables
from blendbench.results.shards import FOLDER, read_header, read_shard, shard_paths

_LARGEST_SHARD = 1 << 32  # bytes
_LARGEST_IMAGE = 1 << 26
_LARGEST_SEQUENCE = 10**9  # one that is much greater would leave no number for later runs
_LONGEST_LINE = 1 << 24
# What these say of one key must be the same everywhere: all results with that key are read by it.
_DECLARED = ("suites", "items", "metrics")


@dataclass(frozen=True)
class Differing:
    """A cell with several images: `images` are their hashes, `runs` those that generated them."""

    cell_id: str
    experiment: str
    label: str
    item: str
    seed: int
    images: list[str]
    runs: list[str]


@dataclass(frozen=True)
class Merged:
    """What a merge added and found.

    `missing`: images that rows name and no folder has undamaged. `differing`: cells with several images, of which the
    latest run's counts. `scores`: values measured twice on the same images that differ by more than a tenth of the
    metric's margin. `failed`: cells that are ok in one folder, and failed in the latest run of another.
    """

    shards: int
    images: int
    missing: int
    scores: int
    failed: int
    differing: list[Differing] = field(default_factory=list)


def merge(folders: Sequence[Path], into: Path) -> Merged:
    """Bring results folders into one, which may hold results already.

    Only for who holds the lock of `into`. Interrupted, it is finished by the same call.
    Errors: UsageError, before anything is written: no results, a bad row, files or rows that contradict each other.
    """
    sources = [*([into] if shard_paths(into) else []), *folders]
    for folder in folders:
        _check_files(folder)
    shards = _union(sources)
    with tempfile.TemporaryDirectory(prefix="blendbench-") as made, duckdb.connect() as connection:
        for number, folder in enumerate(sources):
            database = Path(made) / str(number) / DATABASE
            database.parent.mkdir()
            ingest(folder, database)  # every rule of the tables is checked here
            connection.execute(f"ATTACH {sql_text(str(database))} AS {_name(number)} (READ_ONLY)")
        _check_rows(connection, sources)
        _load(connection, shards.values())
        store = ImageStore(into)
        added = _copy_images(connection, sources, store)
        before = {path.name: path.stat().st_size for path in shard_paths(into)}
        new = [path for name, path in shards.items() if before.get(name) != path.stat().st_size]
        for path in new:
            target = into / FOLDER / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, read_file(path, _LARGEST_SHARD))
        ingest(into)
        connection.execute(f"ATTACH {sql_text(str(into / DATABASE))} AS merged (READ_ONLY)")
        # Not those of configurations that were forgotten, which shards still name.
        named = _named(connection, "merged.cells", "merged.repeats", "merged.items")
        return Merged(
            shards=len(new),
            images=added,
            missing=len(set(named) - store.present(named)),
            scores=_differing_scores(connection),
            failed=_failed_elsewhere(connection, len(sources)),
            differing=_differing_cells(connection),
        )


def _name(number: int) -> str:
    return f"source_{number}"


def _check_files(folder: Path) -> None:
    """Refuse shards that are links, and those whose name or number is not a run's."""
    paths = shard_paths(folder)
    if not paths:
        raise UsageError(f"{printable(folder)}: no results here; name a results folder")
    for path in paths:
        if path.is_symlink() or path.parent.is_symlink():
            raise UsageError(f"{printable(path)}: a link; copy what it leads to")
        if (header := read_header(path)) is None:
            continue
        sequence, run_id = header
        if f"{run_id}.jsonl" != path.name:
            raise UsageError(f"{printable(path)}: the shard of another run, {printable(run_id)}; give it back its name")
        if sequence > _LARGEST_SEQUENCE:
            raise UsageError(f"{printable(path)}: its number {sequence} is greater than {_LARGEST_SEQUENCE}")


def _union(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the shards by name, the longest of each. Errors: UsageError."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in shard_paths(folder)):
        other = found.setdefault(path.name, path)
        short, long = sorted((path, other), key=lambda each: each.stat().st_size)
        size = short.stat().st_size
        if read_shard(short).sha256 != read_shard(long, size).prefix_sha256:
            raise UsageError(f"{printable(path)}: other content than {printable(other)}; one of them was edited")
        found[path.name] = long
    return found


def _check_rows(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Refuse rows that would change how results of other folders are read."""
    for number, folder in enumerate(folders):
        escaping = connection.execute(
            f"SELECT reference_image FROM {_name(number)}.items WHERE reference_image IS NOT NULL AND NOT"
            " regexp_full_match(reference_image, 'images/[0-9a-f]{2}/[0-9a-f]{64}[.]png') ORDER BY ALL LIMIT 1"
        ).fetchall()
        if escaping:
            raise UsageError(f"{printable(folder)}: {printable(escaping[0][0])} is not the path of a stored image")
    for one, other in combinations(range(len(folders)), 2):
        for table in _DECLARED:
            key = ", ".join(map(sql_name, tables()[table].key))
            rows = connection.execute(
                f"SELECT {key} FROM (FROM {_name(one)}.{table} EXCEPT FROM {_name(other)}.{table})"
                f" SEMI JOIN {_name(other)}.{table} USING ({key}) ORDER BY ALL LIMIT 1"
            ).fetchall()
            if rows:
                raise UsageError(
                    f"{printable(folders[other])}: {table} says other things of"
                    f" {printable(' '.join(map(str, rows[0])))} than {printable(folders[one])}"
                )
        for first, second in ((one, other), (other, one)):
            _check_forgotten(connection, first, second, folders)


def _check_forgotten(connection: duckdb.DuckDBPyConnection, one: int, other: int, folders: Sequence[Path]) -> None:
    """Refuse a configuration that is forgotten in one folder and has runs of its own in another."""
    rows = connection.execute(
        f"""
        SELECT f.experiment, f.label FROM {_name(one)}.forgotten f
        JOIN {_name(other)}.runs r ON r.experiment = f.experiment AND r.sequence < f.sequence
        JOIN {_name(other)}.planned_configurations p ON p.run_id = r.run_id AND p.label = f.label
        WHERE r.run_id NOT IN (SELECT run_id FROM {_name(one)}.runs) ORDER BY ALL LIMIT 1
        """
    ).fetchall()
    if rows:
        experiment, label = map(printable, rows[0])
        raise UsageError(
            f"{printable(folders[one])}: forgot {label} of {experiment}, which {printable(folders[other])} has;"
            " forget it there too, or leave this folder out"
        )


def _load(connection: duckdb.DuckDBPyConnection, shards: Iterable[Path]) -> None:
    """Put the rows of all shards that name images into tables, each row once.

    Errors: UsageError for a row that belongs to another run than its shard.
    """
    connection.execute("CREATE TABLE lines (run VARCHAR, _table VARCHAR, line JSON)")
    for path in shards:
        connection.execute(
            f"""
            INSERT INTO lines SELECT ?, json ->> '$.table', json
            FROM read_ndjson_objects(?, ignore_errors = true, maximum_object_size = {_LONGEST_LINE})
            WHERE json IS NOT NULL AND json ->> '$.table' IS NOT NULL
            """,
            [path.stem, literal_path(path)],
        )
    strange = connection.execute(
        "SELECT run FROM lines WHERE json_exists(line, '$.run_id') AND line ->> '$.run_id' <> run ORDER BY 1 LIMIT 1"
    ).fetchall()
    if strange:
        raise UsageError(f"{printable(strange[0][0])}.jsonl: holds rows of another run; leave its folder out")
    for table in ("cells", "items", "scores", "repeats"):
        own = f"SELECT line AS _line, 0 AS _sequence, run AS _shard, 0 AS _n FROM lines WHERE _table = '{table}'"
        connection.execute(f"CREATE TABLE every_{table} AS FROM ({tables()[table].select(f'({own})')})")
    connection.execute("DROP TABLE lines")


def _copy_images(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path], store: ImageStore) -> int:
    """Copy the images that rows name; return how many were copied."""
    named = _named(connection, "every_cells", "every_repeats", "every_items")
    copied = 0
    for sha256 in sorted(set(named) - store.present(named)):
        for data in _readings(folders, sha256):
            if store.keep(sha256, data):
                copied += 1
                break
    return copied


def _named(connection: duckdb.DuckDBPyConnection, cells: str, repeats: str, items: str) -> list[str]:
    """Return the hashes of all images that three tables name."""
    rows = connection.execute(
        f"SELECT image_sha256 FROM {cells} WHERE image_sha256 IS NOT NULL"
        f" UNION SELECT again_sha256 FROM {repeats} WHERE again_sha256 IS NOT NULL"
        f" UNION SELECT regexp_extract(reference_image, '[0-9a-f]{{64}}') FROM {items}"
        " WHERE reference_image IS NOT NULL ORDER BY 1"
    ).fetchall()
    return [sha256 for (sha256,) in rows]


def _readings(folders: Sequence[Path], sha256: str) -> Iterator[bytes]:
    """Yield what regular files of folders hold under an image's name, if that is an image."""
    for folder in folders:
        path = folder / image_name(sha256)
        if path.is_symlink() or path.parent.is_symlink() or path.parent.parent.is_symlink():
            continue
        try:
            data = read_file(path, _LARGEST_IMAGE)
            load_image_bytes(data, str(path))
        except (UsageError, ImageError):
            continue
        yield data


def _differing_cells(connection: duckdb.DuckDBPyConnection) -> list[Differing]:
    rows = connection.execute(
        """
        SELECT cell_id, any_value(experiment ORDER BY experiment), any_value(label ORDER BY experiment, label),
            any_value(item ORDER BY item), any_value(seed ORDER BY seed), list_sort(list(DISTINCT image_sha256)),
            list_sort(list(DISTINCT run_id))
        FROM every_cells WHERE status = 'ok' GROUP BY cell_id HAVING count(DISTINCT image_sha256) > 1 ORDER BY cell_id
        """
    ).fetchall()
    return [Differing(*row) for row in rows]


def _differing_scores(connection: duckdb.DuckDBPyConnection) -> int:
    rows = connection.execute(
        """
        SELECT count(*) FROM (
            SELECT metric, metric_version, max(value) - min(value) AS spread FROM every_scores WHERE status = 'ok'
            GROUP BY cell_id, metric, metric_version, scorer_sha256, image_sha256, baseline_image_sha256
        ) JOIN merged.metrics USING (metric, metric_version) WHERE spread > margin / 10
        """
    ).fetchall()
    return int(rows[0][0])


def _failed_elsewhere(connection: duckdb.DuckDBPyConnection, sources: int) -> int:
    ok = " UNION ".join(
        f"SELECT experiment, cell_id FROM {_name(number)}.cells WHERE status = 'ok'" for number in range(sources)
    )
    rows = connection.execute(
        f"SELECT count(*) FROM merged.cells SEMI JOIN ({ok}) USING (experiment, cell_id) WHERE status = 'failed'"
    ).fetchall()
    return int(rows[0][0])
