"""Code that opens a file outside its identity is stopped, whatever opens it."""

import threading
import zipfile
from pathlib import Path

import pytest
import torch

from blendbench.core.tokens import Kind, Tokens
from blendbench.registry.plugins import load_plugin_file
from blendbench.registry.reading import UndeclaredFileError, reading_only
from blendbench.registry.strategies import Sources, get_strategy

TEXT = Tokens(torch.ones(2, 3), torch.full((2,), int(Kind.TEXT)))
PLUGIN = """
import configparser, gzip, io, os, sqlite3, tempfile, warnings, zipfile
import numpy
from blendbench.blending import strategy

@strategy("reads", source="me"{files})
def reads(text):
    end = ".dat"
    {code}
    return text.hidden
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, far = tmp_path / "plugin", tmp_path / "far"
    (folder / "data" / "shards").mkdir(parents=True)
    far.mkdir()
    (folder / "site-packages").mkdir()
    (folder / "linked").symlink_to(far)
    for path in (folder / "stats", far / "stats", folder / "data/shards/stats", folder / "site-packages/stats"):
        with zipfile.ZipFile(path.with_suffix(".dat"), "w") as archive:
            archive.writestr("x", "1")
    monkeypatch.chdir(folder)
    return folder


def _call(folder: Path, code: str, files: str = "") -> None:
    (folder / "plugin.py").write_text(PLUGIN.format(code=code, files=files))
    load_plugin_file(folder / "plugin.py")
    get_strategy("reads").bind().blend(Sources(TEXT))


@pytest.mark.parametrize(
    "code",
    [
        "zipfile.ZipFile('stats' + end).close()",
        "sqlite3.connect('stats' + end).close()",
        "gzip.GzipFile('stats' + end).close()",
        "list(map(numpy.load, ['stats' + end]))",
        "configparser.ConfigParser().read('stats' + end)",
        "io.FileIO(os.fsencode('stats' + end)).close()",
        "open('linked/stats' + end).close()",
        "open('../far/stats' + end).close()",  # in the temporary folder, as a plug-in that is tried out may be
        "open('data/shards/stats' + end).close()",
        "open(os.path.join(os.path.dirname(os.getcwd()), 'plugin', 'data/shards/stats' + end)).close()",
    ],
)
def test_a_file_that_the_identity_does_not_hold_cannot_be_read(code: str, folder: Path) -> None:
    with pytest.raises(UndeclaredFileError, match=r"reads .*stats\.dat, which is no part .*; declare files=\('.*stats"):
        _call(folder, code)


@pytest.mark.parametrize(
    ("code", "files"),
    [
        ("zipfile.ZipFile('stats' + end).close()", ", files=('stats.dat',)"),
        ("zipfile.ZipFile('stats.dat').close()", ""),
        ("open('none' + end) if os.path.exists('none.dat') else None", ""),
        ("open('made' + end, 'w').close(); open('made' + end).close()", ""),
        ("open('site-packages/stats' + end).close()", ""),
        ("made = tempfile.NamedTemporaryFile(); open(made.name).close()", ""),
        ("from email import charset", ""),
        ("warnings.warn('look at this line')", ""),
    ],
)
@pytest.mark.filterwarnings("default")
def test_what_it_declares_names_or_made_itself_can_be_read(code: str, files: str, folder: Path) -> None:
    _call(folder, code, files)


def test_other_threads_read_what_they_like_and_so_does_later_code(tmp_path: Path) -> None:
    path, found = tmp_path / "x.txt", []
    path.write_text("x")
    with reading_only([], [tmp_path]):
        thread = threading.Thread(target=lambda: found.append(path.read_text()))
        thread.start()
        thread.join()
        with pytest.raises(UndeclaredFileError, match=r"x\.txt"):
            path.read_text()
    assert [*found, path.read_text()] == ["x", "x"]
