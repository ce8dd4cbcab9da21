"""A results folder with known effects, for the tests of results and reports."""

import functools
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blendbench.results.shards import ShardWriter, shard_paths

SUITE = hashlib.sha256(b"suite").hexdigest()
MODELS = hashlib.sha256(b"models").hexdigest()
SAMPLER = hashlib.sha256(b"sampler").hexdigest()
CARDS = [
    {"metric": "attribute_adherence", "title": "Attribute adherence", "role": "prompt", "direction": "higher"}
    | {"unit": "mean probability", "decimals": 3, "low": 0.0, "high": 1.0, "margin": 0.02},
    {"metric": "clip_cosine", "title": "CLIP cosine", "role": "prompt", "direction": "higher"}
    | {"unit": "cosine", "decimals": 3, "low": -1.0, "high": 1.0, "margin": 0.01},
    {"metric": "siglip_cosine", "title": "SigLIP cosine", "role": "prompt", "direction": "higher"}
    | {"unit": "cosine", "decimals": 3, "low": -1.0, "high": 1.0, "margin": 0.01},
    {"metric": "grid_energy", "title": "Grid energy", "role": "artifact", "direction": "lower"}
    | {"unit": "share", "decimals": 4, "low": 0.0, "high": 1.0, "margin": 0.005},
    {"metric": "blockiness", "title": "Blockiness", "role": "artifact", "direction": "lower"}
    | {"unit": "log ratio", "decimals": 3, "low": -10.0, "high": 10.0, "margin": 0.02},
    {"metric": "color_drift", "title": "Colour drift", "role": "drift", "direction": "lower"}
    | {"unit": "OKLab (a, b)", "decimals": 4, "low": 0.0, "high": 0.7, "margin": 0.01},
    {"metric": "effect_size", "title": "Effect size", "role": "diagnostic", "direction": "none"}
    | {"unit": "grey levels", "decimals": 2, "low": 0.0, "high": 255.0, "margin": 1.0},
    {"metric": "reference_style", "title": "Reference style", "role": "gain", "direction": "higher"}
    | {"unit": "probability", "decimals": 3, "low": 0.0, "high": 1.0, "margin": 0.02},
    {"metric": "probe_margin", "title": "Probe margin", "role": "diagnostic", "direction": "none"}
    | {"unit": "", "decimals": 3, "margin": 0.0},
]
PAIRED = ("color_drift", "effect_size")
# label -> (strategy, params, control, damage): damage lowers adherence and raises artifacts, in known steps.
CONFIGURATIONS: dict[str, tuple[str, Any, bool, float]] = {
    "text_only": ("text_only", {}, False, 0.0),
    "vision_only": ("vision_only", {"layer": -2}, False, 0.75),
    "style_delta:alpha=0.3": ("style_delta", {"alpha": 0.3}, False, 0.1),
    "adain_dim:alpha=0.3": ("adain_dim", {"alpha": 0.3}, False, 0.3),
    "adain_token:alpha=0.3": ("adain_token", {"alpha": 0.3}, False, 0.0),  # a no-op: same conditioning as text_only
    "outlier_mask:alpha=0.3": ("outlier_mask", {"alpha": 0.3}, False, 0.2),  # incomplete: two failed cells
    "self_alignment": ("self_alignment", {"alpha": 0.3}, True, 0.05),
    "canary": ("canary", {}, True, 1.0),
} | {
    f"lerp:alpha={alpha},align={align}": ("lerp", {"alpha": alpha, "align": align}, False, alpha * scale)
    for align, scale in (("area", 0.6), ("interpolate", 0.8))
    for alpha in (0.1, 0.3, 0.5, 0.8)
}
NO_OP, INCOMPLETE = "adain_token:alpha=0.3", "outlier_mask:alpha=0.3"


