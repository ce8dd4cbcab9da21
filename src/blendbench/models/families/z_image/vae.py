"""FLUX's variational autoencoder, for inference.

Values and names of weights are those of diffusers' AutoencoderKL, bit for bit; importing that class takes longer than
loading its weights. Source: diffusers 0.42.1, autoencoders/vae.py and the blocks that it is made of.
"""

from collections.abc import Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-6
# Beyond these sizes torch's channels-last interpolation fails (pytorch issues 81665 and 141831).
_MOST_IMAGES, _MOST_VALUES = 64, 2**31
_DEFAULTS: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
    "shift_factor": None,
    "mid_block_add_attention": True,
}


class ResnetBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inward: int, outward: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, inward, _EPS), nn.Conv2d(inward, outward, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, outward, _EPS), nn.Conv2d(outward, outward, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inward, outward, 1) if inward != outward else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inward, h, w) to (n, outward, h, w)."""
        inner = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        out: Tensor = (x if self.conv_shortcut is None else self.conv_shortcut(x)) + inner
        return out


class Attention(nn.Module):
    """Attention between all pixels, with one head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, _EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        rows = self.group_norm(x.view(*x.shape[:2], -1)).transpose(1, 2)
        query, key, value = (part(rows).unsqueeze(1) for part in (self.to_q, self.to_k, self.to_v))
        mixed = F.scaled_dot_product_attention(query, key, value).squeeze(1)
        out: Tensor = self.to_out[0](mixed).transpose(-1, -2).reshape(x.shape) + x
        return out


class MidBlock(nn.Module):
    """Two residual blocks around attention."""

    def __init__(self, channels: int, groups: int, attends: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, groups) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels, groups)] if attends else [])

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to the same shape."""
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        out: Tensor = self.resnets[1](x)
        return out


class Upsample(nn.Module):
    """Double the size, then convolve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels, 2h, 2w)."""
        if x.shape[0] >= _MOST_IMAGES or 2 * x.numel() > _MOST_VALUES:
            x = x.contiguous()
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Downsample(nn.Module):
    """Halve the size by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, channels, h / 2, w / 2)."""
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Level(nn.Module):
    """Residual blocks at one size, and the change to the next size."""

    def __init__(self, inward: int, outward: int, layers: int, groups: int) -> None:
        super().__init__()
        sizes = [inward, *[outward] * layers]
        self.resnets = nn.ModuleList([ResnetBlock(*pair, groups) for pair in pairwise(sizes)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inward, h, w) to the next size."""
        for part in self.children():
            for layer in part if isinstance(part, nn.ModuleList) else ():
                x = layer(x)
        return x


class Encoder(nn.Module):
    """Map pixels to the moments of latents."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        sizes, groups = list(config.block_out_channels), config.norm_num_groups
        self.conv_in = nn.Conv2d(config.in_channels, sizes[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, pair in enumerate(pairwise([sizes[0], *sizes])):
            level = Level(*pair, config.layers_per_block, groups)
            if i < len(sizes) - 1:
                level.downsamplers = nn.ModuleList([Downsample(pair[1])])
            self.down_blocks.append(level)
        self.mid_block = MidBlock(sizes[-1], groups, config.mid_block_add_attention)
        self.conv_norm_out = nn.GroupNorm(groups, sizes[-1], _EPS)
        self.conv_out = nn.Conv2d(sizes[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, h, w) to (n, 2 * latent channels, h / stride, w / stride)."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))
        return out


class Decoder(nn.Module):
    """Map latents to pixels."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        sizes, groups = list(config.block_out_channels)[::-1], config.norm_num_groups
        self.conv_in = nn.Conv2d(config.latent_channels, sizes[0], 3, padding=1)
        self.mid_block = MidBlock(sizes[0], groups, config.mid_block_add_attention)
        self.up_blocks = nn.ModuleList()
        for i, pair in enumerate(pairwise([sizes[0], *sizes])):
            level = Level(*pair, config.layers_per_block + 1, groups)
            if i < len(sizes) - 1:
                level.upsamplers = nn.ModuleList([Upsample(pair[1])])
            self.up_blocks.append(level)
        self.conv_norm_out = nn.GroupNorm(groups, sizes[-1], _EPS)
        self.conv_out = nn.Conv2d(sizes[-1], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, latent channels, h, w) to (n, channels, h * stride, w * stride)."""
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.conv_norm_out(x)))
        return out


class Autoencoder(nn.Module):
    """Encoder and decoder.

    Args:
        config: The content of vae/config.json; `config` holds it with defaults.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = SimpleNamespace(**(_DEFAULTS | {k: v for k, v in config.items() if k in _DEFAULTS}))
        self.encoder, self.decoder = Encoder(self.config), Decoder(self.config)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of its weights."""
        return self.decoder.conv_in.weight.dtype

    @property
    def device(self) -> torch.device:
        """Return the device of its weights."""
        return self.decoder.conv_in.weight.device

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the mean latents of pixels (n, channels, h, w) in [-1, 1], scaled as the transformer reads them."""
        mean = self.encoder(pixels).chunk(2, dim=1)[0]
        out: Tensor = (mean - self.config.shift_factor) * self.config.scaling_factor
        return out

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (n, channels, h, w), about in [-1, 1], of latents as the transformer makes them."""
        out: Tensor = self.decoder(latents.to(self.dtype) / self.config.scaling_factor + self.config.shift_factor)
        return out
