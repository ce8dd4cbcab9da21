"""Metric cards: `metrics/<name>.md`, TOML between two `+++` lines, then the account of the metric for people."""

import math
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blendbench.core.errors import UsageError
from blendbench.core.shipped import shipped

FENCE = "+++"


class Card(BaseModel):
    """The front matter of a metric card, and the text below it.

    `range` are the least and greatest possible values (`inf` is allowed), `margin` the change that matters in practice,
    `decimals` how many digits are worth printing, `unscorable` the images that the metric is not defined for,
    `threshold` the value from which an image alone counts as positive, `experimental` that no validation backs it yet.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    version: int = Field(ge=1)
    kind: Literal["artifact", "drift", "adherence", "reference", "effect", "diagnostic"]
    direction: Literal["lower", "higher", "none"]
    unit: str
    range: tuple[float, float] = Field(strict=False)
    needs: tuple[str, ...] = Field(strict=False)
    margin: float = Field(ge=0)
    decimals: int = Field(ge=0, le=9)
    weights_licence: str
    unscorable: str
    threshold: float | None = None
    experimental: bool = False
    text: str = Field(repr=False)

    @model_validator(mode="after")
    def _range_is_ordered(self) -> "Card":
        low, high = self.range
        if math.isnan(low) or math.isnan(high) or low >= high:
            raise ValueError(f"range: {list(self.range)} is not [least, greatest]")
        if self.name in ("score", "overall"):
            raise ValueError(f"name: {self.name!r} says nothing; name what is measured")
        return self


def read_card(path: Path) -> Card:
    """Read and check one card. Errors: UsageError that names the file and the field."""
    if not path.is_file():
        raise UsageError(f"{path}: no such metric card; write one with TOML front matter between two {FENCE} lines")
    head, fence, rest = path.read_text(encoding="utf-8").partition(f"{FENCE}\n")
    front, end, text = rest.partition(f"\n{FENCE}\n")
    if head or not fence or not end:
        raise UsageError(f"{path}: the card must begin with TOML front matter between two {FENCE} lines")
    try:
        card = Card(**tomllib.loads(front), text=text.strip())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: front matter is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {field + ': ' if field else ''}{first['msg']}") from error
    if card.name != path.stem:
        raise UsageError(f"{path}: name = {card.name!r} differs from the file name; a card is called <name>.md")
    return card


@cache
def card_of(name: str) -> Card:
    """The shipped card of one metric."""
    return read_card(shipped("metrics") / f"{name}.md")


def all_cards() -> dict[str, Card]:
    """Every shipped card by metric name, sorted by name; needs no torch."""
    return {path.stem: card_of(path.stem) for path in sorted(shipped("metrics").glob("*.md"))}


def range_of(name: str) -> tuple[float, float]:
    """The least and greatest possible value of a metric; without bounds if it has no shipped card."""
    card = all_cards().get(name)
    return (-math.inf, math.inf) if card is None else card.range


def changes_of(name: str) -> tuple[float, float]:
    """The least and greatest possible difference between two values of a metric."""
    low, high = range_of(name)
    return low - high, high - low
