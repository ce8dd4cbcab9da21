"""The lines that a run writes: one frozen dataclass a table, one JSON object a line with its type in `record`."""

import json
import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar, TypeAlias, get_args

from blendbench.core.hashing import canonical_json

CELL_STATUSES = ("ok", "failed")
SCORE_STATUSES = ("ok", "failed", "skipped", "unscorable")
VOTE_CHOICES = ("left", "right", "equal")


class RecordError(ValueError):
    """A record that breaks its own rules: unknown status, a value without `ok`, a number that is not finite."""


@dataclass(frozen=True)
class RunRecord:
    """One call of `blendbench run`; written first. `started_at` is ISO 8601 in UTC.

    `metrics` maps names to versions; `metric_cards` holds name, title, version, kind, direction, unit, margin and
    decimals of each. `plan` says what was meant to be there ("items", "seeds", "labels"): the reports count missing
    cells against it.
    """

    record: ClassVar[str] = "run"
    run_id: str
    experiment: str
    started_at: str
    blendbench_version: str
    git_commit: str | None
    model_set: str
    model_set_sha256: str
    suite: str
    suite_sha256: str
    device: str
    dtype: str
    sampler: dict[str, Any]
    environment: dict[str, Any]
    metrics: dict[str, int]
    metric_cards: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class SuiteRecord:
    """A frozen suite, known by its hash."""

    record: ClassVar[str] = "suite"
    suite: str
    suite_sha256: str
    version: int
    title: str


@dataclass(frozen=True)
class ItemRecord:
    """One prompt of a suite; `reference_image` is a path relative to the results folder."""

    record: ClassVar[str] = "item"
    suite_sha256: str
    item: str
    prompt: str
    reference_sha256: str
    reference_caption: str
    relation: str
    expect: dict[str, Any] | None = None
    reference_expect: dict[str, Any] | None = None
    reference_image: str | None = None


@dataclass(frozen=True)
class StrategyRecord:
    """One strategy at one state of its code."""

    record: ClassVar[str] = "strategy"
    strategy: str
    version: int
    source_sha256: str
    source: str
    equation: str
    doc: str
    control: bool


@dataclass(frozen=True)
class CellRecord:
    """Configuration x item x seed. A failed cell has an `error` and no image.

    `source_sha256` is that of the strategy's code, so that images of old and new code are not mixed in one row.
    """

    record: ClassVar[str] = "cell"
    cell_id: str
    run_id: str
    experiment: str
    strategy: str
    params: dict[str, Any]
    label: str
    control: bool
    item: str
    seed: int
    suite_sha256: str
    sampler_sha256: str
    model_set_sha256: str
    dtype: str
    status: str
    error: str | None
    conditioning_sha256: str | None
    image_sha256: str | None
    noise_seed: int
    tokens: int | None
    source_sha256: str = ""

    def __post_init__(self) -> None:
        _check_known("status", self.status, CELL_STATUSES)
        if self.status == "ok" and self.image_sha256 is None:
            raise RecordError("image_sha256 is missing though status is ok")
        if self.status == "failed" and not self.error:
            raise RecordError("error is missing though status is failed")


@dataclass(frozen=True)
class ScoreRecord:
    """One metric on one cell's image: a finite `value` exactly when `status` is ok."""

    record: ClassVar[str] = "score"
    cell_id: str
    metric: str
    metric_version: int
    value: float | None
    status: str
    error: str | None = None
    scorer_sha256: str | None = None

    def __post_init__(self) -> None:
        _check_known("status", self.status, SCORE_STATUSES)
        if (self.status == "ok") != (self.value is not None):
            raise RecordError(f"value is {self.value} though status is {self.status}; only ok scores have one")
        if self.value is not None and not math.isfinite(self.value):
            raise RecordError(f"value is {self.value}; record it as failed or unscorable")


@dataclass(frozen=True)
class StageTimeRecord:
    """Wall time of one stage of a run and how many things it handled."""

    record: ClassVar[str] = "stage_time"
    run_id: str
    stage: str
    seconds: float
    count: int


@dataclass(frozen=True)
class StageMemoryRecord:
    """The most memory that was allocated on the GPU during one stage of a run."""

    record: ClassVar[str] = "stage_memory"
    run_id: str
    stage: str
    peak_bytes: int


@dataclass(frozen=True)
class MemoryPlanRecord:
    """Which networks shared the device's memory in a run, and what that was estimated to need and given."""

    record: ClassVar[str] = "memory_plan"
    run_id: str
    residency: str
    needed_bytes: int
    budget_bytes: int | None = None


@dataclass(frozen=True)
class WeightFileRecord:
    """One file that the weights of a model set were read from; `file` is a path in the component's folder."""

    record: ClassVar[str] = "weight_file"
    model_set_sha256: str
    component: str
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class CellBatchRecord:
    """With how many images at once a cell's image was drawn."""

    record: ClassVar[str] = "cell_batch"
    cell_id: str
    run_id: str
    batch_size: int


