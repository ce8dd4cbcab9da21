"""Encoding: each prompt and each (picture, prompt, layer) once, kept as safetensors by content hash."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from blendbench.blending import Configuration, Sources, Tokens, select
from blendbench.blending.tokens import content, gaussian_like
from blendbench.hashing import sha256_bytes, sha256_json
from blendbench.models.sets import ModelSet
from blendbench.models.tokens import Encoded
from blendbench.suites import Item, Suite


class Embeddings:
    """The cache of hidden states in a folder, filled on demand by the model set's encoders."""

    def __init__(self, folder: Path, models: ModelSet, suite: Suite) -> None:
        self.folder, self.models, self.suite = folder, models, suite
        self._text = functools.lru_cache(maxsize=64)(self._load_text)
        self._vision = functools.lru_cache(maxsize=64)(self._load_vision)

    def sources(self, item: Item, configuration: Configuration) -> Sources:
        """What a configuration reads for an item. Errors: ValueError (no such layer, no token of that kind)."""
        text = self._text(item.prompt)
        inputs, params = configuration.strategy.inputs, configuration.params
        if "vision" not in inputs:
            return Sources(text)
        layer, mode, reference = int(params["layer"]), str(params["tokens"]), str(params["reference"])
        if reference == "self":
            vision = content(text)
        else:
            picture = {"blank": self.suite.blank, "unrelated": item.unrelated}.get(reference, item.reference)
            vision = select(self._vision(picture, item.prompt, layer), mode)  # type: ignore[arg-type]
            if reference == "noise":
                vision = gaussian_like(vision, int(sha256_json(["noise", item.id])[:12], 16))
        neutral = None
        if "neutral" in inputs:
            neutral = select(self._vision(self.suite.blank, item.prompt, layer), mode)  # type: ignore[arg-type]
        return Sources(text, vision, neutral)

    def _load_text(self, prompt: str) -> Tokens:
        key = sha256_json([self.models.sha256, "text", self.models.file.text.model_dump(), prompt])
        return self._cached(key, lambda: self.models.text.encode(prompt))

    def _load_vision(self, picture: Path, prompt: str, layer: int) -> Tokens:
        key = sha256_json([self.models.sha256, "vision", _picture_hash(picture), prompt, layer])
        return self._cached(key, lambda: self.models.vision.encode(picture, prompt, (layer,))[layer])

    def _cached(self, key: str, encode: Callable[[], Encoded]) -> Tokens:
        path = self.folder / f"{key}.safetensors"
        if not path.is_file():
            fresh = encode()
            grid = torch.tensor(fresh.grid if fresh.grid else (0, 0))
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            save_file({"hidden": fresh.hidden.contiguous(), "kinds": fresh.kinds, "grid": grid}, partial)
            partial.replace(path)
        stored = load_file(path)
        rows, columns = stored["grid"].tolist()
        return Tokens(stored["hidden"], stored["kinds"], (rows, columns) if rows else None)


@functools.cache
def _picture_hash(path: Path) -> str:
    return sha256_bytes(path.read_bytes())