@contextmanager
def white_plots() -> Iterator[None]:
    """Make all plots and paint none of them, which takes half of the time of a page."""
    import pytest
    from matplotlib.figure import Figure

    def unpainted(figure: Figure, buffer: io.BytesIO, **_: Any) -> None:
        width, height = figure.canvas.get_width_height()
        buffer.write(b"\xff" * (4 * width * height))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", unpainted)
        patch.setattr(Figure, "tight_layout", lambda *_, **__: None)
        yield


class Row(dict[str, Any]):
    """A row of a shard with its table's name; columns are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def changed(self, **changes: Any) -> "Row":
        """The same row with other values."""
        return Row(self | changes)


def shard_rows(folder: Path, table: str = "") -> list[Row]:
    """Every row that a folder's shards hold, or those of one table, oldest shard first."""
    found = []
    for path in shard_paths(folder):
        # The last line may be under way.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        if lines:
            rows = [Row(json.loads(line)) for line in lines[1:]]
            found.append((json.loads(lines[0])["sequence"], path.name, rows))
    return [row for _, _, rows in sorted(found) for row in rows if table in ("", row.table)]


def append(folder: Path, run_id: str, *rows: Row) -> None:
    """Write rows of any tables into a new shard."""
    with ShardWriter(folder, run_id) as writer:
        append_to(writer, rows)


def append_to(writer: ShardWriter, rows: Iterable[Row]) -> None:
    """Write rows of any tables, those of one table together."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row.table, []).append({name: value for name, value in row.items() if name != "table"})
    writer.append_all(groups)


def sha(*parts: object) -> str:
    """A hash that stands for one thing."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def run_rows(run_id: str = "run1", experiment: str = "core", items: int = 6, **changes: Any) -> list[Row]:
    """Return the first rows of a run over all synthetic configurations; `labels` and `metrics` say what it planned."""
    labels = changes.pop("labels", list(CONFIGURATIONS))
    versions = changes.pop("metrics", {card["metric"]: 1 for card in CARDS})
    run = {
        "run_id": run_id,
        "experiment": experiment,
        "started_at": "2026-11-20T10:00:00Z",
        "blendbench_version": "0.1.0",
        "git_commit": None,
        "model_set": "miniature",
        "model_set_sha256": MODELS,
        "suite": "miniature",
        "suite_sha256": SUITE,
        "device": "cpu",
        "dtype": "float32",
        "sampler": {"steps": 9},
        "sampler_sha256": SAMPLER,
        "baseline": "text_only",
        "environment": {"python": "3.11"},
        "items": [item_name(i) for i in range(items)],
        "seeds": [0, 1],
    }
    cards = {str(card["metric"]): card for card in CARDS}
    return [
        Row(table="runs", **(run | changes)),
        *(
            Row(
                table="planned_configurations",
                run_id=run_id,
                label=label,
                source_sha256=sha("source", label.partition(":")[0]),
            )
            for label in labels
        ),
        *(
            Row(table="metrics", **cards[name], metric_version=version, paired=name in PAIRED)
            for name, version in versions.items()
        ),
        *(
            Row(table="planned_metrics", run_id=run_id, metric=name, metric_version=version)
            for name, version in versions.items()
        ),
    ]


def item_name(index: int) -> str:
    """The id of the item."""
    return f"item-{index:02}"


def cell_row(label: str, item: str, seed: int, image: str | None, **changes: Any) -> Row:
    """A cell of a synthetic configuration; without an image it is a failed one."""
    strategy, params, control, _ = CONFIGURATIONS[label]
    conditioning = sha("conditioning", "text_only" if label == NO_OP else label, item)
    values: dict[str, Any] = {
        "cell_id": sha("cell", label, item, seed),
        "run_id": "run1",
        "experiment": "core",
        "strategy": strategy,
        "params": params,
        "label": label,
        "family": re.sub(r":?alpha=[0-9.]+,?", lambda found: ":" if found[0].endswith(",") else "", label),
        "dose": params.get("alpha"),
        "control": control,
        "item": item,
        "seed": seed,
        "suite_sha256": SUITE,
        "sampler_sha256": SAMPLER,
        "model_set_sha256": MODELS,
        "dtype": "float32",
        "status": "ok" if image else "failed",
        "error": None if image else "conditioning has NaN in 3 of 40 tokens",
        "conditioning_sha256": conditioning if image else None,
        "image_sha256": image,
        "noise_seed": 2**63 + seed,
        "tokens": 40,
        "image_tokens": None,
        "source_sha256": sha("source", strategy),
    }
    return Row(table="cells", **(values | changes))


