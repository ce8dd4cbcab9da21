"""The miniature's networks: the pipeline's classes with tiny sizes.

Every builder returns a freshly initialised module. Sizes are chosen so that all weights together stay below 48 MB in
half precision and two CPU cores generate a few images a second.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImageTransformer2DModel
from torch import nn
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from blendbench.models.miniature.world import SIZE
from miniature.tokenizer import SPECIAL_TOKENS, VOCABULARY_SIZE

HIDDEN = 192
TEXT = {
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": HIDDEN,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": SPECIAL_TOKENS["<|im_end|>"],
    "pad_token_id": SPECIAL_TOKENS["<|endoftext|>"],
    "tie_word_embeddings": True,
}
VISION = {
    "depth": 4,
    "hidden_size": 96,
    "num_heads": 3,
    "intermediate_size": 256,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "out_hidden_size": HIDDEN,
    "num_position_embeddings": (SIZE // 16) ** 2,
    "deepstack_visual_indexes": [1, 2],
}
IMAGE_TOKENS = (SIZE // 32) ** 2
LATENT = (16, SIZE // 8, SIZE // 8)
STATES = {"vae": AutoencoderKL, "transformer": ZImageTransformer2DModel, "text_encoder": Qwen3ForCausalLM}


def text_encoder() -> Qwen3ForCausalLM:
    """Build the Qwen3 language model whose hidden states are read."""
    return Qwen3ForCausalLM(Qwen3Config(**TEXT, rope_parameters={"rope_type": "default", "rope_theta": 1e6}))


def vision_language() -> Qwen3VLForConditionalGeneration:
    """Build Qwen3-VL: a vision tower and the text tower of `text_encoder`.

    Its rotary base is 5e6, as in the real pair.
    """
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config=VISION,
        image_token_id=SPECIAL_TOKENS["<|image_pad|>"],
        video_token_id=SPECIAL_TOKENS["<|video_pad|>"],
        vision_start_token_id=SPECIAL_TOKENS["<|vision_start|>"],
        vision_end_token_id=SPECIAL_TOKENS["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    return Qwen3VLForConditionalGeneration(config)


def vision_language_from(text: Qwen3ForCausalLM) -> Qwen3VLForConditionalGeneration:
    """Build a Qwen3-VL whose text tower starts as a copy of `text`.

    The real one did too.
    """
    model = vision_language()
    tower = {
        name.removeprefix("model."): value for name, value in text.state_dict().items() if name.startswith("model.")
    }
    model.model.language_model.load_state_dict(tower)
    model.tie_weights()
    return model


def vae(widths: tuple[int, int, int, int] = (32, 64, 96, 96)) -> AutoencoderKL:
    """Build the autoencoder: stride 8, 16 latent channels.

    `widths` are the channels from fine to coarse.
    """
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=LATENT[0],
        norm_num_groups=8,
        sample_size=SIZE,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=True,
    )


def transformer(heads: int = 4, layers: int = 8) -> ZImageTransformer2DModel:
    """Build the diffusion transformer, 64 channels a head.

    The pad tokens are created as zeros by the class and go through an RMSNorm, whose gradient at zero is
    1 / sqrt(eps) = 316: from zeros they alone make up 99 % of the first gradient norms, and clipping then throws the
    rest away. Unit normal initial values avoid that.
    """
    model = ZImageTransformer2DModel(
        in_channels=LATENT[0],
        dim=64 * heads,
        n_layers=layers,
        n_refiner_layers=1,
        n_heads=heads,
        n_kv_heads=heads,
        cap_feat_dim=HIDDEN,
        axes_dims=[16, 24, 24],
        axes_lens=[1024, 64, 64],
    )
    nn.init.normal_(model.x_pad_token)
    nn.init.normal_(model.cap_pad_token)
    return model


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build Z-Image-Turbo's schedule: flow matching, static shift 3."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=False)


def parameters_in_millions(module: nn.Module) -> float:
    """Number of parameters, in millions."""
    return sum(p.numel() for p in set(module.parameters())) / 1e6


def half_precision(module: Any) -> Any:
    """Cast to float16 for the disk; every value must stay finite."""
    module = module.to(torch.float16)
    if not all(bool(p.isfinite().all()) for p in module.parameters()):
        raise ValueError(f"{type(module).__name__} has weights outside the float16 range")
    return module
