"""Encode a suite once, then compute statistics by layer and kind of token."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

import blendbench
from blendbench.core.errors import UsageError
from blendbench.core.files import write_atomically
from blendbench.core.hashing import sha256_json
from blendbench.core.suites import Item, Suite
from blendbench.core.tokens import Kind, Tokens, select
from blendbench.core.version import commit
from blendbench.models.sets import ModelSet
from blendbench.results.shards import ShardWriter, shard_paths
from blendbench.results.store import ingest, open_results
from blendbench.run.embeddings import Embeddings, EncodingError
from blendbench.run.inputs import View, deepstack_marks
from blendbench.run.lock import folder_lock
from blendbench.run.progress import Reporter
from blendbench.run.provenance import environment
from blendbench.stats.hidden_states.layer import (
    Dimension,
    Estimates,
    Summary,
    largest_dimensions,
    outlier_dimensions,
    own_statistics,
    reference_statistics,
    summarise,
    word_cosine,
)
from blendbench.stats.hidden_states.spread import Array

VERSION = 1  # of the statistics: a change of any makes earlier analyses others
SEED_LAYERS = (-1, -2, -4, -6, -8, -16, -24)  # those that the seed document and its successors looked at
KEPT = 16  # dimensions kept of each ranking
REFERENCE = "text_encoder"
HALVES = "text_encoder_halves"
Rows = dict[bool, list[Array]]  # with and without position 0: one array (tokens, dim) an item
Found = tuple[str, str, Estimates, list[Dimension]]  # tokens, reference, statistics, dimensions that stand out


@dataclass(frozen=True)
class Analysis:
    """The scope of an analysis: `layers`, and the suite's first `items`."""

    models: ModelSet
    suite: Suite
    items: tuple[Item, ...]
    layers: tuple[int, ...]

    @property
    def analysis_id(self) -> str:
        """Hash of everything that the numbers follow from."""
        asked = [VERSION, self.models.sha256, self.suite.sha256, [item.id for item in self.items], list(self.layers)]
        return sha256_json(["embeddings", *asked, *deepstack_marks(self.models.facts, self.layers)])

    @property
    def text_layer(self) -> int:
        """Return the text encoder's layer of conditionings."""
        return self.models.file.text.layer


def plan_analysis(models: ModelSet, suite: Suite, items: int | None, layers: tuple[int, ...] | None) -> Analysis:
    """Check layers and device before anything is loaded. Errors: UsageError."""
    models.check()
    _ = models.device
    states = models.facts.hidden_states
    chosen = layers or tuple(layer for layer in SEED_LAYERS if layer >= -states)
    for layer in chosen:
        if not -states <= layer <= -1:
            raise UsageError(f"--layers: {layer} is outside {-states}..-1, what {models.name} has; -1 is the last")
    return Analysis(models, suite, suite.items[:items], tuple(dict.fromkeys(chosen)))


def run_analysis(analysis: Analysis, results: Path, reporter: Reporter, statistics: Path | None = None) -> bool:
    """Bring an analysis into the database of `results`, unless it is there.

    False if it was. `statistics`: where the means and standard deviations are written too. Errors: UsageError (a prompt
    that cannot be encoded, another run in the folder).
    """
    with folder_lock(results):
        shard = f"embeddings-{analysis.analysis_id[:16]}-{uuid.uuid4().hex[:8]}"
        question = "SELECT count(*) FROM embedding_analyses WHERE analysis_id = ?"
        known = shard_paths(results) and open_results(results).rows(question, [analysis.analysis_id]) != [(0,)]
        fresh = not known
        if fresh or statistics is not None:
            embeddings = Embeddings(results / "embeddings", analysis.models)
            outcome = analyse(analysis, embeddings, reporter)
            if fresh:
                with ShardWriter(results, shard) as writer:
                    writer.append_all(outcome.rows)
            if statistics is not None:
                save_statistics(statistics, analysis, outcome.arrays)
        ingest(results)
    return fresh


