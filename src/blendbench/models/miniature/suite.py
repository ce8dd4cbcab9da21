"""Make the miniature's suite, prompts and images, and new items like its own.

Use `python -m blendbench.models.miniature.suite --out DIR`.

Items are the first of an endless stream: 288 are the suite, those after them are fresh. Four items in a row hold the
four strata: the reference shows the prompt's own objects in another style ("matched") or other objects on another
background in another style ("unrelated"), and the prompt has one object or two. Of three items of a stratum one is to
tune on and two are to report. Two prompts of three leave the style open: there the reference has something to give.
There are 36 pairs to fit on: a caption, its image, and the same objects in the flat style. No item has the prompt or
the reference of another one, or shows the scene of a pair. The suite is frozen: running this again must give the same
text and pixels.
"""

import argparse
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from blendbench.core.errors import UsageError
from blendbench.core.hashing import sha256_json
from blendbench.core.suites import Attributes, Item, Split, Suite
from blendbench.models.miniature import captions, world

ITEMS = 288
PAIRS_A_STYLE = 6
SEED = 2026
GREYS = {"blank": 128, "white": 255}
STRATA = (("matched", 1), ("unrelated", 2), ("matched", 2), ("unrelated", 1))  # relation, objects of the prompt
MOST_FRESH = 2000  # the world has more scenes, but not many more prompts of one object
_BATCH = 256  # scenes that are sampled at once
_HEAD = """\
name = "miniature"
version = 4
title = "Miniature: shapes, colours and styles with exact ground truth"
licence = "Apache-2.0; prompts and images are made by blendbench.models.miniature.suite"
blank = "images/blank.png"
white = "images/white.png"

[primary]
prompt = "attribute_adherence"
gain = "reference_style"
artifact = "grid_severity"
drift = "color_elsewhere"
"""


@dataclass(frozen=True)
class Case:
    """One item of the stream before anything is rendered."""

    number: int
    scene: world.Scenes
    reference: world.Scenes
    relation: str
    objects: int
    split: Split
    states_style: bool

    @property
    def id(self) -> str:
        """Return the item's id."""
        return "-".join([f"{self.number + 1:03d}", *(f"{c}-{s}" for c, s in self.truth.objects)])

    @property
    def prompt(self) -> str:
        """Return the scene's plain caption, without its style if that is left open."""
        return prompt_of(self.scene, self.states_style)

    @property
    def truth(self) -> Attributes:
        """Return what must be true of the output."""
        truth = captions.attributes(self.scene)[0]
        return truth if self.states_style else replace(truth, style=None)

    @property
    def stratum(self) -> str:
        """Return the group that the bootstrap keeps apart."""
        return f"{self.relation}, {self.objects} object{'s' * (self.objects > 1)}"

    @property
    def file(self) -> str:
        """Return the name of the reference's file."""
        return f"images/reference-{self.number + 1:03d}.png"


def prompt_of(scenes: world.Scenes, with_style: bool) -> str:
    """Write a scene's plain caption: all objects, background, maybe style."""
    text = captions.canonical(scenes)[0]
    for size in world.SIZES:
        text = text.replace(f" {size} ", " ")
    text = text.replace("a orange", "an orange")
    return text if with_style else text.rsplit(",", 1)[0]


