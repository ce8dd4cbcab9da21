"""Training data: scenes, captions and images, made where it trains."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import torch
from torch import Tensor

from blendbench.models.miniature import captions, world
from miniature.tokenizer import SPECIAL_TOKENS, prompt, tokenizer

CHUNK = 4096


def training_scenes(n: int, seed: int, workers: int = 1) -> tuple[world.Scenes, list[str]]:
    """About `n` training scenes with one caption each.

    Styles follow the captions, held-out combinations are gone.
    """
    scenes = world.sample_scenes(n, seed)
    parts = [(scenes[i : i + CHUNK], seed + i) for i in range(0, n, CHUNK)]
    with ProcessPoolExecutor(workers, mp_context=torch.multiprocessing.get_context("fork")) as pool:
        described = [d for part in pool.map(_describe, parts) for d in part]
    scenes = replace(scenes, style=torch.tensor([style for _, style in described]))
    unseen = world.is_held_out(scenes.shape, scenes.colour, scenes.style[:, None]) & (scenes.shape >= 0)
    keep = (~unseen.any(1)).nonzero()[:, 0]
    return scenes[keep], [described[i][0] for i in keep.tolist()]


def _describe(part: tuple[world.Scenes, int]) -> list[tuple[str, int]]:
    return [(d.caption, d.style) for d in captions.describe(*part)]


def render_images(scenes: world.Scenes, device: str) -> Tensor:
    """Render all scenes: (n, 3, 128, 128) uint8 on `device`."""
    images = torch.empty(len(scenes), 3, world.SIZE, world.SIZE, dtype=torch.uint8, device=device)
    for i in range(0, len(scenes), 1024):
        rendered = world.render(scenes[i : i + 1024].to(device))
        images[i : i + 1024] = (rendered * 255).round().to(torch.uint8)
    return images


def to_unit(images: Tensor) -> Tensor:
    """Return uint8 images as float32 in -1..1."""
    return images.float() / 127.5 - 1


def pad_ids(texts: list[str], length: int) -> tuple[Tensor, Tensor]:
    """Return padded token ids (n, length), and true lengths (n,).

    The padding is <|endoftext|> on the right. Errors: ValueError.
    """
    pad = SPECIAL_TOKENS["<|endoftext|>"]
    ids = [tokenizer()(chunk).input_ids for chunk in (texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK))]
    rows = [row for chunk in ids for row in chunk]
    lengths = torch.tensor([len(row) for row in rows])
    if int(lengths.max()) > length:
        raise ValueError(f"a text of {int(lengths.max())} tokens does not fit into {length}")
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows]), lengths


def conversation(user: str, answer: str) -> str:
    """Return a full exchange: the pipeline's prompt, and the ended answer."""
    return f"{prompt(user)}{answer}<|im_end|>"
