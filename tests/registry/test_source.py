"""The identity of code: it changes with all that a function reaches, and with nothing else."""

import argparse
import ast
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from blendbench.core.errors import UsageError
from blendbench.registry.plugins import load_plugin_file
from blendbench.registry.source import SourceIdentity, source_identity

OTHER = "\n\ndef other(text, vision):\n    return text + 0.125 * vision\n"
DATA = Path(__file__).parent


@dataclass(frozen=True)
class Edit:
    """A plug-in of several files, and the part of one of them that an edit replaces."""

    name: str
    falls_back: bool
    files: dict[str, str]
    edited: str
    old: str
    new: str


def _edits() -> list[Edit]:
    edits = []
    for block in (DATA / "identity_cases.txt").read_text().split("\n=== ")[1:]:
        head, rest = block.split("\n", 1)
        parts = re.split(r"^--- (.*)\n", rest.split("\n+++ ")[0], flags=re.MULTILINE)[1:]
        files = {name: text + "\n" for name, text in zip(parts[::2], parts[1::2], strict=True)}
        files["plugin.py"] += OTHER
        edited, change = rest.split("\n+++ ")[1].strip().split(": ", 1)
        old, new = change.split(" => ")
        edits.append(Edit(head.removesuffix(" (falls back)"), head.endswith(")"), files, edited, old, new))
    return edits


EDITS = _edits()


def _write(folder: Path, files: dict[str, str]) -> ModuleType:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return load_plugin_file(folder / "plugin.py")


def _identities(folder: Path, files: dict[str, str]) -> dict[str, SourceIdentity]:
    module = _write(folder, files)
    return {name: source_identity(getattr(module, name), 1) for name in ("one", "other")}


def _sha256(folder: Path, text: str, name: str = "one") -> str:
    return source_identity(getattr(_write(folder, {"plugin.py": text}), name), 1).sha256


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_changes_what_reaches_it_and_a_copy_elsewhere_nothing(edit: Edit, tmp_path: Path) -> None:
    copy = _identities(tmp_path / "a [copy]", edit.files)
    shutil.rmtree(tmp_path / "a [copy]")
    before = _identities(tmp_path, edit.files)
    assert {name: i.sha256 for name, i in before.items()} == {name: i.sha256 for name, i in copy.items()}
    assert edit.old in edit.files[edit.edited]
    after = _identities(tmp_path, {edit.edited: edit.files[edit.edited].replace(edit.old, edit.new, 1)})
    assert before["one"].sha256 != after["one"].sha256
    assert before["other"].sha256 == after["other"].sha256
    assert (before["one"].fallback is not None) == edit.falls_back, before["one"].fallback
    assert before["other"].fallback is None


# Reads the plug-ins below a folder and prints their identities; it runs in other processes and other Pythons.
_PRINT = """
import sys
from pathlib import Path
sys.modules["torch"] = None  # these plug-ins do without, and its import is slow
from blendbench.registry.plugins import load_plugin_file
from blendbench.registry.source import source_identity
for folder in sorted(Path(sys.argv[1]).iterdir()):
    print(folder.name, source_identity(load_plugin_file(folder / "plugin.py").one, 1).sha256)
"""


