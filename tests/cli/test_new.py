"""Scaffolds are valid and run as they are; suites are made of what people have."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

from blendbench.core.suites import load_suite

Cli = Callable[..., CompletedProcess[str]]
FILES = {
    "strategy": "mine.py",
    "metric": "mine.py",
    "experiment": "mine.toml",
    "hypotheses": "mine.toml",
    "suite": "mine",
    "model-set": "mine",
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("Red Barn.JPG", (40, 32)), ("sea_at-night.png", (64, 64)), ("z.png", (32, 32))):
        Image.new("RGB", size, (len(name) * 12, 90, 40)).save(folder / name)
    (folder / "z.txt").write_text("a grey square\n")
    return folder


@pytest.mark.parametrize("kind", FILES)
def test_a_scaffold_is_valid_and_is_not_overwritten(
    kind: str, cli: Cli, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = cli("new", kind, "mine", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [FILES[kind]]
    written = contents(tmp_path)
    assert any(b"# " in text or b'"""' in text for text in written.values())
    assert not any(b"my_name" in text or b"WEIGHTS" in text for text in written.values())
    # A copy: this process has loaded the file already.
    copy = shutil.copytree(tmp_path, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True)
    checked = cli("validate", copy / FILES[kind])
    assert (checked.returncode, checked.stderr) == (0, "")
    again = cli("new", kind, "mine", cwd=tmp_path)
    assert again.returncode == 2 and "exists already" in again.stderr
    assert contents(tmp_path) == written


