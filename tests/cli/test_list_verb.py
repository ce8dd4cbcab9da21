"""`blendbench list`: everything is listed, and nothing heavy is loaded to find it out."""

import json
import subprocess
import sys
from collections.abc import Callable

from blendbench.cli import list as verb

KINDS = ("strategies", "metrics", "experiments", "suites", "models")
CODE = """
import sys
from blendbench.cli import main
for kind in sys.argv[1:]:
    sys.argv = ["blendbench", "list", kind]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
    heavy = {"torch", "pandas", "duckdb", "diffusers", "transformers"} & set(sys.modules)
    assert not heavy, (kind, heavy)
"""


def test_no_list_loads_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE, *KINDS], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "img2img_lerp" in ran.stdout


def test_every_kind_has_a_list() -> None:
    assert tuple(verb._LISTS) == KINDS


def test_strategies_are_listed_with_their_dose_and_settings(
    cli: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    rows = {row["name"]: row for row in json.loads(cli("list", "strategies", "--json").stdout)}
    assert rows["lerp"]["dose"] == "alpha" and rows["canary"]["dose"] is None
    assert rows["lerp"]["dose_grid"] == [0.1, 0.2, 0.3, 0.5, 1.0] and rows["canary"]["dose_grid"] == []
    settings = {setting["name"]: setting for setting in rows["lerp"]["parameters"]}
    assert settings["alpha"] == {"name": "alpha", "type": "float", "default": 0.3, "range": [0, 1], "choices": None}
    assert settings["align"]["choices"] == ["area", "attention", "interpolate", "kmeans", "truncate"]
