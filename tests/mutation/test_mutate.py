"""Mutants differ from the source in one place, and a test that looks at it notices them."""

import ast
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
        nearest, every = mutate.tests_of(PARTS[name], mutant.file)
        assert every and set(nearest) <= set(every)


def test_mutants_are_counted_in_the_order_of_the_file() -> None:
    path = Path(mutate.SOURCE / "stats" / "rare.py")
    assert [mutant.number for mutant in mutants_of(path)] == list(range(len(mutants_of(path))))