@dataclass
class Outcome:
    """An analysis's rows by table, and mean and std (dim,) of each kind."""

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    def add(
        self, analysis_id: str, place: tuple[int, str, bool, str], estimates: Estimates, dimensions: list[Dimension]
    ) -> None:
        """Add the rows of one layer, kind of token, position 0 and reference."""
        at = dict(zip(("layer", "tokens", "position_0", "reference"), place, strict=True)) | {
            "analysis_id": analysis_id
        }
        self.rows.setdefault("embedding_values", []).extend(
            {**at, "statistic": name, "value": e.value, "low": e.low, "high": e.high} for name, e in estimates.items()
        )
        self.rows.setdefault("embedding_dimensions", []).extend(
            {**at, "rank": rank, **asdict(dimension)} for rank, dimension in enumerate(dimensions, start=1)
        )


def analyse(analysis: Analysis, embeddings: Embeddings, reporter: Reporter) -> Outcome:
    """Encode what is missing, then analyse one layer at a time.

    Only one layer's rows are in memory. Errors: UsageError for a prompt or image that cannot be encoded.
    """
    began = datetime.now(UTC)
    outcome = Outcome()
    with reporter:
        _encode(analysis, embeddings, reporter)
        anchor = _summaries(_text_rows(analysis, embeddings, analysis.text_layer), REFERENCE)
        stage = reporter.stage("layers", len(analysis.layers))
        for layer in analysis.layers:
            rows = _layer_rows(analysis, embeddings, layer)
            groups = {tokens: _summaries(both, f"{tokens}, layer {layer}") for tokens, both in rows.items()}
            _check_dimensions(groups)
            for position_0 in (True, False):
                at = {tokens: both[position_0] for tokens, both in groups.items()}
                for tokens, reference, estimates, dimensions in (
                    *_statistics(at, anchor[position_0], layer == analysis.text_layer),
                    *_halves(rows[REFERENCE][position_0]),
                ):
                    place = (layer, tokens, position_0, reference)
                    outcome.add(analysis.analysis_id, place, estimates, dimensions)
                words = word_cosine(rows["vl_text"][position_0], rows[REFERENCE][position_0])
                outcome.add(
                    analysis.analysis_id, (layer, "vl_text", position_0, "same_layer"), {"word_cosine": words}, []
                )
                outcome.arrays |= _arrays(at, layer, position_0)
            stage.advance(1)
    dim = len(anchor[True].pooled.mean)
    # Written last, so that it says that the analysis is whole.
    outcome.rows["embedding_analyses"] = [_analysis_row(analysis, began, dim)]
    return outcome


def save_statistics(path: Path, analysis: Analysis, arrays: dict[str, Array]) -> None:
    """Write means and deviations (dim,) as float64 safetensors, atomically.

    Tensors are called `<tokens>.layer<layer>.<with|without>_position_0.<mean|std>`; the metadata says of what they are.
    Errors: UsageError if the file cannot be written.
    """
    metadata = {
        "analysis_id": analysis.analysis_id,
        "model_set": analysis.models.name,
        "model_set_sha256": analysis.models.sha256,
        "suite": analysis.suite.name,
        "suite_sha256": analysis.suite.sha256,
        "items": str(len(analysis.items)),
        "layers": ",".join(map(str, analysis.layers)),
        "text_layer": str(analysis.text_layer),
    }
    content = save({name: np.ascontiguousarray(values) for name, values in arrays.items()}, metadata)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--save-statistics {path}: cannot be written: {error.strerror}") from error
    write_atomically(path, content)


def _encode(analysis: Analysis, embeddings: Embeddings, reporter: Reporter) -> None:
    wanted: dict[View, set[int]] = {}
    for item in analysis.items:
        wanted.setdefault(View(item.prompt), {analysis.text_layer}).update(analysis.layers)
        wanted.setdefault(View(item.prompt, item.reference), set()).update(analysis.layers)
    missing = {view: found for view, layers in wanted.items() if (found := embeddings.missing_layers(view, layers))}
    if missing:
        progress = reporter.stage("encode", len(missing))
        for view, layers in missing.items():
            embeddings.encode(view, layers)
            progress.advance(1)


def _text_rows(analysis: Analysis, embeddings: Embeddings, layer: int) -> Rows:
    found = []
    for item in analysis.items:
        with _naming_the_item(item):
            found.append(embeddings.tokens(View(item.prompt), layer))
    return _both(found)


