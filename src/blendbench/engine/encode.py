"""Encoding: each prompt and each (picture, prompt) once, kept as safetensors by content hash."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from blendbench.blending import Configuration, Sources, Tokens, select
from blendbench.blending.tokens import content, gaussian_like
from blendbench.engine.plan import Cell
from blendbench.hashing import sha256_bytes, sha256_json
from blendbench.models.sets import ModelSet
from blendbench.models.tokens import Encoded
from blendbench.suites import Item, Suite


class EncodingError(Exception):
    """A prompt or picture that the models cannot encode; every cell that reads it fails with this message."""


class Embeddings:
    """The cache of hidden states in `<results>/embeddings/`, filled by the model set's encoders."""

    def __init__(self, folder: Path, models: ModelSet, suite: Suite) -> None:
        self.folder, self.models, self.suite = folder, models, suite
        self._failures: dict[str, str] = {}
        self._load = functools.lru_cache(maxsize=128)(self._read)

    def pending(self, cells: Iterable[Cell]) -> list[Callable[[], None]]:
        """What has to be computed before `cells` can be blended: one call a forward pass, none for what is kept."""
        prompts: dict[str, None] = {}
        layers: defaultdict[tuple[Path, str], set[int]] = defaultdict(set)
        for cell in cells:
            prompts[cell.item.prompt] = None
            for picture, layer in self._pictures(cell.item, cell.configuration):
                layers[(picture, cell.item.prompt)].add(layer)
        text = [
            functools.partial(self._encode_text, prompt)
            for prompt in prompts
            if not self._path(self._text_key(prompt)).is_file()
        ]
        vision = []
        for (picture, prompt), wanted in layers.items():
            absent = [n for n in sorted(wanted) if not self._path(self._vision_key(picture, prompt, n)).is_file()]
            if absent:
                vision.append(functools.partial(self._encode_vision, picture, prompt, tuple(absent)))
        return [*text, *vision]

    def sources(self, item: Item, configuration: Configuration) -> Sources:
        """What a configuration reads for an item, computed now if it is not kept yet.

        Errors: EncodingError; ValueError if no token is of the kind asked for.
        """
        text = self._text(item.prompt)
        inputs, params = configuration.strategy.inputs, configuration.params
        if "vision" not in inputs:
            return Sources(text)
        layer, mode, reference = int(params["layer"]), str(params["tokens"]), str(params["reference"])
        if reference == "self":
            vision = content(text)
        else:
            vision = select(self._vision(self._reference(item, reference), item.prompt, layer), mode)  # type: ignore[arg-type]
            if reference == "noise":
                vision = gaussian_like(vision, int(sha256_json(["noise", item.id])[:12], 16))
        neutral = None
        if "neutral" in inputs:
            neutral = select(self._vision(self.suite.blank, item.prompt, layer), mode)  # type: ignore[arg-type]
        return Sources(text, vision, neutral)

    def _reference(self, item: Item, reference: str) -> Path:
        return {"blank": self.suite.blank, "unrelated": item.unrelated}.get(reference, item.reference)

    def _pictures(self, item: Item, configuration: Configuration) -> set[tuple[Path, int]]:
        inputs, params = configuration.strategy.inputs, configuration.params
        found: set[tuple[Path, int]] = set()
        if "vision" in inputs and params["reference"] != "self":
            found.add((self._reference(item, str(params["reference"])), int(params["layer"])))
        if "neutral" in inputs:
            found.add((self.suite.blank, int(params["layer"])))
        return found

    def _text(self, prompt: str) -> Tokens:
        key = self._text_key(prompt)
        if not self._path(key).is_file():
            self._encode_text(prompt)
        return self._load(key)

    def _vision(self, picture: Path, prompt: str, layer: int) -> Tokens:
        key = self._vision_key(picture, prompt, layer)
        if not self._path(key).is_file():
            self._encode_vision(picture, prompt, (layer,))
        return self._load(key)

    def _encode_text(self, prompt: str) -> None:
        key = self._text_key(prompt)
        self._keep({key: 0}, lambda: {0: self.models.text.encode(prompt)})

    def _encode_vision(self, picture: Path, prompt: str, layers: tuple[int, ...]) -> None:
        keys = {self._vision_key(picture, prompt, layer): layer for layer in layers}
        self._keep(keys, lambda: self.models.vision.encode(picture, prompt, layers))

    def _keep(self, keys: dict[str, int], encode: Callable[[], dict[int, Encoded]]) -> None:
        """Encode and write by write-then-rename, unless it has failed before."""
        if any(key in self._failures for key in keys):
            return
        try:
            encoded = encode()
        except ValueError as error:
            self._failures |= dict.fromkeys(keys, str(error))
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for key, layer in keys.items():
            fresh, partial = encoded[layer], self._path(key).with_suffix(".partial")
            grid = torch.tensor(fresh.grid or (0, 0))
            save_file({"hidden": fresh.hidden.contiguous(), "kinds": fresh.kinds, "grid": grid}, partial)
            partial.replace(self._path(key))

    def _read(self, key: str) -> Tokens:
        if key in self._failures:
            raise EncodingError(self._failures[key])
        stored = load_file(self._path(key))
        rows, columns = stored["grid"].tolist()
        return Tokens(stored["hidden"], stored["kinds"], (rows, columns) if rows else None)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _text_key(self, prompt: str) -> str:
        return sha256_json([self.models.sha256, "text", self.models.file.text.model_dump(), prompt])

    def _vision_key(self, picture: Path, prompt: str, layer: int) -> str:
        return sha256_json([self.models.sha256, "vision", _picture_hash(picture), prompt, layer])


@functools.cache
def _picture_hash(path: Path) -> str:
    return sha256_bytes(path.read_bytes())
