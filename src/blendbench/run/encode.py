"""Encoding: each prompt and each (image, prompt) once, kept as safetensors by content hash."""

import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file, save_file

from blendbench.core.hashing import sha256_bytes, sha256_json
from blendbench.core.suites import Item, Suite
from blendbench.core.tokens import Kind, Pair, Tokens, content, gaussian_like, select
from blendbench.models.sets import ModelSet
from blendbench.registry.parameters import layer_weights
from blendbench.registry.strategies import Configuration, Sources
from blendbench.run.plan import Cell
from blendbench.run.progress import Clock, Reporter


class EncodingError(Exception):
    """A prompt or image that the models cannot encode; every cell that reads it fails with this message."""


@dataclass(frozen=True)
class EmbeddingFile:
    """`embeddings/<sha256>.safetensors`: what a strategy reads as `stage`, and of what it is the encoding."""

    stage: str
    sha256: str
    layer: int
    image_sha256: str | None
    prompt: str


@dataclass(frozen=True)
class Pass:
    """One forward pass that is to come: of a prompt, or of an image with its prompt, at all layers that are read."""

    image: Path | None
    prompt: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()


class Embeddings:
    """The cache of hidden states in `<results>/embeddings/`, filled by the model set's encoders."""

    def __init__(self, folder: Path, models: ModelSet, suite: Suite) -> None:
        self.folder, self.models, self.suite = folder, models, suite
        self._failures: dict[str, str] = {}
        self._fitted: dict[tuple[Any, Any, str], tuple[Pair, ...]] = {}
        self._load = functools.lru_cache(maxsize=128)(self._read)

    def pending(self, cells: Iterable[Cell]) -> list[Pass]:
        """What has to be computed before `cells` can be blended: nothing that is kept, and nothing twice."""
        prompts: dict[str, set[int]] = {}
        views: defaultdict[tuple[Path, str], set[int]] = defaultdict(set)
        for cell in cells:
            prompts |= {prompt: {self._text_layer} for _, prompt in self._prompts(cell.item, cell.configuration)}
            for _, image, prompt in self._views(cell.item, cell.configuration):
                views[(image, prompt)] |= cell.configuration.layers
        return self._absent(prompts, views)

    def reads(self, cell: Cell) -> list[tuple[Path | None, str]]:
        """Every (image, prompt) that a cell is blended from; no image: the text encoder's tokens of the prompt."""
        texts = [(None, prompt) for _, prompt in self._prompts(cell.item, cell.configuration)]
        return [*texts, *((image, prompt) for _, image, prompt in self._views(cell.item, cell.configuration))]

    def pending_layers(self, views: Iterable[tuple[Path, str]], layers: Iterable[int]) -> list[Pass]:
        """The same for (image, prompt) at chosen layers of both encoders, and prompts at the model set's layer."""
        wanted, seen = set(layers), list(views)
        prompts = {prompt: wanted | {self._text_layer} for _, prompt in seen}
        return self._absent(prompts, dict.fromkeys(seen, wanted))

    def _absent(self, prompts: Mapping[str, set[int]], views: Mapping[tuple[Path, str], set[int]]) -> list[Pass]:
        found: list[Pass] = []
        for prompt, wanted in prompts.items():
            absent = [n for n in sorted(wanted) if not self._path(self._text_key(prompt, n)).is_file()]
            if absent:
                found.append(Pass(None, prompt, functools.partial(self._encode_text, prompt, tuple(absent))))
        for (image, prompt), wanted in views.items():
            absent = [n for n in sorted(wanted) if not self._path(self._vision_key(image, prompt, n)).is_file()]
            if absent:
                encode = functools.partial(self._encode_vision, image, prompt, tuple(absent))
                found.append(Pass(image, prompt, encode))
        return found

    def sources(self, item: Item, configuration: Configuration) -> Sources:
        """What a configuration reads for an item, computed now if it is not kept yet.

        Errors: EncodingError; ValueError if no token is of the kind asked for, or if the suite lacks an image.
        """
        inputs, params = configuration.strategy.inputs, configuration.params

        def view(image: Path) -> Tokens:
            return self._selected(image, item.prompt, params)

        text = self.text(item.prompt)
        found: dict[str, Any] = {}
        if "vision" in inputs:
            found["vision"] = self._reference(item, str(params["reference"]), text, view)
        if "neutral" in inputs:
            blanks = [view(image) for image in self._neutrals(str(params["neutral_picture"]))]
            found["neutral"] = replace(blanks[0], hidden=torch.stack([blank.hidden for blank in blanks]).mean(0))
        if "other" in inputs:
            found["other"] = view(item.unrelated)
        if "wordless" in inputs:
            found["wordless"] = self._selected(item.reference, "", {**params, "tokens": "image_no_markers"})
        if "corpus" in inputs:
            found["corpus"] = tuple(self.text(other.prompt) for other in self.suite.items)
        if "pairs" in inputs:
            found["pairs"] = self._pairs(params["layer"], params["text_layer"], str(params["tokens"]))
        if "denoising" in inputs:
            found["denoising"] = self.models.denoising
        return Sources(text, **found)

    def _reference(self, item: Item, reference: str, text: Tokens, view: Callable[[Path], Tokens]) -> Tokens:
        if reference == "self":
            return content(text)
        tokens = view(self._reference_image(item, reference))
        if reference == "noise":
            return gaussian_like(tokens, int(sha256_json(["noise", item.id])[:12], 16))
        return tokens

    def _reference_image(self, item: Item, reference: str) -> Path:
        return {"blank": self.suite.blank, "unrelated": item.unrelated}.get(reference, item.reference)

    def _neutrals(self, wanted: str) -> list[Path]:
        if wanted == "blank":
            return [self.suite.blank]
        if self.suite.white is None:
            raise ValueError(f"suite {self.suite.name} has no white image")
        return [self.suite.white] if wanted == "white" else [self.suite.blank, self.suite.white]

    def files(self, item: Item, configuration: Configuration) -> list[EmbeddingFile]:
        """Every file of hidden states that a configuration reads for an item."""
        text = [
            EmbeddingFile(stage, self._text_key(prompt, self._text_layer), self._text_layer, None, prompt)
            for stage, prompt in self._prompts(item, configuration)
        ]
        vision = [
            EmbeddingFile(stage, self._vision_key(image, prompt, n), n, _image_hash(image), prompt)
            for stage, image, prompt in self._views(item, configuration)
            for n in sorted(configuration.layers)
        ]
        return [*text, *vision]

    def _prompts(self, item: Item, configuration: Configuration) -> list[tuple[str, str]]:
        """(what it is to the strategy, prompt) of all text tokens that a configuration reads for an item."""
        inputs = configuration.strategy.inputs
        corpus = [("corpus", other.prompt) for other in self.suite.items] if "corpus" in inputs else []
        fitted = [("pairs", pair.caption) for pair in self.suite.pairs] if "pairs" in inputs else []
        return [("text", item.prompt), *corpus, *fitted]

    def _views(self, item: Item, configuration: Configuration) -> list[tuple[str, Path, str]]:
        """(what it is to the strategy, image, prompt) of all that the vision-language model has to see."""
        inputs, params = configuration.strategy.inputs, configuration.params
        found: list[tuple[str, Path, str]] = []
        if "vision" in inputs and params["reference"] != "self":
            found.append(("vision", self._reference_image(item, str(params["reference"])), item.prompt))
        if "neutral" in inputs and (self.suite.white or params["neutral_picture"] == "blank"):
            blanks = self._neutrals(str(params["neutral_picture"]))
            found += [("neutral", image, item.prompt) for image in blanks]
        if "other" in inputs:
            found.append(("other", item.unrelated, item.prompt))
        if "wordless" in inputs:
            found.append(("wordless", item.reference, ""))
        if "pairs" in inputs:
            found += [("pairs", p, pair.caption) for pair in self.suite.pairs for p in (pair.image, pair.plain)]
        return found

    def _selected(self, image: Path, prompt: str, params: Mapping[str, Any]) -> Tokens:
        """Rows of some kinds, image rows from `layer` and all others from `text_layer`."""
        tokens = self._mixed(image, prompt, params["layer"])
        if params["text_layer"] != "same":
            other = self._mixed(image, prompt, params["text_layer"])
            of_image = ((tokens.kinds == int(Kind.IMAGE)) | (tokens.kinds == int(Kind.MARKER)))[:, None]
            tokens = replace(tokens, hidden=torch.where(of_image, tokens.hidden, other.hidden))
        return select(tokens, params["tokens"])

    def _mixed(self, image: Path, prompt: str, layer: Any) -> Tokens:
        parts = [(weight, self.vision(image, prompt, n)) for n, weight in layer_weights(layer).items()]
        hidden = torch.stack([weight * tokens.hidden for weight, tokens in parts]).sum(0)
        return replace(parts[0][1], hidden=hidden)

    def _pairs(self, layer: Any, text_layer: Any, tokens: str) -> tuple[Pair, ...]:
        """The suite's pairs, encoded; the same objects for the same settings, so that a fit can be kept."""
        key = (layer, text_layer, tokens)
        if not self.suite.pairs:
            raise ValueError(f"suite {self.suite.name} has no pairs to fit on")
        if key not in self._fitted:
            params = {"layer": layer, "text_layer": text_layer, "tokens": tokens}
            self._fitted[key] = tuple(
                Pair(
                    self.text(pair.caption),
                    self._selected(pair.image, pair.caption, params),
                    self._selected(pair.plain, pair.caption, params),
                )
                for pair in self.suite.pairs
            )
        return self._fitted[key]

    @property
    def _text_layer(self) -> int:
        return self.models.file.text.layer

    def text(self, prompt: str, layer: int | None = None) -> Tokens:
        """The text encoder's tokens, at the model set's layer unless another is named. Errors: EncodingError."""
        wanted = self._text_layer if layer is None else layer
        key = self._text_key(prompt, wanted)
        if not self._path(key).is_file():
            self._encode_text(prompt, (wanted,))
        return self._load(key)

    def vision(self, image: Path, prompt: str, layer: int) -> Tokens:
        """The vision-language model's tokens of an image and a prompt at one layer. Errors: EncodingError."""
        key = self._vision_key(image, prompt, layer)
        if not self._path(key).is_file():
            self._encode_vision(image, prompt, (layer,))
        return self._load(key)

    def _encode_text(self, prompt: str, layers: tuple[int, ...]) -> None:
        keys = {self._text_key(prompt, layer): layer for layer in layers}
        self._keep(keys, lambda: self.models.text.encode_layers(prompt, layers))

    def _encode_vision(self, image: Path, prompt: str, layers: tuple[int, ...]) -> None:
        keys = {self._vision_key(image, prompt, layer): layer for layer in layers}
        self._keep(keys, lambda: self.models.vision.encode(image, prompt, layers))

    def _keep(self, keys: dict[str, int], encode: Callable[[], dict[int, Tokens]]) -> None:
        """Encode and write by write-then-rename, unless it has failed before."""
        if any(key in self._failures for key in keys):
            return
        try:
            encoded = encode()
        except (ValueError, torch.OutOfMemoryError) as error:
            lacks_memory = isinstance(error, torch.OutOfMemoryError)
            self._failures |= dict.fromkeys(keys, "out of memory while encoding" if lacks_memory else str(error))
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

    def _text_key(self, prompt: str, layer: int) -> str:
        settings = self.models.file.text.model_dump() | {"layer": layer}
        return sha256_json([self.models.sha256, "text", settings, prompt])

    def _vision_key(self, image: Path, prompt: str, layer: int) -> str:
        return sha256_json([self.models.sha256, "vision", _image_hash(image), prompt, layer])


