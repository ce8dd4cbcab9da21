"""`python -m blendbench.cli.strategy_index`: write what `blendbench list strategies` prints without loading torch.

Registering a strategy imports its module, and that imports torch, which takes two seconds. So the rows of the shipped
strategies are kept in strategies.json, with the hash of the code they were read from. Where the two do not belong
together, because somebody is at work on a strategy, or where an installed package brings strategies of its own, the
registry is asked.
"""

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import blendbench
from blendbench.core.hashing import sha256_json

INDEX = Path(__file__).with_name("strategies.json")
_CODE = Path(blendbench.__file__).parent / "blending"
_ENTRY_POINTS = "blendbench.strategies"  # as the registry has it, which cannot be imported here


def strategy_rows() -> list[dict[str, Any]]:
    """Every strategy that is shipped or installed, in the order of the registry."""
    if not entry_points(group=_ENTRY_POINTS):
        index = json.loads(INDEX.read_text(encoding="utf-8"))
        if index["code_sha256"] == _code_sha256():
            return list(index["strategies"])
    return registered_rows()


def registered_rows() -> list[dict[str, Any]]:
    """The same from the registry itself."""
    from blendbench.registry.strategies import all_strategies

    return [
        {
            "name": s.name,
            "version": s.version,
            "control": s.control,
            "parameters": [
                {
                    "name": p.name,
                    "type": p.type.__name__,
                    "default": p.default,
                    "range": [p.range.low, p.range.high] if p.range else None,
                    "choices": list(p.options) or None,
                }
                for p in s.parameters.values()
            ],
            "equation": s.equation,
            "source": s.source,
        }
        for s in all_strategies().values()
    ]


def index_text() -> str:
    """What belongs into strategies.json. Errors: ValueError where other packages' strategies would get into it."""
    if found := [entry.value for entry in entry_points(group=_ENTRY_POINTS)]:
        raise ValueError(f"strategies of other packages are installed: {', '.join(found)}; uninstall them first")
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in registered_rows())  # one a line, for diffs
    return f'{{"code_sha256": "{_code_sha256()}", "strategies": [\n{rows}\n]}}\n'


def _code_sha256() -> str:
    # As text: what git does to line ends is no change of the code.
    return sha256_json({path.name: path.read_text(encoding="utf-8") for path in _CODE.glob("*.py")})


if __name__ == "__main__":
    INDEX.write_text(index_text(), encoding="utf-8")
