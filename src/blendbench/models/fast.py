"""The same transformer in fewer and wider kernels: real rotations, joined projections, compiled blocks.

The modules, their hooks and the pipeline around them stay as they are; pictures differ by the rounding of the dtype.
"""

from typing import Any

import torch
from diffusers import ZImagePipeline, ZImageTransformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


def quicken(pipeline: ZImagePipeline) -> None:
    """Change the pipeline's transformer and decoder in place; blocks compile at their first call of each shape."""
    rearrange(pipeline.transformer)
    pipeline.transformer.compile_repeated_blocks(dynamic=False)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.vae.decoder.compile(dynamic=False)


def rearrange(transformer: ZImageTransformer2DModel) -> None:
    """What `quicken` does to the transformer before anything is compiled."""
    transformer.rope_embedder = RealRotations(transformer.rope_embedder)
    for block in (*transformer.noise_refiner, *transformer.context_refiner, *transformer.layers):
        attention = block.attention
        attention.to_qkv = _joined(attention.to_q, attention.to_k, attention.to_v)
        del attention.to_q, attention.to_k, attention.to_v
        attention.set_processor(RealRotaryAttention())
        block.feed_forward = GatedFeedForward(block.feed_forward)


def real_rotations(angles: Tensor) -> Tensor:
    """Rotations as complex numbers (tokens, half) -> cosines and sines side by side (tokens, 2 * half) float32."""
    return torch.cat((angles.real, angles.imag), -1)


class RealRotations:
    """A rope embedder whose rotations are real numbers: what handles complex ones cannot be compiled."""

    def __init__(self, embedder: Any) -> None:
        self.embedder = embedder

    def __call__(self, ids: Tensor) -> Tensor:
        """Positions (tokens, 3) -> `real_rotations` (tokens, head_dim)."""
        return real_rotations(self.embedder(ids))


class RealRotaryAttention:
    """Attention processor equal to the model's own, for `real_rotations`; projections may be joined as `to_qkv`."""

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        if freqs_cis is None:
            raise ValueError("rotations are missing")
        if hasattr(attn, "to_qkv"):
            parts = attn.to_qkv(hidden_states).chunk(3, -1)
        else:
            parts = tuple(project(hidden_states) for project in (attn.to_q, attn.to_k, attn.to_v))
        query, key, value = (part.unflatten(-1, (attn.heads, -1)) for part in parts)
        cos, sin = freqs_cis.unsqueeze(2).chunk(2, -1)
        query, key = _rotate(attn.norm_q(query), cos, sin), _rotate(attn.norm_k(key), cos, sin)
        mask = None if attention_mask is None else attention_mask[:, None, None, :]
        query, key, value = (x.transpose(1, 2) for x in (query, key, value))
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return attn.to_out[0](mixed.transpose(1, 2).flatten(2))


class GatedFeedForward(nn.Module):
    """The block's feed-forward layer with its two entrances in one product."""

    def __init__(self, feed: Any) -> None:
        super().__init__()
        self.entrance, self.exit = _joined(feed.w1, feed.w3), feed.w2

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        gate, value = self.entrance(x).chunk(2, -1)
        out: Tensor = self.exit(silu(gate) * value)
        return out


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


def _joined(*layers: nn.Linear) -> nn.Linear:
    weight = torch.cat([layer.weight for layer in layers])
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=layers[0].weight.requires_grad)
    return joined