def test_scaffolds_run_together(untrained: Path, cli: Cli, tmp_path: Path) -> None:
    for kind, name in (("strategy", "idea"), ("metric", "ruler"), ("suite", "own"), ("experiment", "try")):
        assert cli("new", kind, name, cwd=tmp_path).returncode == 0
    path = tmp_path / "try.toml"
    path.write_text(
        path.read_text()
        .replace('suite = "miniature"', 'suite = "own"')
        .replace("\nitems", "\n# items")
        .replace("{ name", '{ name = "idea" },\n{ name', 1)
    )
    options = ("--models", untrained, "--results", tmp_path / "results", "--plugin", "idea.py", "--plugin", "ruler.py")
    done = cli("run", "try.toml", *options, "--quick", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    query = "SELECT count(*) AS n FROM scores JOIN cells USING (cell_id) WHERE metric = 'ruler' "
    query += "AND strategy = 'idea' AND value > 0"
    found = cli("sql", query, "--results", tmp_path / "results", "--format", "json")
    assert json.loads(found.stdout) == [{"n": 4}]


def test_a_suite_of_images_and_lines(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text('\ufeffa cat\n\na "dog" \\ house\nümläut\n雪\n', encoding="utf-8")
    done = cli("new", "suite", "own", "--images", photos, "--prompts", tmp_path / "prompts.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    suite = load_suite(tmp_path / "own")
    assert [item.prompt for item in suite.items] == ["a cat", 'a "dog" \\ house', "ümläut", "雪"]
    assert [item.id for item in suite.items] == ["001-a-cat", "002-a-dog-house", "003-ml-ut", "004"]
    assert [item.reference_caption for item in suite.items] == ["Red Barn", "sea at night", "a grey square", "Red Barn"]
    assert all(item.reference != item.unrelated and item.split == "" for item in suite.items)
    assert suite.items[0].reference.read_bytes() == (photos / "Red Barn.JPG").read_bytes()


def test_a_suite_of_a_table_is_split_when_it_is_large(cli: Cli, photos: Path, tmp_path: Path) -> None:
    rows = "".join(f"prompt {n},z.png,caption {n},matched,7\n" for n in range(12))
    (tmp_path / "p.csv").write_text(f"prompt,image,caption,relation,score\nother,sea_at-night.png,,,\n{rows}")
    assert cli("new", "suite", "own", "--images", photos, "--prompts", "p.csv", cwd=tmp_path).returncode == 0
    items = load_suite(tmp_path / "own").items
    assert [item.split for item in items[:4]] == ["dev", "test", "test", "dev"]
    assert (items[1].relation, items[1].reference_caption, items[1].reference.suffix) == (
        "matched",
        "caption 0",
        ".png",
    )
    assert (items[0].relation, items[0].reference_caption) == ("unrelated", "sea at night")


def test_what_cannot_become_a_suite_is_named_and_leaves_nothing(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\n")
    (tmp_path / "p.csv").write_text("text\na cat\n")
    (tmp_path / "q.csv").write_text("prompt,image\na cat,gone.png\n")
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for prompts, said in (
        ("gone.txt", "no such file"),
        ("p.csv", "no column 'prompt'"),
        ("q.csv", "line 2: image 'gone.png' is not in --images"),
        ("empty.txt", "holds no prompt"),
        ("latin.txt", "not UTF-8"),
    ):
        done = cli("new", "suite", "own", "--images", photos, "--prompts", prompts, cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1, prompts
    (photos / "z.png").write_bytes(b"no image")
    (photos / "Red Barn.JPG").write_bytes(b"")
    done = cli("new", "suite", "own", "--images", photos, "--prompts", "p.txt", cwd=tmp_path)
    assert done.returncode == 2 and [line.split(":")[1].split("/")[-1] for line in done.stderr.splitlines()] == [
        "Red Barn.JPG",
        "z.png",
    ]
    assert not (tmp_path / "own").exists()


def test_a_table_is_read_as_spreadsheets_write_it_or_refused_by_line(cli: Cli, photos: Path, tmp_path: Path) -> None:
    make = ("new", "suite", "own", "--images", photos, "--prompts", "p.csv")
    (tmp_path / "p.csv").write_bytes(b"\xef\xbb\xbfprompt, image, relation\r\n a cat , z.png , Matched\r\n,,\r\n")
    assert cli(*make, cwd=tmp_path).returncode == 0
    (item,) = load_suite(tmp_path / "own").items
    assert (item.prompt, item.reference_caption, item.relation) == ("a cat", "a grey square", "matched")
    assert item.unrelated.read_bytes() != item.reference.read_bytes()
    shutil.rmtree(tmp_path / "own")
    (tmp_path / "p.csv").write_text("prompt,image,captions,relation\na,gone.png,,\n,z.png,,\nb,,,\nc,z.png,,other\n")
    done = cli(*make, cwd=tmp_path)
    assert [line.removeprefix("blendbench: --prompts p.csv: ") for line in done.stderr.splitlines()] == [
        "unknown column 'captions'; did you mean 'caption'?",
        "line 2: image 'gone.png' is not in --images",
        "line 3 has no prompt",
        "line 4 has no image, and others have",
        "line 5: relation = 'other'; write matched or unrelated",
    ]
    assert not (tmp_path / "own").exists()


def test_copies_of_one_image_are_no_unrelated_ones(cli: Cli, photos: Path, tmp_path: Path) -> None:
    shutil.copy(photos / "z.png", photos / "y.png")
    (tmp_path / "p.txt").write_text("a cat\n")
    make = ("new", "suite", "own", "--images", photos, "--prompts", "p.txt")
    assert cli(*make, cwd=tmp_path).returncode == 0
    items = load_suite(tmp_path / "own").items
    assert all(item.reference.read_bytes() != item.unrelated.read_bytes() for item in items)
    for name in ("Red Barn.JPG", "sea_at-night.png"):
        (photos / name).unlink()
    shutil.rmtree(tmp_path / "own")
    done = cli(*make, cwd=tmp_path)
    assert done.returncode == 2 and "all are copies of one image" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("strategy", "lerp"), "registered twice"),
        (("strategy", "my-idea"), "lower-case letters, digits and _"),
        (("suite", "../own"), "lower-case letters"),
        (("experiment", "Mine"), "lower-case letters"),
        (("metric", "m", "--images", "x", "--prompts", "y"), "make a suite"),
        (("suite", "own", "--images", "x"), "needs both"),
        (("strategies", "x"), "is not one of"),
    ],
)
def test_mistakes_leave_nothing(arguments: tuple[str, ...], said: str, cli: Cli, tmp_path: Path) -> None:
    done = cli("new", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dangling_link_is_not_written_through(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.py").symlink_to(tmp_path / "elsewhere")
    assert cli("new", "strategy", "mine", cwd=tmp_path).returncode == 2
    assert not (tmp_path / "elsewhere").exists()


def test_without_torch_the_extra_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; sys.argv = ['blendbench', 'new', 'strategy', 'mine']\n"
    code += "from blendbench.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'blendbench[models]'" in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []
