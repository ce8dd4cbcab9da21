"""Configuration files: what is wrong is reported in one line, whatever bytes they hold."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from blendbench.core.config import read_toml, suggest
from blendbench.core.errors import UsageError, one_line


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    steps: int = 1


def written(folder: Path, content: bytes) -> Path:
    path = folder / "settings.toml"
    path.write_bytes(content)
    return path


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert read_toml(written(tmp_path, b'\xef\xbb\xbfname = "a"\n'), Settings).name == "a"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"name = ", "not valid TOML"),
        (b"name = \xff", "not valid TOML"),
        (b"name = " + b"[" * 5000, "nested too deeply"),
        (b"name = 'a'\nsteps = " + b"9" * 5000, "not valid TOML"),
        (b"name = 'a'\nstep = 1", "did you mean 'steps'"),
        (b"name = 'a'\nsteps = 'x'", "steps: "),
        (b"name = 'a'\n'" + b"k" * 100_000 + b"' = 1", "unknown key"),
        (b'name = "a"\n"new\\nline" = 1', "unknown key"),
        (b"name = 'a'\n[steps]\nname = 1", "steps"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read_toml(written(tmp_path, content), Settings)
    assert str(tmp_path / "settings.toml") in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 1000


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path, tmp_path / "missing.toml", tmp_path / "pipe.toml"):
        with pytest.raises(UsageError, match=r"name a file|no such file"):
            read_toml(path, Settings)


def test_one_line_is_printable_and_short() -> None:
    assert one_line("a\n b\tc") == "a b c"
    assert one_line("\x1b[31mred") == "\\x1b[31mred"
    assert len(one_line("x" * 10_000)) == 500


def test_a_key_of_another_table_is_not_suggested_as_itself() -> None:
    assert "did you mean" not in suggest("steps", ["steps", "title"])
    assert "did you mean 'steps'" in suggest("step", ["steps", "title"])
