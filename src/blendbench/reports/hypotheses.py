"""Hypotheses files: statements with the claims that decide them, written before the data are looked at."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from blendbench.core.config import NAME, Strict, read_toml, suggest
from blendbench.core.hashing import sha256_bytes
from blendbench.core.shipped import shipped
from blendbench.reports.claims import Claim

Name = Annotated[str, Field(pattern=NAME)]
Text = Annotated[str, Field(min_length=1)]


class Hypothesis(Strict):
    """A statement, supported if all its claims are, refuted if one is.

    docs/hypotheses.md explains the fields. `presupposes`: ids before it that must be supported, else it cannot occur
    here. `built_in`: the loss that trains it into some models; there it is no finding (`trained_to_show`).
    """

    id: Name
    theme: Text
    statement: Text
    source: Text
    claims: list[Claim] = Field(min_length=1)
    presupposes: list[Name] = Field(default_factory=list)
    built_in: str = ""
    limits: str = ""
    if_supported: str = ""
    if_refuted: str = ""


class Open(Strict):
    """A question that no experiment can decide, and why."""

    source: Text
    question: Text
    why: Text


class HypothesesFile(Strict):
    """A hypotheses file; `headlines`: ids, those of most interest first."""

    name: Name = "findings"
    title: Text
    about: str = ""
    hypotheses: list[Hypothesis] = Field(alias="hypothesis", min_length=1)
    open_questions: list[Open] = Field(default=[], alias="open")
    headlines: list[Name] = Field(default_factory=list)

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> "HypothesesFile":
        known: list[str] = []
        wrong = []
        for hypothesis in self.hypotheses:
            if hypothesis.id in known:
                wrong.append(f"{hypothesis.id}: the id occurs twice")
            wrong += [
                f"{hypothesis.id}: presupposes {name!r}, which does not stand before it{suggest(name, known)}"
                for name in hypothesis.presupposes
                if name not in known
            ]
            known.append(hypothesis.id)
        wrong += [
            f"headlines: there is no hypothesis {name!r}{suggest(name, known)}"
            for name in self.headlines
            if name not in known
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def shipped_hypotheses() -> Path:
    """Return the path of the shipped file."""
    return shipped("bench") / "hypotheses.toml"


def read_hypotheses(path: Path) -> tuple[HypothesesFile, str]:
    """Read a file; return it with the sha256 of its bytes."""
    file = read_toml(path, HypothesesFile)
    return file, sha256_bytes(path.read_bytes())