@dataclass(frozen=True)
class ConditioningRecord:
    """What a conditioning looks like: shape and moments over all its values."""

    record: ClassVar[str] = "conditioning"
    conditioning_sha256: str
    tokens: int
    dim: int
    mean: float
    std: float
    rms: float


@dataclass(frozen=True)
class EmbeddingAnalysisRecord:
    """One analysis of hidden states: of which models, on which prompts. Written last, so that it says it is whole.

    `text_layer` is the text encoder's layer that conditionings are made from, `dim` the length of a hidden state.
    """

    record: ClassVar[str] = "embedding_analysis"
    analysis_id: str
    started_at: str
    blendbench_version: str
    git_commit: str | None
    model_set: str
    model_set_sha256: str
    suite: str
    suite_sha256: str
    items: list[str]
    layers: list[int]
    text_layer: int
    dim: int
    device: str
    dtype: str
    environment: dict[str, Any]


@dataclass(frozen=True)
class EmbeddingValueRecord:
    """One statistic of one kind of token at one layer. `low` and `high` are a 95 % interval, if there is one.

    `reference`: "" (the tokens by themselves), "same_layer" or "text_layer" of the text encoder.
    """

    record: ClassVar[str] = "embedding_value"
    analysis_id: str
    layer: int
    tokens: str
    position_0: bool
    reference: str
    statistic: str
    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class EmbeddingDimensionRecord:
    """One dimension that stands out: by its ratio of spreads, or with `reference` "" by its share of second moment."""

    record: ClassVar[str] = "embedding_dimension"
    analysis_id: str
    layer: int
    tokens: str
    position_0: bool
    reference: str
    rank: int
    dimension: int
    mean: float
    std: float
    share: float
    reference_mean: float | None = None
    reference_std: float | None = None
    reference_share: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class CellEmbeddingRecord:
    """A file of embeddings that a cell was made from: `embeddings/<sha256>.safetensors`.

    `stage`: text, vision, neutral, other, ... or conditioning; the rest says what was encoded.
    """

    record: ClassVar[str] = "cell_embedding"
    cell_id: str
    stage: str
    sha256: str
    layer: int | None = None
    image_sha256: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class VoteRecord:
    """Which of two images somebody preferred who did not know what made them; `question` is a kind of metric.

    `voted_at` is ISO 8601 in UTC; `seconds` is how long the pair was looked at.
    """

    record: ClassVar[str] = "vote"
    vote_id: str
    experiment: str
    question: str
    voter: str
    left_cell: str
    right_cell: str
    choice: str
    seconds: float
    voted_at: str

    def __post_init__(self) -> None:
        _check_known("choice", self.choice, VOTE_CHOICES)


Record: TypeAlias = (
    RunRecord
    | SuiteRecord
    | ItemRecord
    | StrategyRecord
    | CellRecord
    | ScoreRecord
    | StageTimeRecord
    | StageMemoryRecord
    | MemoryPlanRecord
    | WeightFileRecord
    | CellBatchRecord
    | ConditioningRecord
    | EmbeddingAnalysisRecord
    | EmbeddingValueRecord
    | EmbeddingDimensionRecord
    | CellEmbeddingRecord
    | VoteRecord
)
RECORD_TYPES: dict[str, type[Record]] = {kind.record: kind for kind in get_args(Record)}


def to_line(record: Record) -> str:
    """The record as one line of JSON, without the newline. Errors: RecordError on numbers that are not finite."""
    try:
        return canonical_json({"record": record.record, **asdict(record)})
    except ValueError as error:
        raise RecordError(f"{record.record} record: {error}") from error


def from_line(line: str) -> Record:
    """The record of one line. Errors: RecordError that says what is wrong with the line."""
    try:
        content = json.loads(line, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError("not a JSON object")
    kind = RECORD_TYPES.get(content.pop("record", None))
    if kind is None:
        raise RecordError(f"record: not one of {', '.join(RECORD_TYPES)}")
    known = {entry.name for entry in fields(kind)}
    required = {e.name for e in fields(kind) if e.default is MISSING and e.default_factory is MISSING}
    if unknown := sorted(set(content) - known):
        raise RecordError(f"{kind.record} record: unknown field {unknown[0]!r}; written by a newer blendbench?")
    if missing := sorted(required - set(content)):
        raise RecordError(f"{kind.record} record: field {missing[0]!r} is missing")
    return kind(**content)


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RecordError(f"{name} is {value!r}, not one of {', '.join(known)}")


def _refuse_constant(name: str) -> None:
    raise RecordError(f"{name} is not a finite number")
