"""A results folder with known effects, for the tests of results and reports."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from blendbench.results.records import (
    CellEmbeddingRecord,
    CellRecord,
    ConditioningRecord,
    EmbeddingAnalysisRecord,
    EmbeddingDimensionRecord,
    EmbeddingValueRecord,
    ItemRecord,
    Record,
    RunRecord,
    ScoreRecord,
    StageTimeRecord,
    StrategyRecord,
    SuiteRecord,
)
from blendbench.results.shards import ShardWriter

SUITE = hashlib.sha256(b"suite").hexdigest()
MODELS = hashlib.sha256(b"models").hexdigest()
SAMPLER = hashlib.sha256(b"sampler").hexdigest()
CARDS = [
    {"name": "attribute_adherence", "title": "Attribute adherence", "kind": "adherence", "direction": "higher"}
    | {"unit": "mean probability", "decimals": 3, "margin": 0.02},
    {"name": "clip_cosine", "title": "CLIP cosine", "kind": "adherence", "direction": "higher"}
    | {"unit": "cosine", "decimals": 3, "margin": 0.01},
    {"name": "siglip_cosine", "title": "SigLIP cosine", "kind": "adherence", "direction": "higher"}
    | {"unit": "cosine", "decimals": 3, "margin": 0.01},
    {"name": "grid_energy", "title": "Grid energy", "kind": "artifact", "direction": "lower"}
    | {"unit": "share", "decimals": 4, "margin": 0.005},
    {"name": "blockiness", "title": "Blockiness", "kind": "artifact", "direction": "lower"}
    | {"unit": "log ratio", "decimals": 3, "margin": 0.02},
    {"name": "color_drift", "title": "Colour drift", "kind": "drift", "direction": "lower"}
    | {"unit": "OKLab (a, b)", "decimals": 4, "margin": 0.01},
    {"name": "effect_size", "title": "Effect size", "kind": "effect", "direction": "none"}
    | {"unit": "grey levels", "decimals": 2, "margin": 1.0},
    {"name": "reference_style", "title": "Reference style", "kind": "reference", "direction": "higher"}
    | {"unit": "probability", "decimals": 3, "margin": 0.02},
]
# label -> (strategy, params, control, damage): damage lowers adherence and raises artifacts, in known steps.
CONFIGURATIONS: dict[str, tuple[str, dict[str, object], bool, float]] = {
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


def sha(*parts: object) -> str:
    """A hash that stands for one thing."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def run_record(run_id: str = "run1", experiment: str = "core", items: int = 6, **changes: object) -> RunRecord:
    """The first record of a run over all synthetic configurations."""
    values: dict[str, object] = {
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
        "environment": {"python": "3.11"},
        "metrics": {card["name"]: 1 for card in CARDS},
        "metric_cards": [{**card, "version": 1} for card in CARDS],
        "plan": {"items": [item_name(i) for i in range(items)], "seeds": [0, 1], "labels": list(CONFIGURATIONS)},
    }
    return RunRecord(**(values | changes))  # type: ignore[arg-type]


def item_name(index: int) -> str:
    """The id of the item."""
    return f"item-{index:02}"


def cell_record(label: str, item: str, seed: int, image: str | None, **changes: object) -> CellRecord:
    """A cell of a synthetic configuration; without an image it is a failed one."""
    strategy, params, control, _ = CONFIGURATIONS[label]
    conditioning = sha("conditioning", "text_only" if label == NO_OP else label, item)
    values: dict[str, object] = {
        "cell_id": sha("cell", label, item, seed),
        "run_id": "run1",
        "experiment": "core",
        "strategy": strategy,
        "params": params,
        "label": label,
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
        "source_sha256": sha("source", strategy),
    }
    return CellRecord(**(values | changes))  # type: ignore[arg-type]


def score_records(cell: CellRecord, damage: float, noise: np.ndarray, lift: float) -> list[ScoreRecord]:
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
            scores.append(ScoreRecord(cell.cell_id, name, 1, None, "unscorable", "the style is not known"))
        else:
            scores.append(ScoreRecord(cell.cell_id, name, 1, float(value), "ok"))
    scores.append(ScoreRecord(cell.cell_id, "probe_margin", 1, None, "skipped", "the model set has no probe"))
    return scores