def score_row(cell: Row, metric: str, value: float | None, baseline_image: str = "", **changes: Any) -> Row:
    """A score of a cell's image, ok if there is a value; only paired metrics take a `baseline_image`."""
    values: dict[str, Any] = {
        "cell_id": cell.cell_id,
        "metric": metric,
        "metric_version": 1,
        "image_sha256": cell.image_sha256,
        "baseline_image_sha256": baseline_image if metric in PAIRED else "",
        "value": value,
        "status": "ok" if value is not None else "failed",
        "error": None if value is not None else "boom",
    }
    return Row(table="scores", **(values | changes))


def score_rows(cell: Row, damage: float, noise: np.ndarray, lift: float, baseline_image: str) -> list[Row]:
    """Scores with known means: adherence .9 - .6 damage, grid energy .01 + .3 damage, and so on; noise is shared."""
    values = {
        "attribute_adherence": 0.9 - 0.6 * damage + 0.03 * noise[0],
        "clip_cosine": 0.3 - 0.15 * damage + 0.01 * noise[1],
        "siglip_cosine": 0.2 - 0.1 * damage + 0.01 * noise[2],
        "grid_energy": 0.01 + 0.3 * damage + 0.002 * abs(noise[3]),
        "blockiness": 0.02 + 0.8 * damage + 0.01 * noise[4],
        "color_drift": 0.2 * damage,
        "effect_size": 40 * damage,
        "reference_style": 0.15 + lift + 0.02 * noise[5],
    }
    scores = []
    for name, value in values.items():
        if name == "reference_style" and cell.item == item_name(0):
            scores.append(score_row(cell, name, None, status="unscorable", error="the style is not known"))
        else:
            scores.append(score_row(cell, name, float(value), baseline_image))
    scores.append(score_row(cell, "probe_margin", None, status="skipped", error="the model set has no probe"))
    return scores


def write_results(folder: Path, items: int = 6, images: bool = True) -> None:
    """Fill `folder` with one run of every synthetic configuration over `items` items and two seeds."""
    append(folder, "run1", *result_rows(folder, items, images))


def result_rows(folder: Path, items: int = 6, images: bool = True) -> list[Row]:
    """The rows of one run of every synthetic configuration over `items` items and two seeds; keeps the images."""
    rows = run_rows(items=items)
    rows.append(Row(table="suites", suite="miniature", suite_sha256=SUITE, version=1, title="Miniature world"))
    for strategy in dict.fromkeys(configuration[0] for configuration in CONFIGURATIONS.values()):
        rows.append(
            Row(
                table="strategies",
                strategy=strategy,
                version=1,
                source_sha256=sha("source", strategy),
                source="-",
                equation="c = t",
                doc="Doc.",
                control=strategy == "canary",
            )
        )
    for index in range(items):
        reference = _image(folder, sha("reference", index), index, 0.5) if images else sha("reference", index)
        rows.append(
            Row(
                table="items",
                suite_sha256=SUITE,
                item=item_name(index),
                prompt=f"a red circle, number {index}",
                reference_sha256=reference,
                reference_caption="stripes",
                relation="unrelated",
                reference_image=f"images/{reference[:2]}/{reference}.png" if images else None,
            )
        )
        for seed in (0, 1):
            rng = np.random.default_rng([index, seed])
            shared = rng.normal(size=6)
            baseline_image = ""
            for label, (*_, damage) in CONFIGURATIONS.items():
                failed = label == INCOMPLETE and index == 1
                made_by = "text_only" if label == NO_OP else label
                name = sha("image", made_by, index, seed)
                image = _image(folder, name, index, damage) if images else name
                baseline_image = baseline_image or image
                cell = cell_row(label, item_name(index), seed, None if failed else image)
                rows.append(cell)
                if not failed:
                    own = np.zeros(6) if label in ("text_only", NO_OP) else 0.3 * rng.normal(size=6)
                    lift = 0.5 * damage * (1 - damage)
                    rows += score_rows(cell, damage, shared + own, lift, baseline_image)
                    rows.append(
                        Row(
                            table="conditionings",
                            conditioning_sha256=cell.conditioning_sha256,
                            tokens=40,
                            dim=256,
                            mean=0.0,
                            std=1.0,
                            rms=1.0,
                        )
                    )
    rows += embedding_rows()
    cell_id = sha("cell", "canary", item_name(0), 0)
    rows.append(
        Row(
            table="cell_embeddings",
            cell_id=cell_id,
            stage="vision",
            sha256=sha("v"),
            layer=-2,
            image_sha256=sha("p"),
            prompt="red",
        )
    )
    count = items * 2 * len(CONFIGURATIONS)
    rows.append(Row(table="stage_times", run_id="run1", stage="denoise", seconds=12.5, count=count))
    return rows