def _layer_rows(analysis: Analysis, embeddings: Embeddings, layer: int) -> dict[str, Rows]:
    vision = []
    for item in analysis.items:
        with _naming_the_item(item):
            vision.append(embeddings.tokens(View(item.prompt, item.reference), layer))
    return {
        REFERENCE: _text_rows(analysis, embeddings, layer),
        "vl_text": _both([select(tokens, "text") for tokens in vision]),
        "vl_image": _both([select(tokens, "image_no_markers") for tokens in vision]),
        "vl_markers": _both([_markers(tokens) for tokens in vision]),
    }


@contextmanager
def _naming_the_item(item: Item) -> Iterator[None]:
    try:
        yield
    except EncodingError as error:
        raise UsageError(f"item {item.id}: {error}; leave it out with another --suite or fewer --items") from error


def _markers(tokens: Tokens) -> Tokens:
    keep = tokens.kinds == int(Kind.MARKER)
    return Tokens(tokens.hidden[keep], tokens.kinds[keep])


def _both(sequences: list[Tokens]) -> Rows:
    """Return rows with and without position 0, the same list if it is not there."""
    whole = [tokens.hidden.numpy() for tokens in sequences]
    if all(tokens.without_sink.start == 0 for tokens in sequences):
        return {True: whole, False: whole}
    return {True: whole, False: [tokens.hidden[tokens.without_sink].numpy() for tokens in sequences]}


def _summaries(rows: Rows, of: str) -> dict[bool, Summary]:
    try:
        whole = summarise(rows[True])
        return {True: whole, False: whole if rows[False] is rows[True] else summarise(rows[False])}
    except ValueError as error:
        raise UsageError(f"hidden states of {of}: {error}") from error


def _check_dimensions(groups: dict[str, dict[bool, Summary]]) -> None:
    dims = {tokens: len(group[True].pooled.mean) for tokens, group in groups.items()}
    if len(set(dims.values())) > 1:
        raise UsageError(
            f"the text encoder's hidden states have {dims[REFERENCE]} dimensions and Qwen3-VL's {dims['vl_text']}: "
            "they can be neither compared nor blended"
        )


def _statistics(groups: dict[str, Summary], anchor: Summary, at_text_layer: bool) -> Iterator[Found]:
    """Yield the statistics of one layer, with or without position 0."""
    reference = groups[REFERENCE]
    for tokens, summary in groups.items():
        yield tokens, "", own_statistics(summary), largest_dimensions(summary.pooled, KEPT)
        if tokens != REFERENCE:
            found = _against(summary, reference)
            yield (tokens, "same_layer", *found)
            yield (tokens, "text_layer", *(found if at_text_layer else _against(summary, anchor)))
        elif not at_text_layer:
            yield (tokens, "text_layer", *_against(summary, anchor))


def _halves(rows: list[Array]) -> Iterator[Found]:
    """Compare odd items of the reference with even ones: a floor of differences."""
    pairs = len(rows) // 2
    if pairs:
        odd, even = (summarise(rows[start : 2 * pairs : 2]) for start in (1, 0))
        yield (HALVES, "same_layer", *_against(odd, even))


def _against(summary: Summary, reference: Summary) -> tuple[Estimates, list[Dimension]]:
    found = reference_statistics(summary, reference)
    return found, outlier_dimensions(summary.pooled, reference.pooled, KEPT)


def _arrays(groups: dict[str, Summary], layer: int, position_0: bool) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for tokens, summary in groups.items():
        name = f"{tokens}.layer{layer}.{'with' if position_0 else 'without'}_position_0"
        found |= {f"{name}.mean": summary.pooled.mean, f"{name}.std": summary.pooled.std}
    return found


def _analysis_row(analysis: Analysis, began: datetime, dim: int) -> dict[str, Any]:
    models, suite = analysis.models, analysis.suite
    return {
        "analysis_id": analysis.analysis_id,
        "started_at": began.isoformat(),
        "blendbench_version": blendbench.__version__,
        "git_commit": commit(),
        "model_set": models.name,
        "model_set_sha256": models.sha256,
        "suite": suite.name,
        "suite_sha256": suite.sha256,
        "items": [item.id for item in analysis.items],
        "layers": list(analysis.layers),
        "text_layer": analysis.text_layer,
        "dim": dim,
        "device": models.device,
        "dtype": models.dtype,
        "environment": environment(),
    }
