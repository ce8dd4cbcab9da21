"""Mutants differ from the source in one place, and a test that looks at it notices them."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import mutate
import pytest
from mutate import PARTS, Mutator, mutants_of, sampled

TEXT = '''
@strategy(margin=1)
def least(a: int = 2, b: float = 0.5) -> float:
    """Return 3."""
    if a < 4 and not b:
        raise ValueError("5" * 6)
    return min(a, b) + 7 if a else -b
'''


def changes() -> list[str]:
    mutator = Mutator()
    mutator.visit(ast.parse(TEXT))
    return [change for _, change in mutator.found]


def test_operators_numbers_and_functions_are_changed_but_not_declarations_and_errors() -> None:
    assert sorted(changes()) == sorted(
        [
            "a < 4 -> a <= 4",
            "4 -> 5",
            "not b -> b",
            "a < 4 and (not b) -> a < 4 or not b",
            "min -> max",
            "7 -> 8",
            "min(a, b) + 7 -> min(a, b) - 7",
            "-b -> b",
            "min(a, b) + 7 if a else -b -> -b if a else min(a, b) + 7",
        ]
    )


def test_a_mutant_has_one_of_them() -> None:
    whole = ast.unparse(Mutator().visit(ast.parse(TEXT)))
    made = {ast.unparse(Mutator(number).visit(ast.parse(TEXT))) for number in range(len(changes()))}
    assert len(made) == len(changes()) and whole not in made


@pytest.mark.parametrize("name", PARTS)
def test_every_part_has_mutants_and_tests(name: str) -> None:
    chosen = sampled(PARTS[name], 8, 0)
    assert len(chosen) == 8
    for mutant in chosen:
        ast.parse(mutate.mutated(mutant))
    assert mutate.tests_of(PARTS[name])


def test_mutants_are_counted_in_the_order_of_the_file() -> None:
    path = Path(mutate.SOURCE / "stats" / "rare.py")
    assert [mutant.number for mutant in mutants_of(path)] == list(range(len(mutants_of(path))))


SOURCE = """\
LIMIT = 5


def first(a: int) -> int:
    if (
        a > 2
    ):
        return a + 1
    return a


def second(a: int = 3) -> int:
    return a
"""


def test_a_mutant_runs_the_tests_that_execute_its_line_the_quickest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutate, "SOURCE", tmp_path)
    (tmp_path / "a.py").write_text(SOURCE)
    tests = {
        "slow": {"seconds": 2.0, "lines": {"a.py": [5, 6, 8]}},
        "quick": {"seconds": 1.0, "lines": {"a.py": [5, 6, 9]}},
        "second": {"seconds": 0.5, "lines": {"a.py": [13]}},
        "elsewhere": {"seconds": 0.1, "lines": {"b.py": [1, 5, 6, 8]}},
    }
    concerned = {line: mutate.concerned(mutate.Mutant("a.py", 0, line, ""), tests) for line in (1, 6, 8, 9, 12, 13)}
    assert concerned[6] == ["quick", "slow"] and concerned[8] == ["slow"] and concerned[9] == ["quick"]
    assert concerned[13] == ["second"]
    # Outside of all functions: whoever executes anything of the file.
    assert concerned[1] == concerned[12] == ["second", "quick", "slow"]


TESTS = """\
import functools
import pytest
from blendbench import idea


@functools.cache
def cached():
    return idea.one(1)


@pytest.fixture(scope="module")
def shared():
    return idea.two(1)


def test_a():
    assert cached() == 2


def test_b(shared):
    assert cached() == 2 and shared == 3


def test_c(shared):
    assert shared == 3


def test_d():
    assert not hasattr(idea, "three")


def test_e():
    assert idea.one(1) == 3
"""


def test_lines_of_shared_fixtures_and_of_caches_count_for_every_test_that_uses_them(tmp_path: Path) -> None:
    source = tmp_path / "src" / "blendbench"
    source.mkdir(parents=True)
    (source / "__init__.py").touch()
    (source / "idea.py").write_text("def one(a):\n    return a + 1\n\n\ndef two(a):\n    return a + 2\n")
    (tmp_path / "test_idea.py").write_text(TESTS)
    command = [sys.executable, "-c", RECORD, str(Path(mutate.__file__).parent), str(source), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    found = json.loads((tmp_path / "executed.json").read_text())
    assert [name.partition("::")[2] for name in found["failed"]] == ["test_e"]
    lines = {name.partition("::")[2]: test["lines"].get("idea.py", []) for name, test in found["passed"].items()}
    assert {name: [line for line in each if line in (2, 6)] for name, each in lines.items()} == {
        **{"test_a": [2], "test_b": [2, 6], "test_c": [6], "test_d": []}
    }


RECORD = """
import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[2]).parent)]
import pytest
from executed import Recorder
recorder = Recorder({str(Path(sys.argv[2], "idea.py")): "idea.py"}, Path(sys.argv[3], "executed.json"))
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", sys.argv[3]], plugins=[recorder]))
"""
