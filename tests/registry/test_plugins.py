"""Plug-ins of several files, their errors, and the state they leave behind."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from blendbench.core.errors import UsageError
from blendbench.registry.entries import Entries
from blendbench.registry.plugins import load_entry_points, load_plugin_file, origin_of
from blendbench.registry.registry import Registry


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "idea.py"


def _load(folder: Path, **files: str) -> ModuleType:
    return load_plugin_file(_write(folder, **files))


@pytest.mark.parametrize(
    "text",
    [
        "import helper\ndef one():\n    return helper.NAME\n",
        "from helper import NAME\ndef one():\n    return NAME\n",
        "from .helper import NAME\ndef one():\n    return NAME\n",
        "from . import helper\ndef one():\n    return helper.NAME\n",
        "def one():\n    import helper\n    return helper.NAME\n",
        "def one():\n    from .helper import NAME\n    return NAME\n",
        "import importlib\ndef one():\n    return importlib.import_module('helper').NAME\n",
        "from importlib import import_module\ndef one():\n    return import_module('helper').NAME\n",
        "def one():\n    import deep.er.helper as h\n    return h.NAME\n",
        "import deep.er.helper\ndef one():\n    return deep.er.helper.NAME\n",
        "import sys\nsys.path += [__file__[:-7] + 'deep/er']\ndef one():\n    import helper\n    return helper.NAME\n",
        "import sys\nsys.path.insert(0, __file__[:-7] + 'elsewhere')\nimport far\ndef one():\n    return far.NAME\n",
    ],
)
def test_plugins_with_helpers_of_one_name_do_not_meet(text: str, tmp_path: Path) -> None:
    modules = []
    for name in ("a", "b"):
        helper = f"NAME = {name!r}\n"
        modules.append(_load(tmp_path / name, idea=text, helper=helper, deep__er__helper=helper, elsewhere__far=helper))
    path = list(sys.path)
    assert [module.one() for module in modules] == ["a", "b"]
    assert sys.path == path
    assert "helper" not in sys.modules and "far" not in sys.modules and "deep" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("helper")


def test_a_file_beside_comes_before_an_installed_module_for_the_plugin_alone(tmp_path: Path) -> None:
    module = _load(tmp_path, idea="import colorsys\nONE = colorsys.ONE\n", colorsys="ONE = 1\n")
    assert module.ONE == 1
    assert not hasattr(importlib.import_module("colorsys"), "ONE")


def test_dataclasses_and_type_hints_work(tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import get_type_hints\n"
        "@dataclass\nclass P:\n    a: int\ndef one(p: P) -> P:\n    return p\nHINTS = get_type_hints(one)\n"
    )
    module = _load(tmp_path, idea=text)
    assert module.HINTS["p"] is module.P


def test_a_package_init_is_run(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("K = 3\n")
    module = _load(tmp_path, idea="from . import K\n")
    assert module.K == 3


def test_the_same_file_is_loaded_once_and_again_when_something_changed(tmp_path: Path) -> None:
    text = "import helper\nfrom pathlib import Path\nS = Path(__file__).with_name('s.txt').read_text()\nK = helper.K\n"
    (tmp_path / "s.txt").write_text("1")
    first = _load(tmp_path, idea=text, helper="K = 1\n")
    assert load_plugin_file(tmp_path / "idea.py") is first
    second = _load(tmp_path, helper="K = 2\n")
    assert (first.K, second.K) == (1, 2)
    (tmp_path / "s.txt").write_text("2")
    third = load_plugin_file(tmp_path / "idea.py")
    assert (second.S, third.S) == ("1", "2")
    assert load_plugin_file(tmp_path / "idea.py") is third


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nx = y\n", "idea.py:3: NameError: name 'y' is not defined"),
        ("def f():\n    raise SystemExit(3)\nf()\n", "idea.py:2: SystemExit: 3"),
        ("class E(BaseException):\n    pass\nraise E\n", "idea.py:3: E"),
        ("\nx = (\n", "idea.py:2: SyntaxError: '(' was never closed"),
        ("import none_such\n", "idea.py:1: ModuleNotFoundError: No module named 'none_such'"),
        ("import re\n\nre.compile('(')\n", "idea.py:3: error: missing ), unterminated subpattern at position 0"),
        ("raise ValueError('two\\nlines')\n", "idea.py:1: ValueError: two lines"),
        ("import helper\n", "helper.py:2: ZeroDivisionError: division by zero"),
        ("import broken\n", "broken.py:1: SyntaxError: invalid syntax"),
    ],
)
def test_an_error_names_the_line_of_the_users_code(text: str, message: str, tmp_path: Path) -> None:
    path = _write(tmp_path, idea=text, helper="\n1 / 0\n", broken="x = = 1\n")
    with pytest.raises(UsageError) as refused:
        load_plugin_file(path)
    assert str(refused.value) == f"{tmp_path}/{message}"


def test_an_interrupt_is_no_error_of_the_plugin(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _load(tmp_path, idea="raise KeyboardInterrupt\n")


def test_what_is_no_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.py: no such file"):
        load_plugin_file(tmp_path / "none.py")
    (tmp_path / "idea.txt").write_text("")
    with pytest.raises(UsageError, match=r"must end in \.py"):
        load_plugin_file(tmp_path / "idea.txt")
    for name in ("my-idea.py", "2.5.py", "名.py"):
        (tmp_path / name).write_text("K = 1\n")
        assert load_plugin_file(tmp_path / name).K == 1


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    monkeypatch.setattr(Entries, "every", list(Registry.every))
    found: Registry[object] = Registry("thing")
    holder = ModuleType("things_of_tests")
    vars(holder).update(add=lambda name, thing: found.add(name, thing, origin=origin_of(thing)))
    monkeypatch.setitem(sys.modules, "things_of_tests", holder)
    return found


def test_nothing_of_a_failed_plugin_stays(registry: Registry[object], tmp_path: Path) -> None:
    text = "import things_of_tests as t\ndef one(): pass\nt.add('one', one)\n"
    with pytest.raises(UsageError):
        _load(tmp_path, idea=text + "1 / 0\n")
    assert registry.names() == []
    _load(tmp_path, idea=text)
    assert registry.names() == ["one"]
    assert registry.origin("one") == str(tmp_path / "idea.py")
    with pytest.raises(UsageError):
        _load(tmp_path, idea=text + "import none_such\n")
    assert registry.names() == ["one"]


def test_a_changed_plugin_registers_anew(registry: Registry[object], tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("import things_of_tests as t\ndef far(): pass\nt.add('far', far)\n")
    load_plugin_file(other)
    text = "import things_of_tests as t\nimport helper\ndef one(): return helper.low()\nt.add('one', one)\n"
    low = "import things_of_tests as t\ndef low(): return 1\nt.add('low', low)\n"
    _load(tmp_path, idea=text, helper=low)
    before = registry.get("one")
    _load(tmp_path, helper=low.replace("1", "2"))
    assert registry.names() == ["far", "low", "one"]
    assert registry.get("one") is not before


def test_a_second_plugin_cannot_take_a_name(registry: Registry[object], tmp_path: Path) -> None:
    text = "import things_of_tests as t\ndef one(): pass\nt.add('one', one)\n"
    _load(tmp_path / "a", idea=text)
    with pytest.raises(UsageError) as refused:
        _load(tmp_path / "b", idea=text)
    a, b = tmp_path / "a" / "idea.py", tmp_path / "b" / "idea.py"
    assert str(refused.value) == f"{b}:3: thing 'one' is registered twice: in {a} and in {b}; rename one"


def test_prints_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _load(tmp_path, idea="print('hello')\n")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_entry_points_are_loaded(registry: Registry[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "idea_pkg.py").write_text("import things_of_tests as t\ndef one(): pass\nt.add('one', one)\n")
    (tmp_path / "bad_pkg.py").write_text("import things_of_tests as t\ndef two(): pass\nt.add('two', two)\n1 / 0\n")
    _distribution(tmp_path, "idea-pkg", "blendbench.test_things", "idea_pkg")
    _distribution(tmp_path, "bad-pkg", "blendbench.test_bad_things", "bad_pkg")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_entry_points("blendbench.test_things") == ["it"]
    with pytest.raises(UsageError) as refused:
        load_entry_points("blendbench.test_bad_things")
    where = f"{tmp_path / 'bad_pkg.py'}:4: ZeroDivisionError: division by zero"
    assert str(refused.value) == f"installed package bad-pkg, entry point it: {where}"
    assert registry.names() == ["one"]
    assert registry.origin("one") == "idea_pkg"


def _distribution(folder: Path, name: str, group: str, module: str) -> None:
    info = folder / f"{name.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nit = {module}\n")
