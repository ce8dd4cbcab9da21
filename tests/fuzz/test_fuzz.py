"""Damaged input is refused in one printable line: a few inputs of every reader; `fuzz.py` feeds as many as wanted."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated, replaced_value
from readers import READERS

from fuzz import attempt

SLOW = {"shard": 4, "votes": 6, "database": 4, "published": 3, "plugin": 20}
WITH_VALUES = ["suite", "experiment", "hypotheses", "model_set", "card", "shard_line"]
# Each of these ended in a traceback, in pages of text or in control characters once.
DEEP, LONG = b"[" * 60_000, b"9" * 6_000
NASTY = {
    "deep": DEEP + b"]" * 60_000,
    "deep table": b"a = " + DEEP,
    "deep object": b'{"table": ' + b'{"a":' * 30_000,
    "integer": b"name = " + LONG,
    "json integer": b'{"table": "scores", "value": ' + LONG + b"}",
    "not UTF-8": b'name = "\xff\xfe"',
    "nothing": b"",
    "null byte": b'name = "\0"',
    "surrogate": b'{"table": "\\ud800", "x": 1}',
    "terminal": b'name = "\\u001b[2J\\u001b[1;1H"\n"\\u001b[31m" = 1',
    "long key": b'"' + b"k" * 90_000 + b'" = 1',
    "lines": b'"a\\nb" = 1',
    "string": b"lerp:alpha=0.3,neutr\nal_p=1",
    "long name": b"style_delta" + b'{"a":' * 1500,
    "fenced": b"+++\nname = " + LONG + b"\n+++\n",
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_input_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    seeds = reader.seeds()
    outcomes = [attempt(reader, tmp_path, seeds[0])]
    for number in range(SLOW.get(name, 60)):
        outcomes.append(attempt(reader, tmp_path, mutated(seeds, reader.form, random.Random(number))))
    assert any(outcomes)


@pytest.mark.parametrize("nasty", NASTY)
def test_what_was_once_a_traceback_is_refused_everywhere(nasty: str, tmp_path: Path) -> None:
    for name, reader in READERS.items():
        if name not in ("database", "published", "verified", "shard"):
            attempt(reader, tmp_path, NASTY[nasty])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(WITH_VALUES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    ),
    st.integers(0, 2**32),
)
def test_any_value_in_any_place_is_read_or_refused(tmp_path: Path, name: str, value: Any, place: int) -> None:
    reader = READERS[name]
    rng = random.Random(place)
    data = replaced_value(rng.choice(reader.seeds()), reader.form, value, rng)
    if data is not None:
        attempt(reader, tmp_path, data)
