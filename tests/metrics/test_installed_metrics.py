"""Metrics of an installed package are found by their entry point, with the card that the package ships."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.registry.plugins import load_entry_points

PACKAGE = Path(__file__).parents[1] / "plugin_package"
CODE = """
import torch
from blendbench.metrics import Batch, all_metrics, measure
known = all_metrics()["example_sharpness"]
score = measure(Batch(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), [known.name])[known.name][0]
print(known.origin, known.card.text, len(known.source_sha256), score.value)
"""


def install(folder: Path) -> None:
    """Write what pip would: metadata with the entry points, and nothing from the network."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = folder / "blendbench_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    groups = {
        f"[{group}]\n{name} = {at}\n" for group, one in project["entry-points"].items() for name, at in one.items()
    }
    (info / "entry_points.txt").write_text("".join(sorted(groups)))


@pytest.mark.slow
def test_an_installed_metric_is_registered_with_the_card_beside_it(tmp_path: Path) -> None:
    install(tmp_path)
    path = [str(tmp_path), str(PACKAGE / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    run = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    text = "The mean difference of neighbouring pixels along a row."
    assert run.stdout == f"blendbench_example {text} 64 0.0\n"


def test_a_package_that_cannot_be_loaded_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path)
    broken = tmp_path / "blendbench_example"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    (broken / "metrics.py").write_text("from blendbench.metrics import metric\n\nmetric('x', needs=('lum',))(print)\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.partition(".")[0] == "blendbench_example"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UsageError) as error:
        load_entry_points("blendbench.metrics")
    sys.modules.pop("blendbench_example")
    start = f"installed package blendbench-example, entry point example: {broken / 'metrics.py'}:3: metric 'x' needs"
    assert str(error.value).startswith(start) and "did you mean 'luma'?" in str(error.value)