def cases() -> Iterator[Case]:
    """Yield the items of the suite, and after them fresh ones without end."""
    rng = random.Random(SEED)
    supplies = {kind: _scenes(*kind) for kind in itertools.product((1, 2), (False, True))}
    fitted = {_content(styled) for styled, _ in pairs()}
    prompts: set[str] = set()
    references: set[str] = set()
    for number in itertools.count():
        block, place = divmod(number, len(STRATA))
        relation, objects = STRATA[place]
        states_style = (block // 3 + place) % 3 == 2
        scene = next(
            scene
            for scene in supplies[objects, states_style]
            if _content(scene) not in fitted and prompt_of(scene, states_style) not in prompts
        )
        reference = reference_scene(scene, relation == "matched", rng)
        while _content(reference) in fitted or captions.canonical(reference)[0] in references:
            reference = reference_scene(scene, relation == "matched", rng)
        prompts.add(prompt_of(scene, states_style))
        references.add(captions.canonical(reference)[0])
        split: Split = "dev" if (block + place) % 3 == 0 else "test"
        yield Case(number, scene, reference, relation, objects, split, states_style)


def reference_scene(scene: world.Scenes, matched: bool, rng: random.Random) -> world.Scenes:
    """Return another, styled reference for a prompt's scene.

    It has the same objects, or others elsewhere; its style is never the scene's and never flat.
    """
    styles = [i for i, name in enumerate(world.STYLES) if name != "flat" and i != int(scene.style)]
    style = torch.tensor([rng.choice(styles)])
    if matched:
        return replace(scene, style=style)
    other = world.sample_scenes(200, seed=rng.randrange(2**31))
    for i in range(len(other)):
        candidate = other[i : i + 1]
        if _shares_nothing(scene, candidate):
            return replace(candidate, style=style)
    raise ValueError("no unrelated scene among 200; sample more")


def pairs() -> Iterator[tuple[world.Scenes, world.Scenes]]:
    """Yield the scenes to fit on, styled and plain, seeded apart from items."""
    styles = [i for i, name in enumerate(world.STYLES) if name != "flat"] * PAIRS_A_STYLE
    scenes = world.sample_scenes(len(styles), SEED + 1)
    for i, style in enumerate(styles):
        yield replace(scenes[i : i + 1], style=torch.tensor([style])), _flat(scenes[i : i + 1])


def write_suite(out: Path) -> None:
    """Write suite.toml and images/ into `out`."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    for name, grey in GREYS.items():
        Image.fromarray(np.full((world.SIZE, world.SIZE, 3), grey, np.uint8)).save(out / "images" / f"{name}.png")
    suite = list(itertools.islice(cases(), ITEMS))
    lines = [_HEAD]
    for case in suite:
        _render(case.reference, out / case.file)
        lines.append(
            f'''
[[items]]
id = "{case.id}"
prompt = "{case.prompt}"
reference = "{case.file}"
reference_caption = "{captions.canonical(case.reference)[0]}"
unrelated = "{_unrelated(case, suite).file}"
relation = "{case.relation}"
stratum = "{case.stratum}"
split = "{case.split}"
facts = [{_facts_inline(case.truth)}]
expect = {_inline(case.truth)}
reference_expect = {_inline(captions.attributes(case.reference)[0])}
'''
        )
    for i, (styled, plain) in enumerate(pairs(), start=1):
        name = f"images/pair-{i:02d}"
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
    (out / "suite.toml").write_text("".join(lines))


def fresh(suite: Suite, count: int, split: Split, out: Path) -> Suite:
    """Return a suite of the first `count` items after the shipped suite's.

    Their references are written into `out`. More items are the same ones and others after them, so that the hash does
    not depend on their number. Errors: UsageError for too many.
    """
    if count > MOST_FRESH:
        raise UsageError(f"{count} fresh items: the world has {MOST_FRESH:,} at most that differ")
    stream = cases()
    own = list(itertools.islice(stream, ITEMS))
    new = itertools.islice((case for case in stream if split in ("", case.split)), count)
    (out / "images").mkdir(parents=True, exist_ok=True)
    items = []
    for case in new:
        _render(case.reference, out / case.file)
        items.append(
            Item(
                id=case.id,
                prompt=case.prompt,
                reference=out / case.file,
                reference_caption=captions.canonical(case.reference)[0],
                unrelated=suite.folder / _unrelated(case, own).file,
                relation=case.relation,
                facts=captions.facts(case.truth),
                expect=case.truth,
                reference_expect=captions.attributes(case.reference)[0],
                stratum=case.stratum,
                split=case.split,
            )
        )
    sha256 = sha256_json(["fresh", suite.sha256])
    return replace(suite, name=f"{suite.name}-fresh", items=tuple(items), sha256=sha256)


def _scenes(objects: int, states_style: bool) -> Iterator[world.Scenes]:
    """Yield scenes without end, one by one.

    Where the prompt states the style they are combinations that no training scene has.
    """
    first = SEED * 10_000 + 2_000 * objects + 1_000 * states_style
    for seed in itertools.count(first):
        found = world.sample_scenes(_BATCH, seed, two_objects=float(objects - 1), held_out=states_style)
        for i in range(_BATCH):
            yield found[i : i + 1] if states_style else _flat(found[i : i + 1])


def _unrelated(case: Case, suite: list[Case]) -> Case:
    """Return an item of the suite whose reference has nothing of this one's.

    It is the first from half the suite away: the control's image.
    """
    for step in range(ITEMS):
        other = suite[(case.number + ITEMS // 2 + 1 + step) % ITEMS]
        if int(other.reference.style) != int(case.reference.style) and all(
            _shares_nothing(scene, other.reference) for scene in (case.scene, case.reference)
        ):
            return other
    raise ValueError(f"{case.id}: the suite has no unrelated reference")


def _shares_nothing(one: world.Scenes, other: world.Scenes) -> bool:
    common = (_objects(one, "shape") & _objects(other, "shape")) | (_objects(one, "colour") & _objects(other, "colour"))
    return not common and int(one.background) != int(other.background)


def _objects(scene: world.Scenes, name: str) -> set[int]:
    shown = (scene.shape[0] >= 0).tolist()
    return {value for value, is_there in zip(getattr(scene, name)[0].tolist(), shown, strict=True) if is_there}


def _content(scene: world.Scenes) -> str:
    """Return a scene's caption without sizes and style."""
    return prompt_of(scene, with_style=False)


def _flat(scene: world.Scenes) -> world.Scenes:
    return replace(scene, style=torch.full_like(scene.style, world.STYLES.index("flat")))


def _render(scene: world.Scenes, path: Path) -> None:
    pixels = (world.render(scene)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(path)


def _facts_inline(stated: Attributes) -> str:
    def listed(texts: tuple[str, ...]) -> str:
        return ", ".join(f'"{text}"' for text in texts)

    rows = [f'{{text = "{fact.text}", foils = [{listed(fact.foils)}]}}' for fact in captions.facts(stated)]
    return "\n    " + ",\n    ".join(rows) + ",\n"


def _inline(facts: Attributes) -> str:
    objects = ", ".join(f'["{colour}", "{shape}"]' for colour, shape in facts.objects)
    parts = [f"objects = [{objects}]"]
    parts += [f'{name} = "{value}"' for name in ("background", "style") if (value := getattr(facts, name))]
    return "{" + ", ".join(parts) + "}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    write_suite(parser.parse_args().out)