def embedding_rows(analysis_id: str = "analysis1", **changes: Any) -> list[Row]:
    """An analysis of hidden states: image tokens lack dimension 4, which the text encoder's position 0 carries."""
    at = {"analysis_id": analysis_id, "layer": -2, "tokens": "vl_image", "position_0": True, "reference": "same_layer"}
    analysis = {
        "analysis_id": analysis_id,
        "started_at": "2026-11-20T10:00:00Z",
        "blendbench_version": "0.1.0",
        "git_commit": None,
        "model_set": "miniature",
        "model_set_sha256": MODELS,
        "suite": "miniature",
        "suite_sha256": SUITE,
        "items": ["item-00"],
        "layers": [-2],
        "text_layer": -2,
        "dim": 192,
        "device": "cpu",
        "dtype": "float32",
        "environment": {"python": "3.11"},
    }
    alone = at | {"reference": ""}
    return [
        embedding_value(alone | {"position_0": False, "statistic": "std", "value": 7.0, "low": 6.5, "high": 7.5}),
        embedding_value(at | {"statistic": "pearson", "value": None}),
        _dimension(alone, rank=1, dimension=9, mean=0.0, std=9.0, share=0.2),
        _dimension(
            at,
            rank=1,
            dimension=4,
            mean=1.0,
            std=64.0,
            share=0.1,
            reference_mean=925.0,
            reference_std=2752.0,
            reference_share=0.9,
            ratio=64.0 / 2752.0,
        ),
        _dimension(
            at,
            rank=2,
            dimension=8,
            mean=1.0,
            std=20.0,
            share=0.1,
            reference_mean=1.0,
            reference_std=10.0,
            reference_share=0.1,
            ratio=2.0,
        ),
        Row(table="embedding_analyses", **(analysis | changes)),
    ]


def embedding_value(values: dict[str, Any]) -> Row:
    """A row of `embedding_values`."""
    return Row(table="embedding_values", **values)


def _dimension(at: dict[str, Any], **values: Any) -> Row:
    return Row(table="embedding_dimensions", **(at | values))


def _image(folder: Path, seed: str, index: int, damage: float) -> str:
    name = hashlib.sha256(content := _png(seed, index, damage)).hexdigest()
    path = folder / "images" / name[:2] / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return name


@functools.cache
def _png(seed: str, index: int, damage: float) -> bytes:
    noise = np.random.default_rng(int(seed[:8], 16)).normal(size=(8, 8, 3))
    pixels = np.full((128, 128, 3), 235, np.float64)
    pixels[(np.mgrid[-64:64, -40 - 8 * index : 88 - 8 * index] ** 2).sum(axis=0) < 900] = (200, 40, 30)
    pixels += damage * 120 * noise.repeat(16, 0).repeat(16, 1)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
