"""Weights kept in half precision: the numbers of a network whose weights are rounded once, and nothing else."""

import copy
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from blendbench.models.half_stored import store_half
from miniature import recognition

IMAGES = torch.randn(3, 3, 224, 224, generator=torch.Generator().manual_seed(0))
TEXTS = torch.arange(96).reshape(2, 48) % 60


def with_timm() -> nn.Module:
    """A SigLIP as the large ones are built: its image tower is timm's."""
    config = recognition.model_config("siglip")
    text = {k: v for k, v in config["text_cfg"].items() if k not in ("hf_tokenizer_name", "tokenizer_kwargs")}
    vision = {
        "image_size": 224,
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
    }
    built: nn.Module = open_clip.CustomTextCLIP(64, vision, text, init_logit_bias=-10.0)
    return built


@pytest.fixture(params=["clip", "siglip", "timm"])
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    built = with_timm() if request.param == "timm" else recognition.network(request.param)
    return built.eval().requires_grad_(False)


def outputs(network: Any) -> list[torch.Tensor]:
    with torch.inference_mode():
        size = network.visual.image_size
        images = IMAGES[..., : size[0], : size[1]]
        return [network.encode_image(images), network.encode_text(TEXTS)]


def test_outputs_are_those_of_the_rounded_weights_and_float32(network: nn.Module) -> None:
    rounded = copy.deepcopy(network)
    narrow = store_half(network)
    halves = {name for name, weight in narrow.named_parameters() if weight.dtype == torch.float16}
    for name, weight in rounded.named_parameters():
        if name in halves:
            weight.copy_(weight.half().float())
    for ours, theirs in zip(outputs(narrow), outputs(rounded), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_nearly_all_weights_are_half_as_large_and_stay_so(network: nn.Module) -> None:
    before = sum(p.numel() * p.element_size() for p in network.parameters())
    narrow = store_half(network)
    for _ in range(2):
        outputs(narrow)
        after = sum(p.numel() * p.element_size() for p in narrow.parameters())
        assert after < 0.62 * before


def test_a_failing_forward_leaves_the_weights_narrow(network: nn.Module) -> None:
    narrow: Any = store_half(network)
    with pytest.raises((RuntimeError, AssertionError)), torch.inference_mode():
        narrow.encode_image(torch.full((1, 5, 128, 128), 1.0))
    blocks = [m for m in narrow.modules() if type(m).__name__.endswith("Block")]
    blocks[0].register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        outputs(narrow)
    for module in blocks:
        assert all(p.dtype == torch.float16 for p in module.parameters() if p.ndim >= 2)


def test_a_weight_beyond_half_precision_is_refused() -> None:
    network: Any = recognition.network("clip")
    with torch.no_grad():
        network.token_embedding.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"token_embedding.*float16"):
        store_half(network)
