"""`python bench/speed/full_size.py --out DIR`: a z-image-turbo model set at full size with random weights.

For speed, memory and loading on a machine that has a GPU and no network. The folder has the layout of the published
repositories, so that `blendbench run --models DIR` loads it as it would load the real weights. Its images are noise.
With `--tiny` the layout is the same and the sizes are tiny, for tests on the CPU.

Configurations: Tongyi-MAI/Z-Image-Turbo, Qwen/Qwen3-4B, Qwen/Qwen3-VL-4B-Instruct, and open_clip's own of ViT-L-14 and
ViT-SO400M-16-SigLIP2-384. The tokenizers have the real ids of the special tokens; their words are learnt from the
shipped suites, so that a prompt has about as many tokens as it really has.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from full_size_tokenizer import SPECIALS, build_tokenizer
from safetensors.torch import save_model
from torch import nn
from transformers import (
    Qwen2VLImageProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from blendbench.models.loading import quiet_loading
from miniature import architecture, recognition
from miniature.tokenizer import CHAT_TEMPLATE

SHARD = "5GB"
MODEL_SET = """\
name = "{name}"
version = 1
title = "{title}"
licence = "random weights"
suite = "{suite}"
dtype = "{dtype}"
pipeline = "pipeline"
vision_language = "vision_language"
clip = "clip"
siglip = "siglip"
judge = "vision_language"

[sampler]
height = {side}
width = {side}
steps = 8
guidance = 0.0
batch_size = {batch}
compile = true

