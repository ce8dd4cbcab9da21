"""Assemble a cell's strategy inputs from cached hidden states."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from blendbench.core.conditioning import Denoising
from blendbench.core.hashing import sha256_json
from blendbench.core.suites import Item, Suite
from blendbench.core.tokens import Kind, Pair, Tokens, content, gaussian_like, select
from blendbench.registry.parameters import layer_weights
from blendbench.registry.strategies import Configuration, Sources
from blendbench.run.inputs import InputError, View, neutral_images, reference_image


class HiddenStates(Protocol):
    """Where sources come from: encoders, or made-up tokens of their sizes."""

    @property
    def denoising(self) -> Denoising:
        """Return the facts about the sampling that strategies may use."""

    def tokens(self, view: View, layer: int | None = None) -> Tokens:
        """Return tokens at a layer (default: text). Errors: InputError."""


class SourceReader:
    """Reads the sources of cells.

    The corpus is read once, and pairs once for the same settings, so that a fit can be kept.
    """

    def __init__(self, embeddings: HiddenStates, suite: Suite) -> None:
        self.embeddings, self.suite = embeddings, suite
        self._pairs: dict[tuple[Any, Any, str], tuple[Pair, ...]] = {}

    def read(self, item: Item, configuration: Configuration) -> Sources:
        """Return what a configuration reads. Errors: InputError, ValueError."""
        wanted, params, embeddings = configuration.strategy.inputs, configuration.params, self.embeddings
        text = embeddings.tokens(View(item.prompt))
        found: dict[str, Any] = {}
        if "vision" in wanted:
            found["vision"] = self._reference(item, params, text)
        if "neutral" in wanted:
            images = neutral_images(self.suite, str(params["neutral_picture"]))
            if len(images) < (2 if params["neutral_picture"] == "mean" else 1):
                raise InputError(f"suite {self.suite.name} has no white image")
            blanks = [self._selected(View(item.prompt, image), params) for image in images]
            found["neutral"] = replace(blanks[0], hidden=torch.stack([blank.hidden for blank in blanks]).mean(0))
        if "other" in wanted:
            found["other"] = self._selected(View(item.prompt, item.unrelated), params)
        if "wordless" in wanted:
            found["wordless"] = self._selected(View("", item.reference), {**params, "tokens": "image_no_markers"})
        if "corpus" in wanted:
            found["corpus"] = self._corpus
        if "pairs" in wanted:
            found["pairs"] = self._encoded_pairs(params)
        if "denoising" in wanted:
            found["denoising"] = embeddings.denoising
        return Sources(text, **found)

    @functools.cached_property
    def _corpus(self) -> tuple[Tokens, ...]:
        return tuple(self.embeddings.tokens(View(other.prompt)) for other in self.suite.items)

    def _reference(self, item: Item, params: Mapping[str, Any], text: Tokens) -> Tokens:
        reference = str(params["reference"])
        if reference == "self":
            own = content(text)
            return own if len(own.hidden) else text  # an empty prompt, such as a negative one, is its template alone
        tokens = self._selected(View(item.prompt, reference_image(item, self.suite, reference)), params)
        if reference == "noise":
            return gaussian_like(tokens, int(sha256_json(["noise", item.id])[:12], 16))
        return tokens

    def _selected(self, view: View, params: Mapping[str, Any]) -> Tokens:
        """Keep rows of some kinds: image rows from `layer`, others `text_layer`."""
        tokens = self._mixed(view, params["layer"])
        if params["text_layer"] != "same":
            other = self._mixed(view, params["text_layer"])
            of_image = ((tokens.kinds == int(Kind.IMAGE)) | (tokens.kinds == int(Kind.MARKER)))[:, None]
            tokens = replace(tokens, hidden=torch.where(of_image, tokens.hidden, other.hidden))
        return select(tokens, params["tokens"])

    def _mixed(self, view: View, layer: Any) -> Tokens:
        parts = [(weight, self.embeddings.tokens(view, n)) for n, weight in layer_weights(layer).items()]
        hidden = torch.stack([weight * tokens.hidden for weight, tokens in parts]).sum(0)
        return replace(parts[0][1], hidden=hidden)

    def _encoded_pairs(self, params: Mapping[str, Any]) -> tuple[Pair, ...]:
        if not self.suite.pairs:
            raise InputError(f"suite {self.suite.name} has no pairs to fit on")
        key = (params["layer"], params["text_layer"], str(params["tokens"]))
        if key not in self._pairs:
            self._pairs[key] = tuple(
                Pair(
                    self.embeddings.tokens(View(pair.caption)),
                    self._selected(View(pair.caption, pair.image), params),
                    self._selected(View(pair.caption, pair.plain), params),
                )
                for pair in self.suite.pairs
            )
        return self._pairs[key]
