"""The registry: names, lazy loading, suggestions, and registration as a whole or not at all."""

import sys
from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.registry.entries import Entries, transaction
from blendbench.registry.registry import Registry


@pytest.fixture(autouse=True)
def _own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Entries, "every", [])


@pytest.mark.parametrize("name", ["", "Lerp", "1a", "a-b", "a,b", "a=b", "a b", "é", "a\n"])
def test_a_name_that_a_command_line_could_not_carry_is_refused(name: str) -> None:
    registry: Registry[int] = Registry("step")
    with pytest.raises(UsageError, match="step"):
        registry.add(name, 1)
    assert registry.names() == []


def test_values_are_found_by_name_and_listed_in_order() -> None:
    registry: Registry[int] = Registry("step")
    registry.add("b2", 2)
    registry.add("a_1", 1, origin="here.py")
    assert registry.all() == {"a_1": 1, "b2": 2}
    assert list(registry.all()) == ["a_1", "b2"]
    assert registry.get("b2") == 2
    assert "a_1" in registry and "c" not in registry
    assert (registry.origin("b2"), registry.origin("a_1")) == ("blendbench", "here.py")


def test_a_taken_name_names_both_origins() -> None:
    registry: Registry[int] = Registry("metric")
    registry.add("sharp", 1, origin="a.py")
    with pytest.raises(UsageError, match=r"metric 'sharp' is registered twice: in a\.py and in b\.py"):
        registry.add("sharp", 2, origin="b.py")
    assert registry.get("sharp") == 1


def test_an_unknown_name_gets_a_suggestion() -> None:
    registry: Registry[int] = Registry("strategy")
    registry.add("slerp", 1)
    with pytest.raises(UsageError, match=r"unknown strategy 'slrep'; did you mean 'slerp'\?"):
        registry.get("slrep")


def test_shipped_modules_are_imported_at_the_first_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[int] = Registry("step", modules=("shipped_of_tests",))
    (tmp_path / "shipped_of_tests.py").write_text("from blendbench.registry.registry import Registry\n"
                                                  "Registry.every[0].add('lerp', 1)\n")  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "shipped_of_tests" not in sys.modules
    with pytest.raises(UsageError, match=r"in blendbench and in my\.py"):
        registry.add("lerp", 2, origin="my.py")
    assert registry.get("lerp") == 1


def test_a_failed_load_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[int] = Registry("step", modules=("late_of_tests",))
    with pytest.raises(ModuleNotFoundError):
        registry.all()
    (tmp_path / "late_of_tests.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.all() == {}


def test_a_failed_transaction_leaves_nothing_in_any_registry() -> None:
    steps: Registry[int] = Registry("step")
    metrics: Registry[int] = Registry("metric")
    steps.add("old", 1, origin="a.py")
    with pytest.raises(ZeroDivisionError), transaction(frozenset({"a.py"})):
        assert steps.names() == []
        steps.add("old", 2, origin="a.py")
        metrics.add("new", 3, origin="a.py")
        _ = 1 / 0
    assert (steps.all(), metrics.all()) == ({"old": 1}, {})
    with transaction():
        metrics.add("new", 3, origin="a.py")
    assert metrics.all() == {"new": 3}
