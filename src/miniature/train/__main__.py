"""Train one network: `python -m miniature.train STAGE --out DIR`.

Stages, in the order of what they need: text, vae, probe, clip, siglip (nothing); vision_language (text);
transformer (text, vae); judge (vision_language). DIR becomes a complete model set folder. A stage that is stopped goes
on from its last checkpoint (one a minute) when it is called again; one that has finished only writes its weights again.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from blendbench.models.miniature import probe
from miniature import folder
from miniature import recognition as scorers
from miniature.train import judge, recognition, text, transformer, vae, vision_language
from miniature.train.loop import Recipe

RECIPES = {
    "text": Recipe(seconds=35, learning_rate=1.5e-3, batch=512),
    "vae": Recipe(seconds=150, learning_rate=1e-3, batch=64, average=0.999),
    "vision_language": Recipe(seconds=120, learning_rate=1.5e-3, batch=256, slow=0.03),
    "transformer": Recipe(seconds=780, learning_rate=1e-3, batch=256, muon=4e-3, average=0.9995, betas=(0.9, 0.99)),
    "clip": Recipe(seconds=50, learning_rate=1e-3, batch=1024),
    "siglip": Recipe(seconds=50, learning_rate=1e-3, batch=1024),
    "judge": Recipe(seconds=1000, learning_rate=3e-4, batch=16, warmup=100),  # as it was run, on a CPU
    "probe": Recipe(seconds=25, learning_rate=2e-3, batch=256),
}
SCENES = {
    "text": 120_000,
    "vae": 60_000,
    "vision_language": 120_000,
    "transformer": 230_000,
    "clip": 200_000,
    "siglip": 200_000,
    "judge": 6_000,
    "probe": 80_000,
}


def main() -> None:
    """Train, save, and append a line to DIR/training.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, help="training time in place of the recipe's")
    parser.add_argument("--batch", type=int, help="batch size in place of the recipe's")
    parser.add_argument("--scenes", type=int, help="number of training scenes in place of the recipe's")
    parser.add_argument("--heads", type=int, default=4, help="transformer only: attention heads of 64 channels")
    parser.add_argument("--layers", type=int, default=8, help="transformer only: number of layers")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    stage, out = arguments.stage, arguments.out
    changes = {name: getattr(arguments, name) for name in ("seconds", "batch") if getattr(arguments, name) is not None}
    recipe = replace(RECIPES[stage], **changes)
    scenes = arguments.scenes or SCENES[stage]
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    if not (out / "model_set.toml").is_file():
        folder.write_scaffold(out)
    started = time.monotonic()
    workers = len(os.sched_getaffinity(0))
    size = {"heads": arguments.heads, "layers": arguments.layers} if stage == "transformer" else {}
    trained, loss = _train(stage, out, recipe, arguments.device, scenes, workers, **size)
    if stage in ("clip", "siglip"):
        scorers.save_weights(out, stage, trained)
    elif stage == "probe":
        probe.save_probe(out / "probe", trained)  # type: ignore[arg-type]
    else:
        folder.save_component(out, {"text": "text_encoder"}.get(stage, stage), trained)
    record = {
        "stage": stage,
        "scenes": scenes,
        "loss": round(loss, 5),
        "wall_seconds": round(time.monotonic() - started),
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "recipe": asdict(recipe),
    }
    with (out / "training.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record), flush=True)


def _train(
    stage: str, out: Path, recipe: Recipe, device: str, scenes: int, workers: int, **size: int
) -> tuple[nn.Module, float]:
    if stage in ("clip", "siglip"):
        return recognition.train_contrastive(stage, out, recipe, device, scenes, workers)
    stages = {
        "text": text.train,
        "vae": vae.train,
        "vision_language": vision_language.train,
        "transformer": transformer.train,
        "judge": judge.train,
        "probe": recognition.train_probe,
    }
    return stages[stage](out, recipe, device, scenes, workers, **size)


if __name__ == "__main__":
    main()