[text]
layer = -2
max_sequence_length = 512
"""


@dataclass(frozen=True)
class Sizes:
    """Configurations of all networks.

    `ordinary`: tokens before the special ones; `pixels`: least and most that the vision-language model sees of an
    image; `side`: of a generated image in pixels; `batch`: images a batch.
    """

    name: str
    title: str
    suite: str
    dtype: torch.dtype
    ordinary: int
    text: dict[str, Any]
    mrope: list[int]
    vision: dict[str, Any]
    transformer: dict[str, Any]
    vae: dict[str, Any]
    clip: dict[str, Any]
    siglip: dict[str, Any]
    pixels: tuple[int, int]
    side: int
    batch: int


def full() -> Sizes:
    """The published sizes."""
    return Sizes(
        name="z-image-turbo-random",
        title="Z-Image-Turbo and Qwen3-VL-4B at full size with random weights",
        suite="standard",
        dtype=torch.bfloat16,
        ordinary=151643,
        text={
            "vocab_size": 151936,
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40960,
            "rms_norm_eps": 1e-6,
        },
        mrope=[24, 20, 20],
        vision={
            "depth": 24,
            "hidden_size": 1024,
            "num_heads": 16,
            "intermediate_size": 4096,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            "out_hidden_size": 2560,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        transformer={
            "in_channels": 16,
            "dim": 3840,
            "n_layers": 30,
            "n_refiner_layers": 2,
            "n_heads": 30,
            "n_kv_heads": 30,
            "cap_feat_dim": 2560,
            "axes_dims": [32, 48, 48],
            "axes_lens": [1536, 512, 512],
        },
        vae={"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32},
        clip=open_clip.get_model_config("ViT-L-14"),
        siglip=open_clip.get_model_config("ViT-SO400M-16-SigLIP2-384"),
        pixels=(256**2, 4096**2),
        side=1024,
        batch=1,
    )


def tiny() -> Sizes:
    """The same layout and classes, small enough for a test."""
    clip, siglip = copy.deepcopy(full().clip), copy.deepcopy(full().siglip)
    clip |= {"embed_dim": 32}
    clip["vision_cfg"] |= {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    clip["text_cfg"] |= {"width": 32, "heads": 2, "layers": 1}
    siglip |= {"embed_dim": 32}
    siglip["vision_cfg"] = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    siglip["text_cfg"] |= {"vocab_size": 1000, "width": 32, "heads": 2, "layers": 1, "mlp_ratio": 2.0}
    return Sizes(
        name="z-image-turbo-tiny",
        title="The layout of z-image-turbo at tiny sizes with random weights",
        suite="miniature",
        dtype=torch.float32,
        ordinary=2048,
        text={
            "vocab_size": 2080,
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "max_position_embeddings": 1024,
        },
        mrope=[6, 5, 5],
        vision={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 2,
            "intermediate_size": 32,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "in_channels": 3,
            "out_hidden_size": 64,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        transformer={
            "in_channels": 16,
            "dim": 64,
            "n_layers": 2,
            "n_refiner_layers": 1,
            "n_heads": 2,
            "n_kv_heads": 2,
            "cap_feat_dim": 64,
            "axes_dims": [8, 12, 12],
            "axes_lens": [1536, 64, 64],
        },
        vae={"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4},
        clip=clip,
        siglip=siglip,
        pixels=(64**2, 64**2),
        side=64,
        batch=4,
    )


def _text_config(sizes: Sizes, theta: float, **rope: Any) -> dict[str, Any]:
    ids = {"bos_token_id": None, "pad_token_id": sizes.ordinary, "eos_token_id": sizes.ordinary + 2}
    parameters = {"rope_type": "default", "rope_theta": theta, **rope}
    return {**sizes.text, **ids, "tie_word_embeddings": True, "rope_parameters": parameters}


def text_encoder(sizes: Sizes) -> Qwen3ForCausalLM:
    """Qwen3-4B."""
    return Qwen3ForCausalLM(Qwen3Config(**_text_config(sizes, 1e6)))


def vision_language(sizes: Sizes) -> Qwen3VLForConditionalGeneration:
    """Qwen3-VL-4B."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    image, video, start, end = (sizes.ordinary + SPECIALS.index(f"<|{name}|>") for name in names)
    config = Qwen3VLConfig(
        text_config=_text_config(sizes, 5e6, mrope_section=sizes.mrope, mrope_interleaved=True),
        vision_config=sizes.vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
    return Qwen3VLForConditionalGeneration(config)


def transformer(sizes: Sizes) -> ZImageTransformer2DModel:
    """Z-Image's transformer: 6.15 billion parameters at full size."""
    return ZImageTransformer2DModel(**sizes.transformer)


def vae(sizes: Sizes) -> AutoencoderKL:
    """The autoencoder of Flux, which Z-Image uses."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=16,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        sample_size=1024,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=True,
        **sizes.vae,
    )


def scorer(config: dict[str, Any]) -> nn.Module:
    """CLIP or SigLIP of open_clip."""
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    kind: Callable[..., nn.Module] = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    return kind(**arguments)


def write_scaffold(out: Path, sizes: Sizes) -> None:
    """Write everything but the weights and their configurations."""
    settings = {name: getattr(sizes, name) for name in ("name", "title", "suite", "side", "batch")}
    dtype = str(sizes.dtype).removeprefix("torch.")
    out.mkdir(parents=True, exist_ok=True)
    (out / "model_set.toml").write_text(MODEL_SET.format(**settings, dtype=dtype))
    tokenizer = build_tokenizer(sizes.ordinary)
    tokenizer.save_pretrained(out / "pipeline" / "tokenizer")
    architecture.scheduler().save_pretrained(out / "pipeline" / "scheduler")
    index = {
        "_class_name": ZImagePipeline.__name__,
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (out / "pipeline" / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    patches = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    least, most = sizes.pixels
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            **patches, min_pixels=least, max_pixels=most, image_mean=[0.5] * 3, image_std=[0.5] * 3
        ),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**patches),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(out / "vision_language")
    openai = {**sizes.clip, "quick_gelu": True}
    _write_scorer(out / "clip", openai, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, "shortest")
    _write_scorer(out / "siglip", sizes.siglip, (0.5,) * 3, (0.5,) * 3, "squash")
    # CLIP reads open_clip's own tokenizer; SigLIP's is the miniature's, whose ids fit into its vocabulary.
    recognition.word_tokenizer().save_pretrained(out / "siglip")


def _write_scorer(
    folder: Path, config: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...], resize: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": list(mean), "std": list(std), "interpolation": "bicubic", "resize_mode": resize}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}, indent=2)
    (folder / "open_clip_config.json").write_text(text + "\n")


@contextmanager
def _made(dtype: torch.dtype, device: str) -> Iterator[None]:
    """New tensors are of `dtype` on `device`, which makes initialising billions of weights a matter of seconds."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def write_model_set(out: Path, sizes: Sizes, device: str, seed: int = 0) -> dict[str, int]:
    """Write the whole folder; returns the parameters of each network. Networks are saved while the next one is made."""
    torch.manual_seed(seed)
    counts: dict[str, int] = {}
    makers: dict[str, Callable[[], nn.Module]] = {
        "pipeline/transformer": lambda: transformer(sizes),
        "vision_language": lambda: vision_language(sizes),
        "pipeline/text_encoder": lambda: text_encoder(sizes),
        "pipeline/vae": lambda: vae(sizes),
        "siglip": lambda: scorer(sizes.siglip),
        "clip": lambda: scorer(sizes.clip),
    }
    saving: list[Future[None]] = []
    with quiet_loading(), ThreadPoolExecutor(len(makers)) as pool:
        write_scaffold(out, sizes)
        for place, make in makers.items():
            # What open_clip initialises with is not there in half precision everywhere.
            with _made(torch.float32 if place in ("clip", "siglip") else sizes.dtype, device):
                network = make().eval().to(sizes.dtype)
            counts[place] = sum(p.numel() for p in network.parameters())
            saving.append(pool.submit(_save, network, out / place))
            del network
        for future in saving:
            future.result()
    return counts


def _save(network: Any, folder: Path) -> None:
    if hasattr(network, "save_pretrained"):
        network.save_pretrained(folder, max_shard_size=SHARD)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        save_model(network, str(folder / "open_clip_model.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, for the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    began = time.perf_counter()
    counts = write_model_set(options.out, tiny() if options.tiny else full(), options.device)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(json.dumps({"parameters": counts, "bytes": size, "seconds": round(time.perf_counter() - began, 1)}))


if __name__ == "__main__":
    main()