def _printed(folder: Path, python: str, hash_seed: str) -> list[str]:
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": source}
    command = [python, "-c", _PRINT, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.slow
def test_other_processes_hash_seeds_and_pythons_agree(tmp_path: Path) -> None:
    expected = []
    for number, edit in enumerate(EDITS[::3]):
        if not re.search("torch|scipy", str(edit.files)):  # another Python may have numpy alone
            identities = _identities(tmp_path / f"{number:03d}", edit.files)
            expected.append(f"{number:03d} {identities['one'].sha256}")
    assert len(expected) > 30
    assert _printed(tmp_path, sys.executable, "4711") == expected
    for python in _other_pythons():
        assert _printed(tmp_path, python, "1") == expected


def _other_pythons() -> Iterator[str]:
    """Find other supported versions of Python that have numpy."""
    for version in ("python3.11", "python3.12"):
        found = shutil.which(version) if version != f"python3.{sys.version_info.minor}" else None
        probe = [found or "", "-c", "import numpy"]
        if found and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            yield found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another comment"),
        ('"""Docstring."""', '"""Another docstring."""'),
        ("UNUSED = 1", "UNUSED = 2"),
        ("return 2 * v", "return 3 * v"),
        ("\n\n\ndef two", "\n\n\n\n\nX = 1\n\n\ndef two"),
        ("{'a': 1,   'b': 2}", "{'a': 1, 'b': 2}"),
        ("text: int", "text: 'Tokens'"),
    ],
)
def test_what_a_function_does_not_reach_leaves_it_alone(old: str, new: str, tmp_path: Path) -> None:
    plugin = (
        "UNUSED = 1\nK = {'a': 1,   'b': 2}\n\n\ndef two(t, v):\n    return 2 * v\n\n\n"
        'def low(v):\n    """Docstring."""\n    # a comment\n    return K\n\n\ndef one(t, v):\n    return low(v)\n'
        "\n\ndef three(text: int):\n    pass\n"
    )
    assert old in plugin
    assert _sha256(tmp_path, plugin) == _sha256(tmp_path, plugin.replace(old, new))


def test_moving_a_definition_changes_nothing(tmp_path: Path) -> None:
    low, one = "def low(v):\n    return 2 * v\n", "def one(t, v):\n    return low(v)\n"
    assert _sha256(tmp_path, low + one) == _sha256(tmp_path, one + low)
    (tmp_path / "renamed.py").write_text(low + one)
    renamed = load_plugin_file(tmp_path / "renamed.py")
    assert source_identity(renamed.one, 1).sha256 == _sha256(tmp_path, low + one)


def test_version_and_declared_files_count(tmp_path: Path) -> None:
    one = _write(tmp_path, {"plugin.py": "def one(t, v):\n    return v\n", "stats.bin": "1"}).one
    plain = source_identity(one, 1)
    assert plain.sha256 != source_identity(one, 2).sha256
    declared = source_identity(one, 1, declared_files=["stats.bin"])
    assert declared.files == (tmp_path / "stats.bin",)
    (tmp_path / "stats.bin").write_text("22")
    assert source_identity(one, 1, declared_files=["stats.bin"]).sha256 != declared.sha256
    assert source_identity(one, 1) == plain
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.bin").write_text("1")
    folder = source_identity(one, 1, declared_files=["shards"])
    assert folder.files == (tmp_path / "shards" / "a.bin",)
    (tmp_path / "shards" / "b.bin").write_text("1")
    assert len(source_identity(one, 1, declared_files=["shards"]).files) == 2
    with pytest.raises(UsageError, match=r"files='none\.bin': no such file in "):
        source_identity(one, 1, declared_files=["none.bin"])


