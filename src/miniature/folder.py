"""The model set folder of the miniature, in the libraries' layouts.

Diffusers, transformers and open_clip load it by themselves.
"""

import json
from pathlib import Path
from typing import Any

from diffusers import ZImagePipeline
from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

from blendbench.models.miniature import world
from blendbench.models.miniature.world import SIZE
from miniature import architecture, recognition
from miniature.tokenizer import CHAT_TEMPLATE, judge_tokenizer, tokenizer

WEIGHTS = Path(world.__file__).parent / "weights"
MODEL_SET = f"""\
name = "miniature"
version = 1
title = "Miniature: the real classes, trained on a procedural world"
licence = "Apache-2.0"
dtype = "float32"
pipeline = "pipeline"
vision_language = "vision_language"
clip = "clip"
siglip = "siglip"
judge = "judge"
probe = "probe"
trained_to_show = ["meaning_loss", "survival_loss"]

[sampler]
height = {SIZE}
width = {SIZE}
steps = 9
guidance = 0.0

[text]
layer = -2
max_sequence_length = 64
"""


def write_scaffold(folder: Path) -> None:
    """Write the model set without weights and their configurations."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_set.toml").write_text(MODEL_SET)
    pipeline = folder / "pipeline"
    tokenizer().save_pretrained(pipeline / "tokenizer")
    architecture.scheduler().save_pretrained(pipeline / "scheduler")
    index = {
        "_class_name": ZImagePipeline.__name__,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (pipeline / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    image_processor = Qwen2VLImageProcessor(
        patch_size=16,
        temporal_patch_size=2,
        merge_size=2,
        min_pixels=SIZE**2,
        max_pixels=SIZE**2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    for name, words in (("vision_language", tokenizer()), ("judge", judge_tokenizer())):
        processor = Qwen3VLProcessor(
            image_processor=image_processor,
            tokenizer=words,
            video_processor=Qwen3VLVideoProcessor(patch_size=16, temporal_patch_size=2, merge_size=2),
            chat_template=CHAT_TEMPLATE,
        )
        processor.save_pretrained(folder / name)
    recognition.write_scaffold(folder)


def save_component(folder: Path, name: str, module: Any) -> None:
    """Save a trained network in half precision where the model set expects it.

    Errors: non-finite weights.
    """
    places = {
        "text_encoder": "pipeline/text_encoder",
        "transformer": "pipeline/transformer",
        "vae": "pipeline/vae",
        "vision_language": "vision_language",
        "judge": "judge",
    }
    architecture.half_precision(module)
    module.save_pretrained(folder / places[name])
