"""Run the transformer with fewer and wider kernels.

Rotations are real, projections are joined, and blocks are compiled.

Modules, hooks and the pipeline around them stay; images differ by the rounding of the dtype. Only the inside of a block
is compiled: hooks around blocks run as they are written.
"""

import functools
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel, ZImageTransformerBlock
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention, silu

from blendbench.models.compilation import Compiled, source_hash
from blendbench.models.families.z_image.pipeline import Pipeline
from blendbench.models.fp8 import Fp8Linear, joined_layers

# Prefer cuDNN's attention: torch prefers a kernel from before Hopper.
_ATTENTION = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]


def compile_pipeline(pipeline: Pipeline, folder: Path | None = None) -> None:
    """Compile transformer and decoder in place.

    The work is done at the first call with each batch size, and kept in `folder`.
    """
    rearrange(pipeline.transformer)
    compile_blocks(pipeline.transformer, folder)
    compile_decoder(pipeline.vae, folder)


def rearrange(transformer: ZImageTransformer2DModel) -> None:
    """Rearrange the transformer in place; nothing is compiled yet."""
    transformer.rope_embedder = RealRotations(transformer.rope_embedder)
    for block in _blocks(transformer):
        attention = block.attention
        attention.to_qkv = _joined(attention.to_q, attention.to_k, attention.to_v)
        del attention.to_q, attention.to_k, attention.to_v
        attention.set_processor(RealRotaryAttention())
        block.feed_forward = GatedFeedForward(block.feed_forward)


def compile_blocks(transformer: ZImageTransformer2DModel, folder: Path | None = None) -> None:
    """Compile each block of a rearranged transformer for any number of tokens.

    Those alike share their graphs; captions have many padded lengths.
    """
    kept = Compiled(ZImageTransformerBlock.forward, (1, 2, 3), _identity(transformer), folder)
    for block in _blocks(transformer):
        block.forward = functools.partial(kept, block)


def compile_decoder(vae: AutoencoderKL, folder: Path | None = None) -> None:
    """Compile the decoder in channels-last layout, with norms fast in it."""
    vae.to(memory_format=torch.channels_last)
    for parent in list(vae.decoder.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, nn.GroupNorm):
                setattr(parent, name, ChannelwiseGroupNorm(part))
    kept = Compiled(Decoder.forward, (), _identity(vae), folder)
    vae.decoder.forward = functools.partial(kept, vae.decoder)


def _identity(network: Any) -> list[Any]:
    # The private entries are of diffusers, and some in another order in every process.
    config = {name: repr(value) for name, value in network.config.items() if not name.startswith("_")}
    return [
        source_hash(network),
        version("diffusers"),
        sorted({str(w.dtype) for w in network.state_dict().values()}),
        config,
    ]


def _blocks(transformer: ZImageTransformer2DModel) -> tuple[Any, ...]:
    return (*transformer.noise_refiner, *transformer.context_refiner, *transformer.layers)


def real_rotations(angles: Tensor) -> Tensor:
    """Convert complex RoPE frequencies to interleaved cos/sin, float32.

    (tokens, half) becomes (tokens, 4 * half). The cosines come first, then the sines with their signs.
    """
    cos, sin = angles.real, angles.imag
    return torch.cat((cos.repeat_interleave(2, -1), torch.stack((-sin, sin), -1).flatten(-2)), -1)


class RealRotations:
    """A RoPE embedder with real numbers, since complex ones do not compile."""

    def __init__(self, embedder: Any) -> None:
        self.embedder = embedder

    def __call__(self, ids: Tensor) -> Tensor:
        """Embed positions (tokens, 3) as `real_rotations` (tokens, 2 * head_dim)."""
        return real_rotations(self.embedder(ids))


class RealRotaryAttention:
    """Attention processor equal to the model's own, for `real_rotations`.

    Projections may be joined as `to_qkv`.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: None = None,  # noqa: ARG002 - the processor's interface
        attention_mask: Tensor | None = None,
        freqs_cis: Tensor | None = None,
    ) -> Tensor:
        """Attend within (n, tokens, dim)."""
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
        # The order is process-wide; in compiled blocks it only matters while they are traced.
        with sdpa_kernel(_ATTENTION, set_priority=True):
            mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


class GatedFeedForward(nn.Module):
    """The block's feed-forward layer with joined input projections."""

    def __init__(self, feed: Any) -> None:
        super().__init__()
        self.inward, self.outward = _joined(feed.w1, feed.w3), feed.w2

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        gate, value = self.inward(x).chunk(2, -1)
        out: Tensor = self.outward(silu(gate) * value)
        return out


class ChannelwiseGroupNorm(nn.Module):
    """A GroupNorm that combines the statistics of its channels.

    In channels-last layout, sums over the few channels of a group read memory in pieces. Decoding at 1024² on an H200:
    34 ms of compiled kernels with the library's norms, 24 ms with these.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.groups, self.eps = norm.weight, norm.bias, norm.num_groups, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, channels, ...) in float32.

        The result has the input's shape and dtype.
        """
        pixels = range(2, x.ndim)
        spreads, means = torch.var_mean(x.float(), tuple(pixels), correction=0)
        spreads, means = (values.unflatten(1, (self.groups, -1)) for values in (spreads, means))
        mean = means.mean(-1, keepdim=True)
        spread = (spreads + (means - mean) ** 2).mean(-1, keepdim=True)
        scale = (spread + self.eps).rsqrt() * self.weight.float().unflatten(0, (self.groups, -1))
        shift = self.bias.float().unflatten(0, (self.groups, -1)) - mean * scale
        scale, shift = (values.flatten(1)[(..., *[None for _ in pixels])] for values in (scale, shift))
        out: Tensor = x.float() * scale + shift
        return out.to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    # Pair each value with its partner by a flip: splitting and joining pairs is slower by a third.
    value = x.float()
    other = value.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    rotated: Tensor = value * cos + other * sin
    return rotated.to(x.dtype)


def _joined(*layers: Any) -> nn.Module:
    if isinstance(layers[0], Fp8Linear):
        return joined_layers(*layers)
    weight = torch.cat([layer.weight for layer in layers])
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=layers[0].weight.requires_grad)
    return joined