@pytest.mark.parametrize(
    ("constant", "what"),
    [
        ("threading.Lock()", "a lock or thread"),
        ("socket.socket()", "a socket"),
        ("(i for i in [])", "a running generator"),
        ("open(__file__)", "an open file"),
        ("random.Random(0)", "a random generator"),
        ("numpy.random.default_rng(0)", "a random generator"),
        ("torch.Generator()", "a random generator"),
        ("[{'a': threading.Lock()}]", "a lock or thread"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_live_constant_is_refused_with_a_way_out(constant: str, what: str, tmp_path: Path) -> None:
    text = (
        f"import random, socket, threading\nimport numpy, torch\nLIVE = {constant}\ndef one(t, v):\n    return LIVE\n"
    )
    with pytest.raises(UsageError) as refused:
        _sha256(tmp_path, text)
    message = str(refused.value)
    assert what in message and "LIVE" in message and "files=(...)" in message and "\n" not in message


def test_a_builtin_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="write it as a function in a Python file"):
        source_identity(len, 1)


def test_an_object_without_known_content_falls_back(tmp_path: Path) -> None:
    text = "import zlib\nF = zlib.decompressobj()\ndef one(t, v):\n    return F\n"
    identity = source_identity(_write(tmp_path, {"plugin.py": text}).one, 1)
    assert identity.fallback == "one -> F: the content of a zlib.Decompress is unknown"
    assert identity.files == (tmp_path / "plugin.py",)


@pytest.mark.parametrize(
    "patch",
    [
        "colorsys.ONE_THIRD = 0.3",
        "if True:\n    colorsys.ONE_THIRD = 0.3",
        "setattr(colorsys, 'ONE_THIRD', 0.3)",
        "def patch():\n    colorsys.ONE_THIRD = 0.3\npatch()",
        "colorsys.__dict__['ONE_THIRD'] = 0.3",
        "Fraction.third = 0.3",
    ],
)
@pytest.mark.parametrize("file", ["plugin.py", "helper.py"])
def test_a_file_that_patches_a_library_falls_back(
    patch: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colorsys.ONE_THIRD", 1 / 3)
    monkeypatch.setattr("fractions.Fraction.third", 1 / 3, raising=False)
    patch = f"import colorsys\nfrom fractions import Fraction\n{patch}\n"
    code = "import colorsys\ndef one(t, v):\n    return colorsys.rgb_to_hls(*v)\n"
    files = {"plugin.py": f"import helper\n{code}", "helper.py": ""}
    files[file] = patch + files[file]
    identity = source_identity(_write(tmp_path, files).one, 1)
    assert re.match(rf"{file}: it sets (colorsys|Fraction)\.\S+, which other code may read", identity.fallback or "")
    edited = {**files, file: files[file].replace("0.3", "0.4")}
    assert source_identity(_write(tmp_path, edited).one, 1).sha256 != identity.sha256


def test_a_file_in_the_current_folder_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def one(t, v):\n    return open('there.txt').read()\n"
    (tmp_path / "there.txt").write_text("1")
    monkeypatch.chdir(tmp_path)
    before = source_identity(_write(tmp_path / "plugin", {"plugin.py": text}).one, 1)
    assert (before.fallback, before.files) == (None, (tmp_path / "there.txt",))
    (tmp_path / "there.txt").write_text("22")
    assert _sha256(tmp_path / "plugin", text) != before.sha256


def test_results_beside_the_plugin_are_no_data_of_it(tmp_path: Path) -> None:
    text = "def one(t, v):\n    return open(t).read()\n"
    before = _identities(tmp_path, {"plugin.py": text + OTHER, "stats.txt": "1"})
    files = {"results/shards/a.jsonl": "{}", "results/images/stats.txt": "2", ".cache/x": "1", "__pycache__/y.pyc": "1"}
    after = _identities(tmp_path, {**files, "plugin.py": text + OTHER})
    assert before == after
    assert before["one"].fallback == "one: it opens a file that it does not name literally"


def test_too_many_files_beside_the_plugin_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendbench.registry.folder.MOST_FILES", 3)
    files = {f"{number}.txt": "" for number in range(4)}
    one = _write(tmp_path, {**files, "plugin.py": "def one(t, v):\n    return open(t).read()\n"}).one
    with pytest.raises(UsageError, match="give it a folder of its own"):
        source_identity(one, 1)


def test_received_types_count_by_the_members_that_code_names(tmp_path: Path) -> None:
    kind = (
        "class Rows:\n    @property\n    def half(self):\n        return 0.5\n"
        "    def third(self):\n        return 0.33\n"
        "    def __len__(self):\n        return 7\ndef one(text, vision):\n    return text.half\n"
    )
    hashes = []
    edited = [kind.replace("0.33", "0.34"), kind.replace("0.5", "0.6"), kind.replace("7", "8")]
    for number, text in enumerate([kind, *edited]):
        module = _write(tmp_path / str(number), {"plugin.py": text})
        hashes.append(source_identity(module.one, 1, receives=(module.Rows,)).sha256)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_decorator_of_blendbench_is_no_code_of_the_strategy(tmp_path: Path) -> None:
    text = (
        "def register(name, equation):\n    return lambda f: f\nregister.__module__ = 'blendbench.strategies'\n"
        "E = 'a'\n@register('x', equation=E + '1')\ndef one(t, v):\n    return v\n"
    )
    assert _sha256(tmp_path, text) == _sha256(tmp_path, text.replace("'1'", "'2'").replace("E = 'a'", "E = 'b'"))
    foreign = text.replace("'blendbench.strategies'", "'other'")
    assert _sha256(tmp_path, foreign) != _sha256(tmp_path, foreign.replace("'1'", "'2'"))


def test_the_identity_is_of_the_code_that_was_loaded(tmp_path: Path) -> None:
    text = "CALLS = []\ndef one(t, v):\n    CALLS.append(v)\n    return 2 * v\n"
    one = _write(tmp_path, {"plugin.py": text}).one
    (tmp_path / "plugin.py").write_text(text.replace("2 *", "3 *"))
    before = source_identity(one, 1)
    one(1, 2)  # what it keeps in its own globals must not make another identity
    assert source_identity(one, 1) == before
    assert _sha256(tmp_path / "copy", text) == before.sha256


def test_an_installed_package_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = []
    for number, (gain, unused) in enumerate([("0.5", "1"), ("0.6", "1"), ("0.5", "2")]):
        site = tmp_path / str(number) / "site-packages"
        package = site / f"idea{number}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("from . import blend, unused\n")
        (package / "unused.py").write_text(f"K = {unused}\n")
        (package / "gains.py").write_text(f"def gain(v):\n    return {gain} * v\n")
        (package / "blend.py").write_text("from .gains import gain\ndef one(t, v):\n    return gain(v)\n")
        monkeypatch.syspath_prepend(str(site))
        module = importlib.import_module(f"idea{number}.blend")
        hashes.append(source_identity(module.one, 1))
    assert hashes[0].sha256 == hashes[2].sha256 != hashes[1].sha256
    assert hashes[0].files == (tmp_path / "0" / "site-packages" / "idea0" / "gains.py",)


@pytest.mark.slow
def test_identity_costs_less_than_parsing_one_large_module(tmp_path: Path) -> None:
    edit = next(edit for edit in EDITS if edit.name == "helper of a helper")
    large = Path(argparse.__file__).read_text(encoding="utf-8")
    times: dict[str, list[float]] = {"parse": [], "first": [], "again": []}

    def timed(name: str, call: Callable[[], object]) -> None:
        begin = time.process_time()
        call()
        times[name].append(time.process_time() - begin)

    # Taken in turn, so that a busy machine slows all three; the least of many leaves out what others add.
    for number in range(15):
        one = _write(tmp_path / str(number), edit.files).one
        timed("parse", lambda: ast.parse(large))
        identity = functools.partial(source_identity, one, 1)
        timed("first", identity)
        timed("again", identity)
    assert min(times["first"]) < min(times["parse"])
    assert min(times["again"]) < min(times["first"]) / 5


MANY = DATA / "many"


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("many.py", "GAINS = [0.2", "GAINS = [0.9", {"k_list"}),
        ("many.py", '{"alpha": 0.2}', '{"alpha": 0.9}', {"k_dict"}),
        ("many.py", "torch.tensor([0.2])", "torch.tensor([0.9])", {"k_tensor"}),
        ("helper_mod.py", "0.5", "5.0", {"k_module"}),
        ("stats.npz", "", "", {"k_file"}),
    ],
)
def test_of_many_strategies_those_that_reach_an_edit_change(
    file: str, old: str, new: str, changed: set[str], tmp_path: Path
) -> None:
    before = _many(tmp_path)
    if file == "stats.npz":
        np.savez(tmp_path / file, scale=np.float64(0.9))
    else:
        (tmp_path / file).write_text((tmp_path / file).read_text().replace(old, new))
    after = _many(tmp_path)
    assert {name for name in before if before[name] != after[name]} == changed


def _many(folder: Path) -> dict[str, SourceIdentity]:
    for path in MANY.iterdir():
        if path.suffix == ".py" and not (folder / path.name).exists():
            shutil.copy(path, folder)
    if not (folder / "stats.npz").exists():
        np.savez(folder / "stats.npz", scale=np.float64(0.2))
    module = load_plugin_file(folder / "many.py")
    found = {name: value for name, value in vars(module).items() if name.startswith("k_")}
    assert len(found) == 12
    identities = {name: source_identity(value, 1) for name, value in found.items()}
    assert {identity.fallback for identity in identities.values()} == {None}
    return identities
