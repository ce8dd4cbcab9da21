"""Metric cards: TOML between `+++` lines, then a description."""

import math
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from blendbench.core.config import suggest
from blendbench.core.errors import UsageError, one_line
from blendbench.core.metric_info import ROLES, Direction, MetricInfo, Role
from blendbench.core.shipped import shipped

FENCE = "+++"
_LONGEST_MESSAGE = 300


class Card(BaseModel):
    """Hold the front matter of a metric card and the text below it.

    The fields of MetricInfo, and: `needs` the inputs that the function reads, `unscorable` the images that the metric
    is not defined for, `weights_licence` the licence of the judging network's weights, `experimental` whether no
    validation backs the metric yet. `paired` follows from `needs` and need not be stated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    title: str = Field(pattern=r"\S")
    version: int = Field(ge=1, lt=2**31)
    role: Role
    direction: Direction
    unit: str
    range: tuple[float, float] = Field(strict=False)
    needs: tuple[str, ...] = Field(strict=False, min_length=1)
    margin: float = Field(ge=0, allow_inf_nan=False)
    decimals: int = Field(ge=0, le=9)
    weights_licence: str = "none"
    unscorable: str = "the metric is not defined for this image"
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    experimental: bool = False
    paired: bool | None = None
    text: str = Field(repr=False)

    @model_validator(mode="after")
    def _is_consistent(self) -> "Card":
        low, high = self.range
        if math.isnan(low) or math.isnan(high) or low >= high:
            raise ValueError(f"range: {list(self.range)} is not [least, greatest]")
        if self.name in ("score", "overall"):
            raise ValueError(f"name: {self.name!r} says nothing; name what is measured")
        return self

    def info(self, paired: bool) -> MetricInfo:
        """Return what the database stores of the metric."""
        return MetricInfo(
            name=self.name,
            version=self.version,
            title=self.title,
            role=self.role,
            direction=self.direction,
            unit=self.unit,
            range=self.range,
            margin=self.margin,
            decimals=self.decimals,
            paired=paired,
            threshold=self.threshold,
        )


def make_card(where: str, fields: dict[str, Any]) -> Card:
    """Check the fields of a card.

    Errors: UsageError in one line that begins with `where`.
    """
    try:
        return Card(**fields)
    except ValidationError as error:
        # A misspelt key first, then the field that is missing because of it.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"unknown key{suggest(field, list(Card.model_fields))}"
        elif field == "role" and first["type"] != "missing":
            message = f"{str(first['input'])[:50]!r} is not one of {', '.join(ROLES)}"
        raise UsageError(
            f"{where}: {one_line(f'{field}: {message}' if field else message, _LONGEST_MESSAGE)}"
        ) from error


def read_card(path: Path) -> Card:
    """Read and check one card.

    Errors: UsageError naming the file and the field.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such metric card; write one with TOML front matter between two {FENCE} lines")
    try:
        head, fence, rest = path.read_text(encoding="utf-8-sig").partition(f"{FENCE}\n")
        front, end, text = rest.partition(f"\n{FENCE}\n")
        if head or not fence or not end:
            raise UsageError(f"{path}: the card must begin with TOML front matter between two {FENCE} lines")
        fields = tomllib.loads(front)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text: {one_line(error, _LONGEST_MESSAGE)}; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        # Besides its own error, tomllib raises these for numbers of thousands of digits and for deep nesting.
        raise UsageError(f"{path}: front matter is not TOML: {one_line(error, _LONGEST_MESSAGE)}") from error
    card = make_card(str(path), fields | {"text": text.strip()})
    if card.name != path.stem:
        raise UsageError(f"{path}: name = {card.name!r} differs from the file name; a card is called <name>.md")
    return card


@cache
def card_of(name: str) -> Card:
    """Read the shipped card of one metric."""
    return read_card(shipped("metrics") / f"{name}.md")
