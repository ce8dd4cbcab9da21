"""The attribute probe, trained on the renderer alone: reads an image's truth.

It is no part of the pipeline and shares no weight with the models that it judges.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from blendbench.models.miniature.world import BACKGROUNDS, COLOURS, POSITIONS, SHAPES, SIZES, STYLES

_HEADS = {
    "presence": (len(POSITIONS), 1),
    "shape": (len(POSITIONS), len(SHAPES)),
    "colour": (len(POSITIONS), len(COLOURS)),
    "size": (len(POSITIONS), len(SIZES)),
    "background": (1, len(BACKGROUNDS)),
    "style": (1, len(STYLES)),
}


@dataclass(frozen=True)
class ProbeReading:
    """Hold probabilities read off n images.

    `objects` (n, colours, shapes): that an object of this colour and shape is present anywhere.
    `style` (n, styles), `background` (n, backgrounds): distributions. `sizes` (n, positions, sizes) and
    `presence` (n, positions) belong to the five places of the world.
    """

    objects: Tensor
    style: Tensor
    background: Tensor
    presence: Tensor
    sizes: Tensor
    colours: tuple[str, ...] = tuple(COLOURS)
    shapes: tuple[str, ...] = SHAPES
    styles: tuple[str, ...] = STYLES
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)


class Probe(nn.Module):
    """A small network with a head an attribute: (n, 3, 128, 128) in 0..1 -> logits."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for i, stride in enumerate((2, 1, 2, 1, 2, 1, 2, 1)):
            out = min(width * 2 ** ((i + 1) // 2), 96)
            layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.GELU()]
            channels = out
        self.features = nn.Sequential(*layers)
        # Places matter: the heads read an 8x8 map pooled to 4x4, not a global mean.
        self.mix = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(channels * 16, 192), nn.GELU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, rows * size) for name, (rows, size) in _HEADS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (n, 3, 128, 128) in 0..1 to the logits of each head."""
        mixed = self.mix(self.features(images * 2 - 1))
        return {name: self.heads[name](mixed).unflatten(1, shape) for name, shape in _HEADS.items()}

    @torch.inference_mode()
    def read(self, images: Tensor) -> ProbeReading:
        """Read (n, 3, 128, 128) uint8 images."""
        logits = self.forward((images.float() / 255).to(next(self.parameters()).device))
        presence = logits["presence"][..., 0].sigmoid()
        colour, shape = logits["colour"].softmax(-1), logits["shape"].softmax(-1)
        objects = (presence[:, :, None, None] * colour[..., None] * shape[:, :, None, :]).amax(1)
        return ProbeReading(
            objects=objects,
            style=logits["style"][:, 0].softmax(-1),
            background=logits["background"][:, 0].softmax(-1),
            presence=presence,
            sizes=logits["size"].softmax(-1),
        )

    def __call__(self, images: Tensor) -> "ProbeReading | dict[str, Tensor]":
        """Read uint8 images; map float ones to logits for training."""
        return self.read(images) if images.dtype == torch.uint8 else super().__call__(images)


def save_probe(folder: Path, probe: Probe) -> None:
    """Write probe.safetensors (half precision) and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(probe.half(), str(folder / "probe.safetensors"))
    (folder / "config.json").write_text(json.dumps({"class": "Probe", "version": 1}) + "\n")


def load_probe(folder: Path, device: str = "cpu") -> Probe:
    """Load a probe for reading. Errors: FileNotFoundError."""
    probe = Probe()
    load_model(probe, str(folder / "probe.safetensors"), device="cpu")
    return probe.float().to(device).eval()
