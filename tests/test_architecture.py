"""Test what the package promises of its own form: import order, file sizes, what is built and how large it is."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "blendbench"
MIB = 2**20


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of a copy of the package."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the package's Python files, importable before the installed one."""
    only_python = shutil.ignore_patterns("weights", "__pycache__", "*.json", "*.png", "*.html")
    shutil.copytree(PACKAGE, tmp_path / "blendbench", ignore=only_python)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_import_contracts_hold(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/errors.py", "import blendbench.cli", "imports go one way"),
        ("stats/__init__.py", "from blendbench.reports import board", "imports go one way"),
        # An import within a function is an import too.
        ("steps/align.py", "def late():\n    import blendbench.strategies.linear", "imports go one way"),
        ("run/__init__.py", "import blendbench.verdict", "imports go one way"),
        ("core/errors.py", "import blendbench.core.config", "no import cycle"),
    ],
)
def test_a_line_that_breaks_a_contract_is_found(copy: Path, file: str, line: str, contract: str) -> None:
    with (copy / "blendbench" / file).open("a", encoding="utf-8") as module:
        module.write(f"\n{line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1, done.stderr
    assert f"{contract} BROKEN" in done.stdout


def test_no_file_has_more_than_400_lines() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n")
        for folder in ("src", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {path: lines for path, lines in lengths.items() if lines > 400} == {}


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, blendbench; assert 'torch' not in sys.modules, 'torch'; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_built_holds_what_is_needed_and_no_more(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)], cwd=ROOT, capture_output=True, check=False
    )
    assert built.returncode == 0, built.stderr.decode()
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    shipped = "blendbench/_shipped"
    for needed in ("blendbench/py.typed", f"{shipped}/bench/core.toml", f"{shipped}/metrics/blockiness.md"):
        assert needed in names
    assert any(name.startswith(f"{shipped}/prompts/standard/") for name in names)
    assert any(name.endswith("weights/vision_language/model.safetensors") for name in names)
    # How the weights were trained, published pages and tests are of no use to who installs the package.
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"blendbench"}
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as source:
        members = {member.name.split("/", 1)[1]: member.size for member in source.getmembers()}
    assert not any(name.startswith("reports/") for name in members)
    assert "tests/conftest.py" in members
    weights = sum(size for name, size in members.items() if name.endswith(".safetensors"))
    assert sum(members.values()) - weights < 10 * MIB


def test_the_tracked_tree_stays_below_68_mib() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert sum(path.stat().st_size for path in paths if path.is_file()) < 68 * MIB
