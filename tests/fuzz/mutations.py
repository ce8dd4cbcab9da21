"""Damage documents: bytes, lines, and the values of TOML and JSON."""

import json
import random
import tomllib
from collections.abc import Iterator
from typing import Any

TOKENS = [
    *(b"[" * 20_000, b'{"a":' * 5_000, b"(" * 3_000, b"9" * 6_000, b"-" + b"9" * 400, b"a" * 70_000, b"a.b." * 3_000),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\n", b"\t", b"\x1b[2J\x1b[1;1H", b"\xe2\x80\xae"),
    *(b"", b"0", b"-1", b"1e999", b"-0.0", b"nan", b"inf", b"1e-320", b"4294967296", b"9223372036854775808", b"0x"),
    *(b"true", b"null", b"None", b'""', b'"', b"'", b'"""', b"\\", b"\\u0000", b"\\ud800", b"[]", b"{}", b"=", b","),
    *(b"../../../etc/passwd", b"/dev/zero", b"/dev/stdin", b"/", b".", b"*", b"?", b"%s", b"{0}", b"$HOME", b"~"),
    *(
        b"<script>alert(1)</script>",
        b"]]>",
        b"|",
        b"`",
        b"--",
        b";",
        b"#",
        b"\xf0\x9f\x92\xa9",
        b"1979-05-27",
        b"[[a]]",
    ),
]
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**64), 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *("", " ", "a", "a" * 5000, "\0", "\x1b[2J", "\u202e", "\ud800", "../x", "/dev/zero", "nan", "1e999", "<b>", "\n"),
    *([], {}, [[]], [None], [0] * 300, {"a": 1}, {"": ""}, [{"name": "lerp"}], ["a", 1, None], [[1, 2], [3]]),
]
for _ in range(2):
    JUNK.append([JUNK[-1]] * 3)
JUNK.append(eval("[" * 60 + "]" * 60))


def mutated(seeds: list[bytes], form: str, rng: random.Random) -> bytes:
    """Return one of the seeds with a few changes."""
    data = rng.choice(seeds)
    if form and rng.random() < 0.5:
        changed = replaced_value(data, form, rng.choice(JUNK), rng)
        if changed is not None:
            data = changed
            if rng.random() < 0.8:
                return data
    for _ in range(1 + int(rng.expovariate(0.7))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + int(rng.expovariate(0.05)))
        kind = rng.randrange(7)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[end:]
        elif kind == 2:
            data = data[:at] + data[at:end] * rng.randrange(2, 5) + data[end:]
        elif kind == 3:
            data = data[:at] + rng.choice(TOKENS) + data[end if rng.random() < 0.5 else at :]
        elif kind == 4:
            data = data[:at] if rng.random() < 0.3 else data
        elif kind == 5:
            other = rng.choice(seeds)
            cut = rng.randrange(len(other) + 1)
            data = data[:at] + other[cut : cut + 200] + data[end:]
        else:
            lines = data.split(b"\n")
            i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[i], lines[j] = lines[j], lines[i]
            data = b"\n".join(lines)
    return data


def replaced_value(data: bytes, form: str, value: Any, rng: random.Random) -> bytes | None:
    """Put another value, or a key, in a random place of a TOML or JSON document; None if it is none."""
    try:
        lines = data.split(b"\n")
        line = rng.randrange(len(lines)) if form == "jsonl" else 0
        text = (lines[line] if form == "jsonl" else data).decode()
        content = (
            tomllib.loads(text.removeprefix("+++\n").partition("\n+++")[0]) if form == "toml" else json.loads(text)
        )
    except ValueError:
        return None
    places = list(_places(content))
    if not places:
        return None
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.2:
        holder[rng.choice(["", "x", "name", "\0", "a" * 300, "\n"])] = value
    elif rng.random() < 0.1:
        del holder[key]
    else:
        holder[key] = value
    try:
        if form == "toml":
            made = _toml(content)
            fenced = text.startswith("+++")
            return (f"+++\n{made}\n+++{text.partition('+++')[2].partition('+++')[2]}" if fenced else made).encode()
        dumped = json.dumps(content).encode()
    except (UnicodeEncodeError, ValueError):
        return None
    if form == "jsonl":
        lines[line] = dumped
        return b"\n".join(lines)
    return dumped


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _toml(content: dict[str, Any]) -> str:
    return "\n".join(f"{json.dumps(key)} = {_toml_value(value)}" for key, value in content.items())


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml_value(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)
