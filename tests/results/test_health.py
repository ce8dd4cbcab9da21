"""A results folder is examined whole: what is damaged is named, with what puts it right."""

import shutil
from pathlib import Path

import duckdb
import pytest
from synthetic_results import write_results

from blendbench.core.errors import UsageError
from blendbench.results.health import examine
from blendbench.results.images import DamagedImageError, ImageStore
from blendbench.results.store import DATABASE, open_results


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_results(folder, items=1)
    open_results(folder)
    return folder


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "results"))


def lines(folder: Path) -> list[str]:
    return [defect.line for defect in examine(folder)]


def image_of(folder: Path) -> Path:
    return sorted(folder.glob("images/*/*.png"))[0]


def test_a_whole_folder_has_no_defect(results: Path) -> None:
    assert lines(results) == []


def test_a_flipped_bit_of_an_image_is_found_and_generated_again_though_its_times_are_the_same(results: Path) -> None:
    path, store = image_of(results), ImageStore(results)
    assert store.present([path.stem]) == {path.stem}
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    # As if the disk had done it: the file looks as it did when it was hashed.
    found = path.stat()
    times = f"{path.stem} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}\n"
    (results / "images" / "verified.txt").write_text(times)
    assert ImageStore(results).present([path.stem]) == {path.stem}
    (line,) = lines(results)
    assert line == f"images: 1 damaged: {path.stem[:12]}...; `blendbench run core` generates them again"
    assert ImageStore(results).present([path.stem]) == set()
    (results / "images" / "verified.txt").write_text(times)
    with pytest.raises(DamagedImageError):
        ImageStore(results).load(path.stem)
    assert ImageStore(results).present([path.stem]) == set()


def test_missing_and_swapped_images_are_named(results: Path) -> None:
    first, second, third, *_ = sorted(results.glob("images/*/*.png"))
    first.unlink()
    second.write_bytes(third.read_bytes())
    assert [line.partition(":")[2].split()[:2] for line in lines(results)] == [["1", "damaged:"], ["1", "missing:"]]


def test_a_database_that_differs_from_its_shards_is_named(results: Path) -> None:
    with duckdb.connect(str(results / DATABASE)) as connection:
        connection.execute("UPDATE scores SET value = value + 1 WHERE metric = 'grid_energy'")
    (line,) = lines(results)
    assert line.endswith(f'{DATABASE}: "scores" is not what its shards say; delete it, any command makes it again')
    (results / DATABASE).write_bytes(b"spoilt")
    assert len(lines(results)) == 1
    open_results(results)
    assert lines(results) == []


def test_a_bad_row_is_fatal_and_named_by_its_line(results: Path) -> None:
    shard = sorted(results.glob("shards/*.jsonl"))[0]
    content = shard.read_bytes().splitlines(keepends=True)
    content[3] = content[3].replace(b'"', b"'", 1)
    shard.write_bytes(b"".join(content))
    (defect,) = examine(results)
    assert defect.fatal and f"{shard.name}:4: not JSON" in defect.line


def test_leftovers_of_killed_commands_are_named(results: Path) -> None:
    (results / ".ingest").mkdir()
    image_of(results).with_name(f"{'0a' * 16}.partial").write_bytes(b"half")
    (line,) = lines(results)
    assert line.startswith("left by a command that was killed: .ingest, images/")
    with sorted(results.glob("shards/*.jsonl"))[0].open("ab") as file:
        file.write(b'{"table": "sco')
    assert any("the last line was cut off" in line for line in lines(results))


def test_a_folder_without_results_has_nothing_to_examine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results here"):
        lines(tmp_path)
