"""Captions that only some of the transformer's blocks read.

The main stream is [image tokens, caption tokens]. At the entrance of each run of chosen blocks the caption rows are
moved by the difference of the two refined captions, and at its exit they are moved back. With all blocks chosen the
image is that of the injected caption, with none that of the other. Shorter captions are padded at the end, in the main
stream as in the refined caption, and no other token sees what is added there.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def _hooked(*handles: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


@contextmanager
def injected(transformer: Any, caption: Tensor, blocks: tuple[int, ...]) -> Iterator[None]:
    """Show `caption` to `blocks` of the transformer in place of its own.

    `caption` is a refined one, (n, padded tokens, width). Source: the main stream as diffusers'
    ZImageTransformer2DModel builds it, [image, caption].
    """
    length, chosen = caption.shape[1], set(blocks)
    difference: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, refined: Tensor) -> None:
        difference[:] = [caption - refined]

    def move(sign: int) -> Callable[[Tensor], Tensor]:
        def moved(stream: Tensor) -> Tensor:
            return torch.cat((stream[:, :-length], stream[:, -length:] + sign * difference[0]), dim=1)

        return moved

    def enter(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (move(1)(inputs[0]), *inputs[1:])

    def leave(_module: Any, _inputs: Any, stream: Tensor) -> Tensor:
        return move(-1)(stream)

    handles = [transformer.context_refiner[-1].register_forward_hook(keep)]
    for block in chosen:
        if block - 1 not in chosen:
            handles.append(transformer.layers[block].register_forward_pre_hook(enter))
        if block + 1 not in chosen:
            handles.append(transformer.layers[block].register_forward_hook(leave))
    with _hooked(*handles):
        yield


class _RefinedError(Exception):
    """Carry a refined caption out of a forward pass that can stop there."""

    def __init__(self, caption: Tensor) -> None:
        super().__init__()
        self.caption = caption


def refined(transformer: Any, rows: list[Tensor], latents: Tensor) -> Tensor:
    """Return captions as the main stream gets them, (n, padded tokens, width).

    They do not depend on the noise level. `latents` (n, channels, height, width) only give the shape of an image; there
    may be more captions than images, as with guidance.
    """

    def stop(_module: Any, _inputs: Any, caption: Tensor) -> None:
        raise _RefinedError(caption)

    with _hooked(transformer.context_refiner[-1].register_forward_hook(stop)):
        try:
            images = [latents[0].to(transformer.dtype).unsqueeze(1)] * len(rows)
            transformer(images, torch.zeros(len(images), device=latents.device), rows)
        except _RefinedError as reached:
            return reached.caption
    raise ValueError("the transformer has no context refiner")
