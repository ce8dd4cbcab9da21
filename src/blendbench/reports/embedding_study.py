"""One analysis of hidden states as read from the database."""

import json
from dataclasses import dataclass
from typing import NamedTuple

from blendbench.core.errors import UsageError
from blendbench.results.store import Results

REFERENCE, HALVES = "text_encoder", "text_encoder_halves"
NAMES = {
    REFERENCE: "text encoder",
    "vl_text": "Qwen3-VL, text",
    "vl_image": "Qwen3-VL, image",
    "vl_markers": "Qwen3-VL, markers",
    HALVES: "text encoder, odd against even items",
}
VISION = ("vl_text", "vl_image", "vl_markers")


class Value(NamedTuple):
    """A statistic and its 95 % interval over items; None where it is unknown."""

    value: float | None
    low: float | None
    high: float | None


class Dimension(NamedTuple):
    """One outlying dimension of a kind of token, beside the text encoder's."""

    dimension: int
    ratio: float
    std: float
    reference_std: float
    share: float
    reference_share: float


ABSENT = Value(None, None, None)
Place = tuple[int, str, bool, str, str]  # layer, tokens, position_0, reference, statistic


@dataclass(frozen=True)
class Study:
    """An analysis of hidden states, and its values by place.

    `dimensions`: by kind of token those that stand out at the shown layer, without position 0, by rank.
    """

    analysis_id: str
    model_set: str
    model_set_sha256: str
    suite: str
    suite_sha256: str
    items: int
    layers: tuple[int, ...]
    text_layer: int
    dim: int
    values: dict[Place, Value]
    dimensions: dict[str, list[Dimension]]

    @property
    def shown_layer(self) -> int:
        """Return the layer of the tables, the conditionings' if analysed."""
        return _shown_layer(self.text_layer, self.layers)

    def get(
        self, tokens: str, statistic: str, position_0: bool, reference: str = "", layer: int | None = None
    ) -> Value:
        """Return a statistic, at the shown layer unless another is named."""
        return self.values.get(
            (self.shown_layer if layer is None else layer, tokens, position_0, reference, statistic), ABSENT
        )

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of token found, in table order."""
        found = {tokens for _, tokens, *_ in self.values}
        return [tokens for tokens in NAMES if tokens in found]

    def has_position_0(self, tokens: str) -> bool:
        """Return whether position 0 is of this kind, and so makes a difference."""
        with_it, without = (self.get(tokens, "tokens", position_0).value for position_0 in (True, False))
        return with_it != without

    def outlying(self, tokens: str) -> list[Dimension]:
        """Return one kind's outlying dimensions, most outlying first."""
        return self.dimensions.get(tokens, [])


def _shown_layer(text_layer: int, layers: tuple[int, ...]) -> int:
    return text_layer if text_layer in layers else layers[0]


def latest_analysis(results: Results, model_set_sha256: str) -> str | None:
    """Return the id of the latest analysis of these models, or None."""
    rows = results.rows(
        "SELECT analysis_id FROM embedding_analyses WHERE model_set_sha256 = ? ORDER BY sequence DESC LIMIT 1",
        [model_set_sha256],
    )
    return str(rows[0][0]) if rows else None


def read_study(results: Results, analysis_id: str | None = None) -> Study:
    """Read an analysis, by default the latest. Errors: UsageError if missing."""
    names = ("analysis_id", "model_set", "model_set_sha256", "suite", "suite_sha256", "text_layer", "dim")
    rows = results.rows(
        f"""
        SELECT {", ".join(names)}, items, layers FROM embedding_analyses WHERE ? IS NULL OR analysis_id = ?
        ORDER BY sequence DESC, analysis_id DESC LIMIT 1
        """,
        [analysis_id, analysis_id],
    )
    if not rows:
        raise UsageError("no analysis of hidden states here; make one with `blendbench embeddings`")
    ((*values, items, layers),) = rows
    described = dict(zip(names, values, strict=True))
    shown = tuple(json.loads(layers))
    found = described["analysis_id"]
    statistics = results.rows(
        "SELECT layer, tokens, position_0, reference, statistic, value, low, high FROM embedding_values"
        " WHERE analysis_id = ?",
        [found],
    )
    outlying = results.rows(
        """
        SELECT tokens, dimension, ratio, std, reference_std, share, reference_share FROM embedding_dimensions
        WHERE analysis_id = ? AND layer = ? AND NOT position_0 AND reference = 'same_layer' ORDER BY tokens, rank
        """,
        [found, _shown_layer(described["text_layer"], shown)],
    )
    dimensions: dict[str, list[Dimension]] = {}
    for tokens, *dimension in outlying:
        dimensions.setdefault(tokens, []).append(Dimension(*dimension))
    return Study(
        **described,
        items=len(json.loads(items)),
        layers=shown,
        values={(row[0], row[1], row[2], row[3], row[4]): Value(*row[5:]) for row in statistics},
        dimensions=dimensions,
    )
