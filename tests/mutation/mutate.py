"""Change one operator or number of the source at a time, and see whether a test fails.

    python tests/mutation/mutate.py --sample 60 --json mutation.json

Mutants are sampled by a fixed seed from the statistics, the verdict, the identity of code and the metrics; each runs
the tests of its part, those that import its file first, in a forked child that has the libraries. What no test notices
is printed and kept. Decorators, annotations, errors that are raised and `strict=` are left as they are.
"""

import argparse
import ast
import copy
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "blendbench"
SECONDS = 900  # a mutant whose tests take longer hangs, and is noticed
LIBRARIES = ("numpy", "scipy.stats", "scipy.ndimage", "pandas", "torch", "duckdb", "PIL.Image", "hypothesis", "cv2")


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


def sampled(part: Part, count: int, seed: int) -> list[Mutant]:
    """Choose mutants of a part."""
    files = [path for pattern in part.files for path in sorted(SOURCE.glob(pattern))]
    mutants = [mutant for path in files for mutant in mutants_of(path)]
    random.Random(seed).shuffle(mutants)
    return mutants[:count]  # a larger sample begins with the smaller ones


def tests_of(part: Part, file: str) -> tuple[list[str], list[str]]:
    """Return the test files of a part: those that name the mutated file or are named like it, and all."""
    places = [ROOT / name for name in part.tests]
    found = sorted(path for place in places for path in ([place] if place.is_file() else place.glob("**/test_*.py")))
    module = "blendbench." + file.removesuffix(".py").replace("/", ".")
    first = [
        path
        for path in found
        if path.stem == f"test_{Path(file).stem}" or re.search(rf"\b{re.escape(module)}\b", path.read_text())
    ]
    return [str(path) for path in first], [str(path) for path in found]


def passes(tests: tuple[list[str], list[str]], copy_of_source: Path) -> bool:
    """Run tests in a forked child; True if none fails."""
    pid = os.fork()
    if pid == 0:
        _test(tests, copy_of_source)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def survives(part: Part, mutant: Mutant, copy_of_source: Path) -> bool:
    """Run the tests of a part on a mutant; True if none fails."""
    path = copy_of_source / "blendbench" / mutant.file
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutated(mutant), encoding="utf-8")
    try:
        return passes(tests_of(part, mutant.file), copy_of_source)
    finally:
        path.write_text(whole, encoding="utf-8")


def _test(tests: tuple[list[str], list[str]], copy_of_source: Path) -> None:
    """Exit with 0 if all tests pass; the nearest and quickest come first."""
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        os.environ["PYTHONPATH"] = f"{copy_of_source}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        sys.path.insert(0, str(copy_of_source))
        # Two mutants of one file may have the same size and time: Python would take one's bytecode for the other's.
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.chdir(ROOT)
        import pytest

        nearest, every = tests
        paths = f"pythonpath={copy_of_source} tests/results bench/pages bench/speed"
        options = ["-x", "-q", "-p", "no:cacheprovider", "-o", paths]
        quick = "not slow and not trained"
        code = 0
        others = [path for path in every if path not in nearest]
        for files, marked in ((nearest, quick), (others, quick), (every, f"not ({quick})")):
            if files and not code:
                code = int(pytest.main([*options, *files, "-m", marked]))
                code = 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code
    finally:
        os._exit(code)


def mutate(count: int, seed: int, names: list[str], state: Path | None) -> list[dict[str, Any]]:
    """Try mutants of each part; with a state file, those that an unfinished process did not."""
    rows: list[dict[str, Any]] = []
    if state is not None and state.exists() and not (known := json.loads(state.read_text()))["finished"]:
        rows = known["rows"]
    begun = {row["part"]: row for row in rows}
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as name:
        copy_of_source = Path(name) / "src"
        shutil.copytree(ROOT / "src", copy_of_source, symlinks=True)
        for folder in ("bench", "metrics", "prompts"):  # which the package looks for beside it
            Path(name, folder).symlink_to(ROOT / folder)
        for part_name in names:
            row = begun.get(part_name) or {"part": part_name, "tried": 0, "survived": []}
            if part_name not in begun:
                rows.append(row)
            if not passes(tests_of(PARTS[part_name], ""), copy_of_source):
                sys.exit(f"{part_name}: its tests fail without a change too")
            for mutant in sampled(PARTS[part_name], count, seed)[row["tried"] :]:
                began = time.monotonic()
                survived = survives(PARTS[part_name], mutant, copy_of_source)
                row["tried"] += 1
                where = f"{mutant.file}:{mutant.line}: {mutant.change}"
                if survived:
                    row["survived"].append(where)
                print(f"{'SURVIVES' if survived else 'noticed'} {where} {time.monotonic() - began:.0f} s", flush=True)
                if state:
                    state.write_text(json.dumps({"finished": False, "rows": rows}, indent=1))
    if state:
        state.write_text(json.dumps({"finished": True, "rows": rows}, indent=1))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=60, help="mutants of each part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--json", type=Path, help="file for the figures; an unfinished one is continued")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for row in mutate(given.sample, given.seed, given.parts, given.json):
        print(f"{row['part']}: {row['tried']} tried, {len(row['survived'])} survived")
