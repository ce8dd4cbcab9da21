"""Hypotheses files for tests."""

from pathlib import Path

CLAIM = '{ kind = "differs", experiment = "core", metric = "prompt", candidate = "canary", expected = "worse" }'


def toml_of(name: str = "one", claims: str = CLAIM, **fields: str) -> str:
    """Return the TOML of a hypothesis; `fields` are TOML values."""
    rows = {"id": f'"{name}"', "theme": '"Theme"', "statement": f'"It is {name}."', "source": '"A test"'} | fields
    return "\n".join(["[[hypothesis]]", *(f"{key} = {value}" for key, value in rows.items()), f"claims = [{claims}]"])


def write(folder: Path, *hypotheses: str, head: str = "") -> Path:
    """Write a file of hypotheses."""
    path = folder / "mine.toml"
    path.write_text(f'name = "mine"\ntitle = "Mine"\n{head}\n' + "\n\n".join(hypotheses) + "\n", encoding="utf-8")
    return path
