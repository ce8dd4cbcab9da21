"""Known changes of colour: the same scenes restyled, recoloured and cast.

The scenes come from the procedural world, which renders one scene flat and in the style of a reference.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from blendbench.metrics.batch import Batch
from blendbench.metrics.calibration import COLORS, ColorCase
from blendbench.metrics.measuring import measure
from blendbench.models.miniature import world
from blendbench.models.miniature.suite import reference_scene
from blendbench.reports.formats import blocks, markdown_table

SCENES = 96
_SEED = 7
PERFECT, CAST, PALETTE = "the reference's style, perfectly", "cast: red +20, blue -20", "the reference's palette"


def color_cases(scenes: int = SCENES) -> list[ColorCase]:
    """Measure known changes of flat scenes, each with references of both kinds.

    A reference shows the prompt's own objects ("matched"), or others on another background ("unrelated").
    """
    plain = world.sample_scenes(scenes, _SEED)
    plain = replace(plain, style=torch.full_like(plain.style, world.STYLES.index("flat")))
    baselines, rng, found = _pixels(plain), random.Random(_SEED), []
    for kind in ("matched", "unrelated"):
        references = [reference_scene(plain[i : i + 1], kind == "matched", rng) for i in range(scenes)]
        shown = torch.cat([_pixels(scene) for scene in references])
        styled = _pixels(replace(plain, style=torch.cat([scene.style for scene in references])))
        for change, images in _changed(plain, baselines, shown, styled):
            found.append(_measured(change, kind, images, baselines, shown))
    return found


def palette_transfer(images: torch.Tensor, references: torch.Tensor, steps: int = 12) -> torch.Tensor:
    """Give uint8 (n, 3, h, w) images the colours of references of their size.

    Source: iterated transport along random axes, Pitie, Kokaram & Dahyot 2005.
    """
    generator = torch.Generator().manual_seed(0)
    colours, wanted = (images.flatten(2).double(), references.flatten(2).double())
    for _ in range(steps):
        axes = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        along, target = axes @ colours, (axes @ wanted).sort(-1)[0]
        colours = colours + axes.T @ (target.gather(-1, along.argsort(-1).argsort(-1)) - along)
    return colours.reshape(images.shape).round().clamp(0, 255).byte()


def color_table(cases: list[ColorCase]) -> list[str]:
    """Tabulate the cases, for the page and for the cards."""
    rows = [
        (
            row.change,
            row.reference,
            "–" if not row.scored else f"{row.towards:.3f} ({row.scored})",
            f"{row.elsewhere:.4f}",
            f"{row.elsewhere_high:.4f}",
        )
        for row in cases
    ]
    return [
        f"Flat scenes of the procedural world ({cases[0].images} for each kind of reference), changed in a known way:",
        "mean towards (images that are scored), mean and 95 % of elsewhere.",
        "",
        *markdown_table(("change", "reference", "towards", "elsewhere", "95 %"), rows, (2, 3, 4)),
    ]


def _changed(
    plain: world.Scenes, baselines: torch.Tensor, shown: torch.Tensor, styled: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(_SEED)
    light = baselines.float()
    moved = (torch.rand(plain.offset.shape, generator=generator) * 2 - 1) * world.JITTER
    transferred = palette_transfer(baselines, shown)
    yield "none", baselines
    yield "the objects moved", _pixels(replace(plain, offset=moved))
    made = []
    for image in baselines.permute(0, 2, 3, 1).numpy():
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=50)
        made.append(np.asarray(Image.open(file)))
    yield "JPEG of quality 50", torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)
    yield "noise of 3 levels", _bytes(light + 3 * torch.randn(light.shape, generator=generator))
    yield PERFECT, styled
    yield PALETTE, transferred
    yield f"{PALETTE}, half of the way", _bytes((light + transferred) / 2)
    yield "cast: red +10, blue -10", _cast(light, (10, 0, -10))
    yield CAST, _cast(light, (20, 0, -20))
    yield "cast: green +20, others -10", _cast(light, (-10, 20, -10))
    yield "exposure x1.1", _bytes(light * 1.1)
    yield "exposure x1.25", _bytes(light * 1.25)
    yield "saturation x0.5", _bytes((light + light.mean(1, keepdim=True)) / 2)


def _measured(
    change: str, kind: str, images: torch.Tensor, baselines: torch.Tensor, references: torch.Tensor
) -> ColorCase:
    scores = measure(Batch(images, baselines=baselines, references=list(references)), COLORS)
    towards, elsewhere = (
        np.array([np.nan if score.value is None else score.value for score in scores[name]]) for name in COLORS
    )
    scored = int(np.isfinite(towards).sum())
    return ColorCase(
        change=change,
        reference=kind,
        images=len(images),
        scored=scored,
        towards=float(np.nanmean(towards)) if scored else 0.0,
        elsewhere=float(elsewhere.mean()),
        elsewhere_high=float(np.quantile(elsewhere, 0.95)),
    )


def _cast(light: torch.Tensor, levels: tuple[int, int, int]) -> torch.Tensor:
    return _bytes(light + torch.tensor(levels)[:, None, None])


def _pixels(scenes: world.Scenes) -> torch.Tensor:
    return _bytes(world.render(scenes) * 255)


def _bytes(light: torch.Tensor) -> torch.Tensor:
    return light.round().clamp(0, 255).byte()


def color_section(cases: list[ColorCase]) -> list[str]:
    """Return the lines of the page."""
    return blocks("## Colour towards the reference and elsewhere", color_table(cases))
