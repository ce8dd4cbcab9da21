"""Write the miniature's suite, prompts and images.

Use `python -m blendbench.models.miniature.suite --out DIR`.

24 items and 36 pairs to fit on. Half of the references show the prompt's own objects in another style ("matched"), half
show other objects on another background in another style ("unrelated"). Two prompts of three leave the style open:
there the reference has something to give. A pair is a caption, its image, and the same objects in the flat style; no
pair shows an item's scene. The suite is frozen: running this again must give the same bytes.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from blendbench.core.suites import Attributes
from blendbench.models.miniature import captions, world

ITEMS = 24
PAIRS_A_STYLE = 6
SEED = 2026
GREYS = {"blank": 128, "white": 255}
_HEAD = """\
name = "miniature"
version = 2
title = "Miniature: shapes, colours and styles with exact ground truth"
licence = "Apache-2.0; prompts and images are made by blendbench.models.miniature.suite"
blank = "images/blank.png"
white = "images/white.png"
"""


def prompt_of(scenes: world.Scenes, with_style: bool) -> str:
    """Write a scene's plain caption: all objects, background, maybe style."""
    text = captions.canonical(scenes)[0]
    for size in world.SIZES:
        text = text.replace(f" {size} ", " ")
    text = text.replace("a orange", "an orange")
    return text if with_style else text.rsplit(",", 1)[0]


def reference_scene(scene: world.Scenes, matched: bool, rng: random.Random) -> world.Scenes:
    """Return another, styled reference for a prompt's scene.

    It has the same objects, or others elsewhere; its style is never the scene's and never flat.
    """
    styles = [i for i, name in enumerate(world.STYLES) if name != "flat" and i != int(scene.style)]
    style = torch.tensor([rng.choice(styles)])
    if matched:
        return replace(scene, style=style)
    other = world.sample_scenes(200, seed=rng.randrange(2**31))
    used = {(int(s), int(c)) for s, c in zip(scene.shape[0], scene.colour[0], strict=True) if s >= 0}
    shapes, colours = {s for s, _ in used}, {c for _, c in used}
    for i in range(len(other)):
        candidate = other[i : i + 1]
        pairs = [(int(s), int(c)) for s, c in zip(candidate.shape[0], candidate.colour[0], strict=True) if s >= 0]
        fresh = all(s not in shapes and c not in colours for s, c in pairs)
        if fresh and int(candidate.background) != int(scene.background):
            return replace(candidate, style=style)
    raise ValueError("no unrelated scene among 200; sample more")


def write_suite(out: Path) -> None:
    """Write suite.toml and images/ into `out`."""
    rng = random.Random(SEED)
    (out / "images").mkdir(parents=True, exist_ok=True)
    for name, grey in GREYS.items():
        Image.fromarray(np.full((world.SIZE, world.SIZE, 3), grey, np.uint8)).save(out / "images" / f"{name}.png")
    plain, combined = world.sample_scenes(ITEMS, SEED), world.sample_scenes(ITEMS, SEED, held_out=True)
    scenes, references = [], []
    for i in range(ITEMS):
        with_style = i % 3 == 2
        scene = (combined if with_style else plain)[i : i + 1]
        scenes.append(scene if with_style else replace(scene, style=torch.tensor([world.STYLES.index("flat")])))
        references.append(reference_scene(scenes[-1], i % 2 == 0, rng))
    lines = [_HEAD]
    for i, (scene, reference) in enumerate(zip(scenes, references, strict=True)):
        name = f"{i + 1:02d}"
        _render(reference, out / "images" / f"reference-{name}.png")
        # The control's image is the reference of an item half the suite away, so with other objects.
        far = (i + ITEMS // 2 + 1) % ITEMS + 1
        with_style = i % 3 == 2
        truth = captions.attributes(scene)[0]
        expected = truth if with_style else replace(truth, style=None)
        lines.append(
            f'''
[[items]]
id = "{"-".join([name, *[f"{c}-{s}" for c, s in truth.objects]])}"
prompt = "{prompt_of(scene, with_style)}"
reference = "images/reference-{name}.png"
reference_caption = "{captions.canonical(reference)[0]}"
unrelated = "images/reference-{far:02d}.png"
relation = "{"matched" if i % 2 == 0 else "unrelated"}"
expect = {_inline(expected)}
reference_expect = {_inline(captions.attributes(reference)[0])}
'''
        )
    lines += _pairs(out)
    (out / "suite.toml").write_text("".join(lines))


def _pairs(out: Path) -> list[str]:
    """Render the images to fit on.

    Their scenes are seeded apart from the items'.
    """
    styles = [i for i, name in enumerate(world.STYLES) if name != "flat"] * PAIRS_A_STYLE
    scenes = world.sample_scenes(len(styles), SEED + 1)
    lines = []
    for i, style in enumerate(styles):
        styled = replace(scenes[i : i + 1], style=torch.tensor([style]))
        plain = replace(styled, style=torch.tensor([world.STYLES.index("flat")]))
        name = f"images/pair-{i + 1:02d}"
        _render(styled, out / f"{name}.png")
        _render(plain, out / f"{name}-plain.png")
        lines.append(
            f"""
[[pairs]]
caption = "{captions.canonical(styled)[0]}"
image = "{name}.png"
plain = "{name}-plain.png"
"""
        )
    return lines


def _render(scene: world.Scenes, path: Path) -> None:
    pixels = (world.render(scene)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(path)


def _inline(facts: Attributes) -> str:
    objects = ", ".join(f'["{colour}", "{shape}"]' for colour, shape in facts.objects)
    parts = [f"objects = [{objects}]"]
    parts += [f'{name} = "{value}"' for name in ("background", "style") if (value := getattr(facts, name))]
    return "{" + ", ".join(parts) + "}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    write_suite(parser.parse_args().out)
