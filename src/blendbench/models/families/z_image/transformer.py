"""Z-Image's transformer, for inference.

Values and names of weights are those of diffusers' ZImageTransformer2DModel, bit for bit; importing that class takes
longer than loading its weights. Source: diffusers 0.42.1, transformer_z_image.py.
"""

import math
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu
from torch.nn.utils.rnn import pad_sequence

BUCKET = 32  # images and captions are padded to multiples of so many tokens
_TIME_WIDTH = 256
_TIME_HIDDEN = 1024
_DEFAULTS: dict[str, Any] = {
    "all_patch_size": (2,),
    "all_f_patch_size": (1,),
    "in_channels": 16,
    "dim": 3840,
    "n_layers": 30,
    "n_refiner_layers": 2,
    "n_heads": 30,
    "norm_eps": 1e-5,
    "qk_norm": True,
    "cap_feat_dim": 2560,
    "rope_theta": 256.0,
    "t_scale": 1000.0,
    "axes_dims": (32, 48, 48),
    "axes_lens": (1024, 512, 512),
}


class RMSNorm(nn.Module):
    """Root mean square norm, with the mean in float32."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim)."""
        spread = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        x = x * torch.rsqrt(spread + self.eps)
        if self.weight.dtype in (torch.float16, torch.bfloat16):
            x = x.to(self.weight.dtype)
        return x * self.weight


