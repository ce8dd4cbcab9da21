"""Encoder inputs of a configuration for an item, and their identity.

Planning, encoding and provenance all start from `inputs_of`, so what a cell's id covers is what the encoders see.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blendbench.core.hashing import sha256_json
from blendbench.core.images import image_identity, image_size
from blendbench.core.suites import Item, Suite
from blendbench.models.families.base import Facts
from blendbench.models.image_tokens import ImageTokens
from blendbench.models.model_file import Sampler
from blendbench.registry.strategies import Configuration

_SHARED = ("corpus", "pairs")  # parts that are the same for all items


class InputError(Exception):
    """A missing input of a strategy; every cell that reads it fails."""


@dataclass(frozen=True)
class View:
    """One encoder pass: a prompt, or an image with a prompt."""

    prompt: str
    image: Path | None = None


@dataclass(frozen=True)
class Input:
    """A view in one part (`text`, `vision`, `neutral`, ...) of a strategy."""

    part: str
    view: View


def inputs_of(configuration: Configuration, item: Item, suite: Suite) -> Iterator[Input]:
    """List the views that a configuration reads for an item, in fixed order.

    An image that the suite lacks is left out; `sources.assemble` refuses the cell that needs it.
    """
    wanted, params = configuration.strategy.inputs, configuration.params
    yield Input("text", View(item.prompt))
    if "vision" in wanted and params["reference"] != "self":
        yield Input("vision", View(item.prompt, reference_image(item, suite, str(params["reference"]))))
    if "neutral" in wanted:
        for image in neutral_images(suite, str(params["neutral_picture"])):
            yield Input("neutral", View(item.prompt, image))
    if "other" in wanted:
        yield Input("other", View(item.prompt, item.unrelated))
    if "wordless" in wanted:
        yield Input("wordless", View("", item.reference))
    if "corpus" in wanted:
        for other in suite.items:
            yield Input("corpus", View(other.prompt))
    if "pairs" in wanted:
        for pair in suite.pairs:
            yield Input("pairs", View(pair.caption))
            yield Input("pairs", View(pair.caption, pair.image))
            yield Input("pairs", View(pair.caption, pair.plain))


def negative_inputs(configuration: Configuration, item: Item, suite: Suite, sampler: Sampler) -> Iterator[Input]:
    """List the views behind the negative that guidance leads away from.

    The negative prompt is part of the sampler's identity, and its images are those of `inputs_of`.
    """
    if not sampler.guidance:
        return
    if sampler.negative == "prompt":
        yield Input("negative_text", View(sampler.negative_prompt))
    else:
        for entry in inputs_of(configuration, negative_item(item, sampler), suite):
            if entry.part not in _SHARED:
                yield replace(entry, part=f"negative_{entry.part}")


def negative_item(item: Item, sampler: Sampler) -> Item:
    """Return an item with the negative prompt in place of its own."""
    return replace(item, prompt=sampler.negative_prompt)


def reference_image(item: Item, suite: Suite, reference: str) -> Path:
    """Return the image of a `reference` setting, for `noise` the item's own."""
    return {"blank": suite.blank, "unrelated": item.unrelated}.get(reference, item.reference)


def neutral_images(suite: Suite, setting: str) -> list[Path]:
    """Return the images of a `neutral_picture` setting that the suite has."""
    chosen = {"blank": (suite.blank,), "white": (suite.white,), "mean": (suite.blank, suite.white)}[setting]
    return [image for image in chosen if image is not None]


def deepstack_marks(facts: Facts, layers: Iterable[int]) -> list[str]:
    """Return the part of an identity that says where hidden states are taken.

    Between the first layers they were once taken before the deepstack features were added, and are now taken after. All
    other states were always the same, and so are their identities.
    """
    return ["after deepstack"] if any(map(facts.has_deepstack, layers)) else []


def reference_tokens(configuration: Configuration, item: Item, suite: Suite, tokens: ImageTokens) -> int | None:
    """Return how many image tokens of its reference a configuration reads.

    None if it reads no reference, or one that cannot be encoded. Errors: ImageError.
    """
    reference = str(configuration.params.get("reference", "self"))
    if "vision" not in configuration.strategy.inputs or reference == "self":
        return None
    try:
        return tokens.count(*image_size(reference_image(item, suite, reference)))
    except ValueError:
        return None


class InputIdentities:
    """Hashes of a cell's inputs but models, sampler, code and noise.

    Prompts of a corpus and pairs are the same for all items, so they are hashed once a suite.
    """

    def __init__(self, suite: Suite, facts: Facts) -> None:
        self.suite, self.facts = suite, facts
        self._shared: dict[str, str] = {}

    def of(self, configuration: Configuration, item: Item) -> str:
        """Hash the inputs of a configuration for an item; hex sha256."""
        parts: dict[str, list[Any]] = {}
        for entry in inputs_of(configuration, item, self.suite):
            if entry.part in self._shared:
                continue
            image = None if entry.view.image is None else image_identity(entry.view.image)
            parts.setdefault(entry.part, []).append([entry.view.prompt, image])
        hashes = {part: sha256_json(rows) for part, rows in parts.items()}
        self._shared |= {part: hashes.pop(part) for part in _SHARED if part in hashes}
        read = [self._shared.get(part) for part in _SHARED if part in configuration.strategy.inputs]
        start = image_identity(item.reference) if configuration.starts_from_reference else None
        return sha256_json([hashes, read, start, *deepstack_marks(self.facts, configuration.layers)])
