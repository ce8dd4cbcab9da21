"""Count an image's tokens by its size, as the vision-language processor does."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blendbench.models.layout import read_object

_MOST_ELONGATED = 200


@dataclass(frozen=True)
class ImageTokens:
    """The processor's settings: how large an image it makes, and of which patches.

    `side`: pixels of a token's square; `least` and `most`: pixels of a resized image. Source: `smart_resize` of
    Qwen2-VL's image processor in transformers, which Qwen3-VL uses.
    """

    side: int
    least: int
    most: int

    def limited(self, pixels: int) -> "ImageTokens":
        """Return the settings with at most `pixels` pixels of an image."""
        return replace(self, most=min(self.most, pixels))

    def count(self, height: int, width: int) -> int:
        """Return the number of tokens. Errors: ValueError as `grid`."""
        rows, columns = self.grid(height, width)
        return rows * columns

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of tokens. Errors: ValueError if too elongated."""
        if max(height, width) > _MOST_ELONGATED * min(height, width):
            raise ValueError(f"an image of {width} x {height} is too elongated; the most is {_MOST_ELONGATED} to 1")
        rows, columns = round(height / self.side), round(width / self.side)
        area = rows * columns * self.side**2
        if area > self.most:
            shrunk = math.sqrt(height * width / self.most)
            rows, columns = (max(1, math.floor(pixels / shrunk / self.side)) for pixels in (height, width))
        elif area < self.least:
            grown = math.sqrt(self.least / (height * width))
            rows, columns = (math.ceil(pixels * grown / self.side) for pixels in (height, width))
        return rows, columns


def image_tokens(folder: Path) -> ImageTokens:
    """Read the settings from a vision-language model's folder, or take the library's."""
    joint: Any = read_object(folder / "processor_config.json").get("image_processor")
    config = joint if isinstance(joint, dict) else read_object(folder / "preprocessor_config.json")
    size = config.get("size") or {}
    return ImageTokens(
        side=int(config.get("patch_size", 14)) * int(config.get("merge_size", 2)),
        # Older files name the two bounds otherwise.
        least=int(config.get("min_pixels") or size.get("shortest_edge") or 56**2),
        most=int(config.get("max_pixels") or size.get("longest_edge") or 28**2 * 1280),
    )
