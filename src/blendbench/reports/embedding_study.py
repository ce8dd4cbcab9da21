"""One analysis of hidden states as read from the database."""

import json
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

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
    """A statistic and its 95 % interval over items; None where there is none."""

    value: float | None
    low: float | None
    high: float | None


ABSENT = Value(None, None, None)
Place = tuple[int, str, bool, str, str]  # layer, tokens, position_0, reference, statistic


@dataclass(frozen=True)
class Study:
    """What was analysed, its values by place, and the dimensions that stand out, in the order of their ranks."""

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
    dimensions: pd.DataFrame

    @property
    def shown_layer(self) -> int:
        """The layer of the tables: the one that conditionings are made from, if it was analysed."""
        return self.text_layer if self.text_layer in self.layers else self.layers[0]

    def get(
        self, tokens: str, statistic: str, position_0: bool, reference: str = "", layer: int | None = None
    ) -> Value:
        """A statistic, at the shown layer unless another is named."""
        return self.values.get(
            (self.shown_layer if layer is None else layer, tokens, position_0, reference, statistic), ABSENT
        )

    @property
    def kinds(self) -> list[str]:
        """The kinds of token that there are, in the order of tables; few items have no halves."""
        found = {tokens for _, tokens, *_ in self.values}
        return [tokens for tokens in NAMES if tokens in found]

    def has_position_0(self, tokens: str) -> bool:
        """Whether position 0 is of this kind; if not, its own statistics are the same with and without."""
        with_it, without = (self.get(tokens, "tokens", position_0).value for position_0 in (True, False))
        return with_it != without

    def standing_out(self, tokens: str, position_0: bool, reference: str) -> pd.DataFrame:
        """The ranked dimensions of one kind of token at the shown layer."""
        d = self.dimensions
        chosen = (d["tokens"] == tokens) & (d["position_0"] == position_0) & (d["reference"] == reference)
        return d[chosen & (d["layer"] == self.shown_layer)].sort_values("rank")


def latest_analysis(results: Results, model_set_sha256: str) -> str | None:
    """The id of the latest analysis of these models, or None."""
    rows = results.query(
        "SELECT analysis_id FROM embedding_analyses WHERE model_set_sha256 = ? ORDER BY sequence DESC LIMIT 1",
        [model_set_sha256],
    )
    return None if rows.empty else str(rows["analysis_id"].iloc[0])


def read_study(results: Results, analysis_id: str | None = None) -> Study:
    """An analysis, by default the latest. Errors: UsageError if there is none."""
    rows = results.query(
        "FROM embedding_analyses WHERE ? IS NULL OR analysis_id = ? ORDER BY sequence DESC, analysis_id DESC LIMIT 1",
        [analysis_id, analysis_id],
    )
    if rows.empty:
        raise UsageError("no analysis of hidden states here; make one with `blendbench embeddings`")
    row = rows.iloc[0]
    values = results.query("FROM embedding_values WHERE analysis_id = ?", [row["analysis_id"]])
    dimensions = results.query("FROM embedding_dimensions WHERE analysis_id = ?", [row["analysis_id"]])
    return Study(
        analysis_id=row["analysis_id"],
        model_set=row["model_set"],
        model_set_sha256=row["model_set_sha256"],
        suite=row["suite"],
        suite_sha256=row["suite_sha256"],
        items=len(json.loads(row["items"])),
        layers=tuple(json.loads(row["layers"])),
        text_layer=int(row["text_layer"]),
        dim=int(row["dim"]),
        values={
            (int(r.layer), r.tokens, bool(r.position_0), r.reference, r.statistic): Value(
                *(None if pd.isna(v) else float(v) for v in (r.value, r.low, r.high))
            )
            for r in values.itertuples()
        },
        dimensions=dimensions,
    )
