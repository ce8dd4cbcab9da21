"""The notebook runs from its first cell to its last, without a Jupyter server."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import matplotlib as mpl
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
Cli = Callable[..., CompletedProcess[str]]


def run_cell(source: str, names: dict[str, Any]) -> object:
    """Run a cell as a kernel does: return the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


@pytest.fixture
def results(cli: Cli, untrained: Path, tmp_path: Path) -> Path:
    done = cli("run", "demo", "--items", "4", "--models", untrained, "--results", tmp_path / "results")
    assert done.returncode in (0, 5), done.stderr
    return tmp_path


@pytest.mark.slow
def test_every_cell_runs_and_shows_something(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(results)
    mpl.use("agg")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = [run_cell("".join(cell["source"]), names) for cell in cells]
    assert len(shown) == 7
    html = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert len(html) == 4 and all("<td>" in text for text in html) and "demo" in html[0]
    assert len(names["curve"]) == 4 and len(names["worst"]) == 3
    image: Any = shown[-1]
    assert image.size == (128, 128)
    assert [cell["outputs"] for cell in cells] == [[]] * 7
