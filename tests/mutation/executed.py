"""Record which lines of the source every test executes: a pytest plug-in in a forked child.

Lines that a fixture of a wider scope executes count for every test that uses it. Caches of functions are emptied before
every test, so that one test does not execute lines for another.
"""

import functools
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

Lines = dict[str, set[int]]


class Recorder:
    """Records the lines of some files, and the seconds that each test takes."""

    def __init__(self, files: dict[str, str], out: Path) -> None:
        self.files, self.out = files, out  # path -> name of the file
        self.lines: Lines = defaultdict(set)
        self.of_fixtures: dict[int, Lines] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.codes: dict[CodeType, str | None] = {}
        self.failed: set[str] = set()

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        """Follow the functions of these files, not the module's own level, which imports execute."""
        code = frame.f_code
        if code not in self.codes:
            self.codes[code] = None if code.co_name == "<module>" else self.files.get(code.co_filename)
        name = self.codes[code]
        if name is None:
            return None
        lines = self.lines[name]
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, _: object) -> Any:
            if event == "line":
                lines.add(frame.f_lineno)
            return line

        return line

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        """Record the lines of one test."""
        _empty_caches()
        self.lines, began = defaultdict(set), time.process_time()
        threading.settrace(self.trace)
        sys.settrace(self.trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            seconds = time.process_time() - began
            info: Any = item
            for definitions in info._fixtureinfo.name2fixturedefs.values():
                for definition in definitions:
                    _add(self.lines, self.of_fixtures.get(id(definition), {}))
            lines = {name: sorted(found) for name, found in self.lines.items() if found}
            self.tests[item.nodeid] = {"seconds": seconds, "lines": lines}

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[Any]:
        """Record the lines of one fixture apart."""
        around, self.lines = self.lines, defaultdict(set)
        try:
            return (yield)
        finally:
            own, self.lines = self.lines, around
            _add(self.of_fixtures.setdefault(id(fixturedef), defaultdict(set)), own)
            _add(around, own)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note tests that fail, as those of the time that something takes do when they are followed."""
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        """Write what was recorded, and the tests that failed."""
        passed = {name: test for name, test in self.tests.items() if name not in self.failed}
        self.out.write_text(json.dumps({"passed": passed, "failed": sorted(self.failed)}))


def _add(lines: Lines, more: Lines) -> None:
    for name, found in more.items():
        lines[name] = lines.get(name, set()) | found


def _empty_caches() -> None:
    for module in [*sys.modules.values()]:
        file = getattr(module, "__file__", None) or ""
        if file and "site-packages" not in file and not file.startswith(sys.base_prefix):
            for value in [*vars(module).values()]:
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()
