"""Print the calibration tables of the artifact metrics' cards: `python tests/scoring/scoring_calibration.py`.

Each cell: AUROC against the clean crops / share of crops in which the pattern raises the value.
"""

from collections.abc import Callable

import numpy as np
import torch

from blendbench.models.miniature.world import render, sample_scenes
from blendbench.scoring import Batch, patterns
from blendbench.scoring.blockiness import blockiness
from blendbench.scoring.grid import grid_energy

AMPLITUDES = (0.5, 1.0, 2.0, 4.0)


def value(metric: Callable[[Batch], torch.Tensor], pictures: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
    return np.concatenate([metric(Batch(part)).numpy() for part in tensor.split(16)])


def table(metric: Callable[[Batch], torch.Tensor], name: str, pictures: np.ndarray) -> None:
    size = pictures.shape[1]
    clean = value(metric, pictures)
    quantiles = " / ".join(f"{q:.2g}" for q in np.quantile(clean, [0.05, 0.5, 0.95, 1]))
    print(f"{name} ({len(pictures)}), clean 5 % / 50 % / 95 % / most: {quantiles}")
    for pattern, made in {
        "mesh": patterns.mesh(size, size),
        "tiled texture": patterns.texture(size, size),
        "sinus": patterns.sinus(size, size),
        "8-px mesh": patterns.mesh(size, size, 8),
        "2-px checkerboard": patterns.checkerboard(size, size),
        "patch offsets": patterns.offsets(size, size),
    }.items():
        levels = [value(metric, patterns.inject(pictures, made, amplitude)) for amplitude in AMPLITUDES]
        cells = [f"{patterns.auroc(level, clean):.2f} / {(level > clean).mean():.2f}" for level in levels]
        print(f"| {name} | {pattern} | {' | '.join(cells)} |")
    edits = {edit: patterns.auroc(value(metric, x), clean) for edit, x in patterns.benign(pictures).items()}
    print(f"{name} benign edits:", ", ".join(f"{edit} {area:.2f}" for edit, area in edits.items()))


def main() -> None:
    world = (render(sample_scenes(200, seed=5)) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    sets = {"miniature 128": world, "photos 128": patterns.crops(128, 4), "photos 256": patterns.crops(256, 4)}
    sets["photos 512"] = patterns.crops(512, 2)
    for metric in (grid_energy, blockiness):
        print(f"\n{metric.__name__}")
        for name, pictures in sets.items():
            table(metric, name, pictures)
    print("\nperiods of a tiled texture at 2 levels, median grid_energy, photos 256")
    for period in (4, 8, 10, 12, 14, 15, 16, 17, 18, 20, 24, 32, 48):
        tiled = patterns.inject(sets["photos 256"][::2], patterns.texture(256, 256, period), 2)
        print(f"{period}: {np.median(value(grid_energy, tiled)):.2g}", end="  ")


if __name__ == "__main__":
    main()
