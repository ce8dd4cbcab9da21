"""Environment variables and the identity of code: what is read when it is called has no fixed content."""

from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.registry.plugins import load_plugin_file
from blendbench.registry.source import source_identity


def _sha256(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "plugin.py").write_text(text)
    return source_identity(load_plugin_file(folder / "plugin.py").one, 1).sha256


@pytest.mark.parametrize(
    ("read", "setup"),
    [
        ("os.environ['A']", "import os"),
        ("os.getenv('A')", "import os"),
        ("os.environ.get('A')", "import os"),
        ("os.environb[b'A']", "import os"),
        ("os.path.expandvars('$A')", "import os"),
        ("system.getenv('A')", "import os as system"),
        ("get('A')", "from os import getenv as get"),
        ("[get('A') for get in [1]] or wanted('A')", "from os import getenv as wanted"),
    ],
)
@pytest.mark.parametrize("is_local", [False, True])
def test_an_environment_variable_read_when_called_is_refused(
    read: str, setup: str, is_local: bool, tmp_path: Path
) -> None:
    text = f"def one(t, v):\n    {setup if is_local else 'pass'}\n    return {read}\n"
    with pytest.raises(UsageError, match=r"one: reads .* make it a parameter"):
        _sha256(tmp_path, text if is_local else f"{setup}\n{text}")


@pytest.mark.parametrize("held", ["from os import environ", "import os\nenviron = os.environ"])
def test_the_environment_as_a_constant_is_refused(held: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="environ"):
        _sha256(tmp_path, f"{held}\ndef one(t, v):\n    return environ['A']\n")


def test_a_module_that_reads_the_environment_is_imported_at_the_top(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("import os\nA = os.getenv('A')\n")
    with pytest.raises(UsageError, match=r"helper\.py: reads os\.getenv; import it at the top of the file"):
        _sha256(tmp_path, "def one(t, v):\n    import helper\n")


def test_setting_an_environment_variable_reads_none(tmp_path: Path) -> None:
    _sha256(tmp_path, "import os\ndef one(t, v):\n    os.environ['A'] = '1'\n")


def test_an_environment_variable_read_at_import_counts_by_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import os\nA = os.getenv('BLENDBENCH_TEST')\ndef one(t, v):\n    return A\n"
    before = _sha256(tmp_path / "before", text)
    monkeypatch.setenv("BLENDBENCH_TEST", "1")
    assert _sha256(tmp_path / "after", text) != before
