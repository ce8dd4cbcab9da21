"""`blendbench list`: what is printed is what there is, and nothing heavy is loaded to find it out."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from blendbench.cli import list as verb
from blendbench.cli import strategy_index

KINDS = ("strategies", "metrics", "experiments", "suites", "models")


def refuse(*_: object) -> list[dict[str, Any]]:
    raise AssertionError("the registry was asked")


def test_the_index_is_what_the_registry_says() -> None:
    text = strategy_index.index_text()
    assert strategy_index.INDEX.read_text(encoding="utf-8") == text, (
        "the code of the strategies has changed; run: python -m blendbench.cli.strategy_index"
    )
    # As JSON a tuple is a list; nothing else of a row may change on the way through the file.
    assert json.loads(text)["strategies"] == json.loads(json.dumps(strategy_index.registered_rows()))


def test_an_index_that_fits_the_code_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy_index, "registered_rows", refuse)
    assert "lerp" in [row["name"] for row in strategy_index.strategy_rows()]


def _change_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in strategy_index._CODE.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    monkeypatch.setattr(strategy_index, "_CODE", tmp_path)


def _install_strategies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = EntryPoint("example", "blendbench_example", "blendbench.strategies")
    monkeypatch.setattr(strategy_index, "entry_points", lambda group: [entry])


@pytest.mark.parametrize("change", [_change_code, _install_strategies])
def test_the_registry_is_asked_where_the_index_may_be_wrong(
    change: Callable[[pytest.MonkeyPatch, Path], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(monkeypatch, tmp_path)
    monkeypatch.setattr(strategy_index, "registered_rows", lambda: [{"name": "mine"}])
    assert strategy_index.strategy_rows() == [{"name": "mine"}]


def test_strategies_of_other_packages_do_not_get_into_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    _install_strategies(monkeypatch, Path())
    with pytest.raises(ValueError, match="blendbench_example"):
        strategy_index.index_text()


def test_no_list_loads_torch() -> None:
    code = (
        "import sys\nfrom blendbench.cli import main\n"
        "for kind in sys.argv[1:]:\n"
        "    sys.argv = ['blendbench', 'list', kind]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, end.code\n"
        "    heavy = {'torch', 'pandas', 'duckdb', 'diffusers', 'transformers'} & set(sys.modules)\n"
        "    assert not heavy, (kind, heavy)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, *KINDS], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "img2img_lerp" in told.stdout


def test_every_kind_has_a_list() -> None:
    assert tuple(verb._LISTS) == KINDS