class Attention(nn.Module):
    """Self-attention with rotary positions."""

    def __init__(self, dim: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(dim, dim, bias=False)])
        self.norm_q, self.norm_k = (RMSNorm(dim // heads, 1e-5) if qk_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None, rotations: Tensor) -> Tensor:
        """Attend within (n, tokens, dim); `rotations` (n, tokens, head_dim / 2) are complex."""
        query, key, value = (part(x).unflatten(-1, (self.heads, -1)) for part in (self.to_q, self.to_k, self.to_v))
        query, key = _rotated(self.norm_q(query), rotations), _rotated(self.norm_k(key), rotations)
        query, key, value = (part.permute(0, 2, 1, 3) for part in (query, key, value))
        seen = None if mask is None else mask[:, None, None, :]
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        out: Tensor = self.to_out[0](mixed.permute(0, 2, 1, 3).flatten(2, 3))
        return out


def _rotated(x: Tensor, rotations: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotations.unsqueeze(2)).flatten(3).type_as(x)


class FeedForward(nn.Module):
    """A gated feed-forward layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = int(dim / 3 * 8)
        self.w1, self.w3 = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., dim)."""
        out: Tensor = self.w2(silu(self.w1(x)) * self.w3(x))
        return out


class Block(nn.Module):
    """One block, whose scales and gates follow the noise level if it is modulated."""

    def __init__(self, config: SimpleNamespace, modulated: bool) -> None:
        super().__init__()
        dim, eps = config.dim, config.norm_eps
        self.attention = Attention(dim, config.n_heads, config.qk_norm)
        self.feed_forward = FeedForward(dim)
        self.attention_norm1, self.attention_norm2 = RMSNorm(dim, eps), RMSNorm(dim, eps)
        self.ffn_norm1, self.ffn_norm2 = RMSNorm(dim, eps), RMSNorm(dim, eps)
        self.modulated = modulated
        if modulated:
            self.adaLN_modulation = nn.Sequential(nn.Linear(min(dim, _TIME_WIDTH), 4 * dim, bias=True))

    def forward(self, x: Tensor, mask: Tensor | None, rotations: Tensor, time: Tensor | None = None) -> Tensor:
        """Map (n, tokens, dim) to the same shape, with `time` (n, width) if modulated."""
        if not self.modulated:
            x = x + self.attention_norm2(self.attention(self.attention_norm1(x), mask, rotations))
            out: Tensor = x + self.ffn_norm2(self.feed_forward(self.ffn_norm1(x)))
            return out
        scale, gate, inner_scale, inner_gate = self.adaLN_modulation(time).unsqueeze(1).chunk(4, dim=2)
        gate, inner_gate = gate.tanh(), inner_gate.tanh()
        scale, inner_scale = 1.0 + scale, 1.0 + inner_scale
        x = x + gate * self.attention_norm2(self.attention(self.attention_norm1(x) * scale, mask, rotations))
        x = x + inner_gate * self.ffn_norm2(self.feed_forward(self.ffn_norm1(x) * inner_scale))
        return x


class TimeEmbedder(nn.Module):
    """Embed noise levels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_TIME_WIDTH, _TIME_HIDDEN), nn.SiLU(), nn.Linear(_TIME_HIDDEN, width))

    def forward(self, time: Tensor) -> Tensor:
        """Map (n,) to (n, width)."""
        half = _TIME_WIDTH // 2
        steps = torch.arange(start=0, end=half, dtype=torch.float32, device=time.device)
        angles = time[:, None].float() * torch.exp(-math.log(10000) * steps / half)[None]
        waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
        weight: Tensor = self.mlp[-1].weight  # type: ignore[assignment]
        out: Tensor = self.mlp(waves.to(weight.dtype))
        return out


class FinalLayer(nn.Module):
    """Map tokens to patches."""

    def __init__(self, dim: int, values: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(dim, values, bias=True)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(min(dim, _TIME_WIDTH), dim, bias=True))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map (n, tokens, dim) to (n, tokens, values)."""
        scale = (1.0 + self.adaLN_modulation(time)).unsqueeze(1)
        out: Tensor = self.linear(self.norm_final(x) * scale)
        return out


class Rotations:
    """Complex rotations of positions, by three axes."""

    def __init__(self, theta: float, dims: Iterable[int], lengths: Iterable[int]) -> None:
        self.theta, self.axes = theta, tuple(zip(dims, lengths, strict=True))
        self._tables: list[Tensor] = []

    def __call__(self, ids: Tensor) -> Tensor:
        """Embed positions (tokens, 3) as complex64 (tokens, head_dim / 2)."""
        if not self._tables or self._tables[0].device != ids.device:
            self._tables = [self._table(*axis).to(ids.device) for axis in self.axes]
        return torch.cat([table[ids[:, i]] for i, table in enumerate(self._tables)], dim=-1)

    def _table(self, dim: int, length: int) -> Tensor:
        rates = 1.0 / (self.theta ** (torch.arange(0, dim, 2, dtype=torch.float64, device="cpu") / dim))
        angles = torch.outer(torch.arange(length, device="cpu", dtype=torch.float64), rates).float()
        return torch.polar(torch.ones_like(angles), angles)


class Transformer(nn.Module):
    """The single-stream transformer.

    Args:
        config: The content of transformer/config.json; `config` holds it with defaults.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = chosen = SimpleNamespace(**(_DEFAULTS | {k: v for k, v in config.items() if k in _DEFAULTS}))
        self.patch = int(chosen.all_patch_size[0])
        dim, key, values = chosen.dim, f"{self.patch}-1", self.patch**2 * chosen.in_channels
        self.all_x_embedder = nn.ModuleDict({key: nn.Linear(values, dim, bias=True)})
        self.all_final_layer = nn.ModuleDict({key: FinalLayer(dim, values)})
        refiners = range(chosen.n_refiner_layers)
        self.noise_refiner = nn.ModuleList([Block(chosen, modulated=True) for _ in refiners])
        self.context_refiner = nn.ModuleList([Block(chosen, modulated=False) for _ in refiners])
        self.t_embedder = TimeEmbedder(min(dim, _TIME_WIDTH))
        embed = nn.Linear(chosen.cap_feat_dim, dim, bias=True)
        self.cap_embedder = nn.Sequential(RMSNorm(chosen.cap_feat_dim, chosen.norm_eps), embed)
        self.x_pad_token, self.cap_pad_token = (nn.Parameter(torch.zeros((1, dim))) for _ in range(2))
        self.layers = nn.ModuleList([Block(chosen, modulated=True) for _ in range(chosen.n_layers)])
        self.rope_embedder: Any = Rotations(chosen.rope_theta, chosen.axes_dims, chosen.axes_lens)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of its weights."""
        return self.x_pad_token.dtype

    @property
    def device(self) -> torch.device:
        """Return the device of its weights."""
        return self.x_pad_token.device

    def forward(
        self, latents: list[Tensor], time: Tensor, captions: list[Tensor], return_dict: bool = False
    ) -> tuple[list[Tensor]]:
        """Return velocities in the shape of `latents`.

        Args:
            latents: [(channels, 1, height, width)] of each image.
            time: 1 minus the noise level, (n,).
            captions: [(tokens, cap_feat_dim)] of each image, of any lengths.
            return_dict: Must be False, as in diffusers' network, which can take this one's place.
        """
        if return_dict:
            raise ValueError("return_dict=True is not supported")
        modulation = self.t_embedder(time * self.config.t_scale).type_as(latents[0])
        (embed,), (final,) = self.all_x_embedder.values(), self.all_final_layer.values()
        texts = [_padded(caption, _line(len(caption), caption.device)) for caption in captions]
        images = [
            _padded(self._patches(image), self._grid(image, len(text[0]) + 1))
            for image, text in zip(latents, texts, strict=True)
        ]
        stream, rotations, mask = self._sequence(embed, self.x_pad_token, images)
        for block in self.noise_refiner:
            stream = block(stream, mask, rotations, modulation)
        caption, turns, mask = self._sequence(self.cap_embedder, self.cap_pad_token, texts)
        for block in self.context_refiner:
            caption = block(caption, mask, turns)
        lengths = [(len(image[0]), len(text[0])) for image, text in zip(images, texts, strict=True)]
        joined = [(a[:i], b[:t]) for a, b, (i, t) in zip(stream, caption, lengths, strict=True)]
        places = [(a[:i], b[:t]) for a, b, (i, t) in zip(rotations, turns, lengths, strict=True)]
        stream, mask = _batch([torch.cat(pair) for pair in joined])
        rotations = pad_sequence([torch.cat(pair) for pair in places], batch_first=True)
        for block in self.layers:
            stream = block(stream, mask, rotations, modulation)
        patches = final(stream, modulation)
        return ([self._image(rows, image) for rows, image in zip(patches, latents, strict=True)],)

    def _sequence(
        self, embed: nn.Module, pad_token: Tensor, parts: "list[tuple[Tensor, Tensor, Tensor]]"
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embed padded rows: stream (n, tokens, dim), rotations, and mask (n, tokens) if lengths differ."""
        lengths = [len(rows) for rows, _, _ in parts]
        embedded = embed(torch.cat([rows for rows, _, _ in parts]))
        embedded = torch.where(torch.cat([padding for _, _, padding in parts]).unsqueeze(-1), pad_token, embedded)
        stream, mask = _batch(list(embedded.split(lengths)))
        rotations = self.rope_embedder(torch.cat([ids for _, ids, _ in parts])).split(lengths)
        return stream, pad_sequence(list(rotations), batch_first=True), mask

    def _patches(self, image: Tensor) -> Tensor:
        channels, _, height, width = image.shape
        side = self.patch
        cut = image.view(channels, 1, 1, height // side, side, width // side, side)
        return cut.permute(1, 3, 5, 2, 4, 6, 0).reshape(-1, side * side * channels)

    def _grid(self, image: Tensor, start: int) -> Tensor:
        rows, columns = (pixels // self.patch for pixels in image.shape[2:])
        return _positions((start, 0, 0), (1, rows, columns), image.device)

    def _image(self, patches: Tensor, like: Tensor) -> Tensor:
        channels, _, height, width = like.shape
        side = self.patch
        rows, columns = height // side, width // side
        cut = patches[: rows * columns].view(1, rows, columns, 1, side, side, channels)
        return cut.permute(6, 0, 3, 1, 4, 2, 5).reshape(channels, 1, height, width)


def _line(tokens: int, device: torch.device) -> Tensor:
    return _positions((1, 0, 0), (tokens + -tokens % BUCKET, 1, 1), device)


def _positions(start: tuple[int, ...], size: tuple[int, ...], device: torch.device) -> Tensor:
    axes = [
        torch.arange(first, first + count, dtype=torch.int32, device=device)
        for first, count in zip(start, size, strict=True)
    ]
    return torch.stack(torch.meshgrid(axes, indexing="ij"), dim=-1).flatten(0, 2)


def _padded(rows: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pad rows to a multiple of the bucket: rows, their positions, and which are padding.

    Padding stands at position 0, unless `ids` go on behind the rows, as those of captions do.
    """
    missing = -len(rows) % BUCKET
    padding = torch.zeros(len(rows) + missing, dtype=torch.bool, device=rows.device)
    if missing:
        padding[len(rows) :] = True
        rows = torch.cat([rows, rows[-1:].repeat(missing, 1)])
    return rows, torch.cat([ids, ids.new_zeros(len(rows) - len(ids), 3)]), padding


def _batch(rows: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Pad sequences to one length; the mask (n, tokens) is None if there is nothing to mask."""
    lengths = [len(each) for each in rows]
    longest = max(lengths)
    mask = None
    if min(lengths) < longest:
        mask = torch.zeros((len(rows), longest), dtype=torch.bool, device=rows[0].device)
        for i, length in enumerate(lengths):
            mask[i, :length] = True
    return pad_sequence(rows, batch_first=True), mask