class Encodings:
    """The passes that are pending for a run's cells, each made once: all before anything is drawn (`make_all`), or in a
    thread of their own, some cells before they are blended (`begin`).

    `quiet` is held while that thread makes a pass: by nobody else may anything be changed meanwhile that holds for all
    threads of the process, such as torch's precision of products or what is compiled.
    """

    def __init__(self, embeddings: Embeddings, cells: Sequence[Cell], clock: Clock, reporter: Reporter) -> None:
        self.embeddings, self.clock = embeddings, clock
        self.quiet = threading.Lock()
        self._waiting = {(one.image, one.prompt): one for one in embeddings.pending(cells)}
        self._begun: dict[tuple[Path | None, str], Future[None]] = {}
        self._stage = reporter.stage("encode", len(self._waiting)) if self._waiting else None
        self._worker = ThreadPoolExecutor(1, "encoder")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown(cancel_futures=True)

    @property
    def encoders(self) -> list[str]:
        """The parts of the model set that the passes need."""
        return sorted({"text" if one.image is None else "vision" for one in self._waiting.values()})

    def make_all(self) -> None:
        """Encode everything here and now, one encoder after the other: they may not be on the device together."""
        for encode in self._waiting.values():
            with self._counted():
                encode()
        self._waiting.clear()

    def begin(self, cells: Iterable[Cell]) -> None:
        """Let the thread encode what `cells` read and what is neither there nor under way, in this order."""
        for cell in cells:
            for key in self.embeddings.reads(cell) if self._waiting else ():
                if encode := self._waiting.pop(key, None):
                    self._begun[key] = self._worker.submit(self._make, encode)

    def make(self, cell: Cell) -> None:
        """Wait until everything that `cell` reads is there, once it was begun."""
        for key in self.embeddings.reads(cell) if self._begun else ():
            if made := self._begun.pop(key, None):
                with self._counted():
                    made.result()

    def _make(self, encode: Pass) -> None:
        with self.quiet, self.embeddings.models.beside():
            encode()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self.clock.time("encode"):
            yield
        if self._stage is not None:
            self._stage.advance(1)


@functools.cache
def _image_hash(path: Path) -> str:
    return sha256_bytes(path.read_bytes())