def write_results(folder: Path, items: int = 6, images: bool = True) -> None:
    """Fill `folder` with one run of every synthetic configuration over `items` items and two seeds."""
    records: list[Record] = [run_record(items=items), SuiteRecord("miniature", SUITE, 1, "Miniature world")]
    for strategy in dict.fromkeys(configuration[0] for configuration in CONFIGURATIONS.values()):
        records.append(StrategyRecord(strategy, 1, sha("source", strategy), "-", "c = t", "Doc.", strategy == "canary"))
    for index in range(items):
        reference = _image(folder, sha("reference", index), index, 0.5) if images else sha("reference", index)
        records.append(
            ItemRecord(SUITE, item_name(index), f"a red circle, number {index}", reference, "stripes", "unrelated")
            if not images
            else ItemRecord(
                SUITE,
                item_name(index),
                f"a red circle, number {index}",
                reference,
                "stripes",
                "unrelated",
                reference_image=f"images/{reference[:2]}/{reference}.png",
            )
        )
        for seed in (0, 1):
            rng = np.random.default_rng([index, seed])
            shared = rng.normal(size=6)
            for label, (*_, damage) in CONFIGURATIONS.items():
                failed = label == INCOMPLETE and index == 1
                drawn = "text_only" if label == NO_OP else label
                name = sha("image", drawn, index, seed)
                image = _image(folder, name, index, damage) if images else name
                cell = cell_record(label, item_name(index), seed, None if failed else image)
                records.append(cell)
                if not failed:
                    own = np.zeros(6) if label in ("text_only", NO_OP) else 0.3 * rng.normal(size=6)
                    lift = 0.5 * damage * (1 - damage)
                    records += score_records(cell, damage, shared + own, lift)
                    records.append(ConditioningRecord(cell.conditioning_sha256 or "", 40, 256, 0.0, 1.0, 1.0))
    records += embedding_records()
    records.append(CellEmbeddingRecord(sha("cell", "canary", item_name(0), 0), "vision", sha("v"), -2, sha("p"), "red"))
    records.append(StageTimeRecord("run1", "denoise", 12.5, items * 2 * len(CONFIGURATIONS)))
    with ShardWriter(folder, "run1") as writer:
        writer.append(records)


def embedding_records(analysis_id: str = "analysis1", started_at: str = "2026-11-20T10:00:00Z") -> list[Record]:
    """An analysis of hidden states: image tokens lack dimension 4, which the text encoder's position 0 carries."""
    at = (analysis_id, -2, "vl_image")
    return [
        EmbeddingValueRecord(*at, False, "", "std", 7.0, 6.5, 7.5),
        EmbeddingValueRecord(*at, True, "same_layer", "pearson", None),
        EmbeddingDimensionRecord(*at, True, "", 1, 9, 0.0, 9.0, 0.2),
        EmbeddingDimensionRecord(*at, True, "same_layer", 1, 4, 1.0, 64.0, 0.1, 925.0, 2752.0, 0.9, 64.0 / 2752.0),
        EmbeddingDimensionRecord(*at, True, "same_layer", 2, 8, 1.0, 20.0, 0.1, 1.0, 10.0, 0.1, 2.0),
        EmbeddingAnalysisRecord(
            analysis_id=analysis_id,
            started_at=started_at,
            blendbench_version="0.1.0",
            git_commit=None,
            model_set="miniature",
            model_set_sha256=MODELS,
            suite="miniature",
            suite_sha256=SUITE,
            items=["item-00"],
            layers=[-2],
            text_layer=-2,
            dim=192,
            device="cpu",
            dtype="float32",
            environment={"python": "3.11"},
        ),
    ]


def _image(folder: Path, seed: str, index: int, damage: float) -> str:
    rng = np.random.default_rng(int(seed[:8], 16))
    pixels = np.full((128, 128, 3), 235, np.float64)
    rows, columns = np.mgrid[:128, :128]
    pixels[(rows - 64) ** 2 + (columns - 40 - 8 * index) ** 2 < 900] = (200, 40, 30)
    pixels += damage * 120 * rng.normal(size=(8, 8, 3)).repeat(16, 0).repeat(16, 1)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    name = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = folder / "images" / name[:2] / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return name
