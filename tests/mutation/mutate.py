"""Change one operator or number of the source at a time, and see whether a test fails.

    python tests/mutation/mutate.py --sample 60 --json mutation.json

Mutants are sampled by a fixed seed from the statistics, the verdict, the identity of code and the metrics. All tests
of a part run once and record what they execute. Each mutant then runs those that execute its line, the quickest first,
in a forked child that has the libraries; one outside of all functions runs those that execute anything of its file.
What no test notices is printed and kept, and tried again with --again. Decorators, annotations, errors that are raised
and `strict=` are left as they are.
"""

import argparse
import ast
import copy
import importlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from executed import Recorder

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "blendbench"
# A mutant whose tests take longer hangs, and is noticed: seconds, and times the CPU time that they take without it.
SECONDS, TIMES = 30, 5
# Of the tests of a part: those of the time that something takes fail when their lines are recorded.
_MOST_FAILED = 0.02
LIBRARIES = ("numpy", "scipy.stats", "scipy.ndimage", "pandas", "torch", "duckdb", "PIL.Image", "hypothesis", "cv2")


Tests = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """Files whose mutants are sampled, and the folders and files of their tests."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = {
    "stats": Part(("stats/*.py",), ("tests/stats",)),
    "verdict": Part(("verdict/*.py",), ("tests/verdict",)),
    "identity": Part(
        ("registry/source.py", "registry/follow.py", "registry/values.py", "core/hashing.py"),
        tuple(f"tests/registry/test_{name}.py" for name in ("source", "load_plugin")),
    ),
    "metrics": Part(("metrics/*.py",), ("tests/metrics",)),
}
COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div},
    **{ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
SWAPPED |= {"floor": "ceil", "ceil": "floor", "amax": "amin", "amin": "amax", "mean": "sum", "sum": "mean"}


@dataclass(frozen=True)
class Mutant:
    """One change: the number of the change among all of a file, its line and what it does."""

    file: str
    number: int
    line: int
    change: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.change}"


class Mutator(ast.NodeTransformer):
    """Count all changes of a file, or make one."""

    def __init__(self, chosen: int | None = None) -> None:
        self.chosen = chosen
        self.found: list[tuple[int, str]] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Raise) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            return node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [self.visit(part) for part in node.body if not _is_docstring(part)] or [ast.Pass()]
            return node
        if isinstance(node, ast.AnnAssign):
            node.value = node.value and self.visit(node.value)
            return node
        super().generic_visit(node)
        for change, changed in _changes(node):
            self.found.append((getattr(node, "lineno", 0), change))
            if self.chosen == len(self.found) - 1:
                return ast.copy_location(changed, node)
        return node


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    before = ast.unparse(node) if isinstance(node, ast.expr) else ""
    for changed in _changed(node):
        yield f"{before[:70]} -> {ast.unparse(changed)[:70]}", changed


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    new: Any = copy.deepcopy(node)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        new.ops[0] = COMPARED[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        new.op = COMPUTED[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        new.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        new = node.operand
    elif isinstance(node, ast.IfExp):
        new.body, new.orelse = node.orelse, node.body
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        new.value = not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        new.value = node.value + 1
    elif isinstance(node, ast.Name | ast.Attribute) and (name := getattr(node, "attr", getattr(node, "id", ""))):
        if name not in SWAPPED or not isinstance(node.ctx, ast.Load):
            return
        setattr(new, "attr" if isinstance(node, ast.Attribute) else "id", SWAPPED[name])
    else:
        return
    yield new


def mutants_of(path: Path) -> list[Mutant]:
    """Return all mutants of a file."""
    mutator = Mutator()
    mutator.visit(ast.parse(path.read_text(encoding="utf-8")))
    name = path.relative_to(SOURCE).as_posix()
    return [Mutant(name, number, line, change) for number, (line, change) in enumerate(mutator.found)]


def mutated(mutant: Mutant) -> str:
    """Return the source of a file with one change."""
    tree = Mutator(mutant.number).visit(ast.parse((SOURCE / mutant.file).read_text(encoding="utf-8")))
    return ast.unparse(ast.fix_missing_locations(tree))


def sampled(part: Part, count: int | None, seed: int) -> list[Mutant]:
    """Choose mutants of a part, or all."""
    files = [path for pattern in part.files for path in sorted(SOURCE.glob(pattern))]
    mutants = [mutant for path in files for mutant in mutants_of(path)]
    random.Random(seed).shuffle(mutants)
    return mutants[:count]  # a larger sample begins with the smaller ones


def tests_of(part: Part) -> list[str]:
    """Return the test files of a part."""
    places = [ROOT / name for name in part.tests]
    return sorted(
        str(path) for place in places for path in ([place] if place.is_file() else place.glob("**/test_*.py"))
    )


def place_of(source: str, line: int) -> range | None:
    """Return the lines of the innermost statement at a line; None for one outside of all functions."""
    found, inside = range(line, line + 1), False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or line):
            body = getattr(node, "body", [])
            if not body or line < body[0].lineno:
                found = range(node.lineno, (body[0].lineno if body else (node.end_lineno or line) + 1))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inside = True
    return found if inside else None


def concerned(mutant: Mutant, tests: Tests) -> list[str]:
    """Return the tests that execute the line of a mutant, or anything of its file; the quickest first."""
    place = place_of((SOURCE / mutant.file).read_text(encoding="utf-8"), mutant.line)
    found = [
        name
        for name, test in tests.items()
        if (lines := test["lines"].get(mutant.file)) and (place is None or any(line in place for line in lines))
    ]
    return sorted(found, key=lambda name: float(tests[name]["seconds"]))


def recorded(part: Part, copy_of_source: Path) -> Tests:
    """Run all tests of a part: the seconds of each, and the lines that it executes."""
    package = copy_of_source / "blendbench"
    files = {
        str(package / path.relative_to(SOURCE)): path.relative_to(SOURCE).as_posix()
        for pattern in part.files
        for path in SOURCE.glob(pattern)
    }
    out = copy_of_source / "executed.json"
    _passes(tests_of(part), copy_of_source, Recorder(files, out))
    found = json.loads(out.read_text())
    tests: Tests = found["passed"]
    if len(found["failed"]) > _MOST_FAILED * len(tests):
        sys.exit(f"the tests of {', '.join(part.tests)} fail without a change too: {', '.join(found['failed'])}")
    for name in found["failed"]:
        print(f"left out, for it fails without a change too: {name}", flush=True)
    return tests


def survives(mutant: Mutant, tests: Tests, copy_of_source: Path) -> bool:
    """Run the tests that concern a mutant; True if none fails."""
    names = concerned(mutant, tests)
    if not names:
        return True
    path = copy_of_source / "blendbench" / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutated(mutant), encoding="utf-8")
    files = list(dict.fromkeys(str(ROOT / name.partition("::")[0]) for name in names))
    seconds = SECONDS + TIMES * sum(tests[name]["seconds"] for name in names)
    try:
        return _passes(files, copy_of_source, Only(names), int(seconds))
    finally:
        path.write_text(whole, encoding="utf-8")


class Only:
    """A pytest plug-in that runs some tests, in that order."""

    def __init__(self, names: list[str]) -> None:
        self.places = {name: place for place, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out all others."""
        items[:] = sorted((i for i in items if i.nodeid in self.places), key=lambda item: self.places[item.nodeid])


def _passes(files: list[str], copy_of_source: Path, plugin: object, seconds: int | None = None) -> bool:
    """Run tests in a forked child, of so many seconds of CPU time; True if none fails."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _test(files, copy_of_source, plugin, seconds)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _test(files: list[str], copy_of_source: Path, plugin: object, seconds: int | None) -> int:
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    os.environ["PYTHONPATH"] = f"{copy_of_source}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    sys.path.insert(0, str(copy_of_source))
    # Two mutants of one file may have the same size and time: Python would take one's bytecode for the other's.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.chdir(ROOT)
    paths = f"pythonpath={copy_of_source} tests/results bench/pages bench/speed"
    options = ["-q", "-p", "no:cacheprovider", "-o", paths, *(["-x"] if isinstance(plugin, Only) else [])]
    return int(pytest.main([*options, *files], plugins=[plugin]))


def mutate(count: int, seed: int, names: list[str], state: Path | None, again: bool = False) -> list[dict[str, Any]]:
    """Try mutants of each part; with a state file, those that an unfinished process did not.

    `again`: those of a finished one that no test noticed.
    """
    rows: list[dict[str, Any]] = []
    if state is not None and state.exists():
        known = json.loads(state.read_text())
        rows = known["rows"] if again or not known["finished"] else []
    begun = {row["part"]: row for row in rows}
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as name:
        copy_of_source = Path(name) / "src"
        shutil.copytree(ROOT / "src", copy_of_source, symlinks=True)
        for folder in ("bench", "metrics", "prompts"):  # which the package looks for beside it
            Path(name, folder).symlink_to(ROOT / folder)
        for part_name in names:
            every = sampled(PARTS[part_name], None, seed)
            row = begun.get(part_name) or {"part": part_name, "tried": 0, "of": len(every), "survived": []}
            if part_name not in begun:
                rows.append(row)
            chosen = every[row["tried"] : count]
            if again:
                row.setdefault("at_first", len(row["survived"]))  # before tests were written for this sample
                chosen = [mutant for mutant in every[: row["tried"]] if str(mutant) in row["survived"]]
            tests = recorded(PARTS[part_name], copy_of_source) if chosen else {}
            for mutant in chosen:
                began = time.monotonic()
                survived = survives(mutant, tests, copy_of_source)
                row["tried"] += not again
                row["survived"] = [where for where in row["survived"] if where != str(mutant)]
                if survived:
                    row["survived"].append(str(mutant))
                print(f"{'SURVIVES' if survived else 'noticed'} {mutant} {time.monotonic() - began:.0f} s", flush=True)
                if state:
                    state.write_text(json.dumps({"finished": again, "rows": rows}, indent=1))
    if state:
        state.write_text(json.dumps({"finished": True, "rows": rows}, indent=1))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=60, help="mutants of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, help="file for the figures; an unfinished one is continued")
    parser.add_argument("--again", action="store_true", help="try those in --json again that no test noticed")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for row in mutate(given.sample, given.seed, given.parts, given.json, given.again):
        print(f"{row['part']}: {row['tried']} tried, {len(row['survived'])} survived")
