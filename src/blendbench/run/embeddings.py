"""The cache of hidden states in `<results>/embeddings/`, by content."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from blendbench.core.conditioning import Denoising
from blendbench.core.errors import UsageError, described
from blendbench.core.files import read_file, write_atomically
from blendbench.core.hashing import sha256_json
from blendbench.core.images import ImageError, image_identity
from blendbench.core.tokens import Tokens
from blendbench.models.families.base import PromptError
from blendbench.models.sets import ModelSet
from blendbench.run.failures import StoppedError, is_lost
from blendbench.run.inputs import InputError, View, deepstack_marks

FOLDER = "embeddings"
_LARGEST = 1 << 32  # bytes of one file


class EncodingError(InputError):
    """A prompt or image that cannot be encoded; cells that read it fail."""


class Embeddings:
    """Hidden states by view and layer, read from disk or encoded."""

    def __init__(self, folder: Path, models: ModelSet) -> None:
        self.folder, self.models = folder, models
        self._failures: dict[str, str] = {}
        self._load = functools.lru_cache(maxsize=128)(self._read)

    @property
    def text_layer(self) -> int:
        """Return the text encoder's layer of conditionings."""
        return self.models.file.text.layer

    @property
    def denoising(self) -> Denoising:
        """Return the facts about the sampling that strategies may use."""
        return self.models.denoising

    def missing_layers(self, view: View, layers: Iterable[int]) -> tuple[int, ...]:
        """Return the layers of a view that are not on disk."""
        return tuple(layer for layer in sorted(set(layers)) if not self.path(self.key(view, layer)).is_file())

    def tokens(self, view: View, layer: int | None = None) -> Tokens:
        """Return a view's tokens at a layer (default: text), encoding if needed.

        Errors: EncodingError.
        """
        wanted = self.text_layer if layer is None else layer
        key = self.key(view, wanted)
        for _ in range(2):
            if not self.path(key).is_file():
                self.encode(view, (wanted,))
            if key in self._failures:
                raise EncodingError(self._failures[key])
            try:
                return self._load(key)
            except _DamagedError:
                # What was damaged on disk is computed again, never read.
                self.path(key).unlink(missing_ok=True)
        raise EncodingError(f"{self.path(key)} cannot be read back after it was written; check the disk")

    def encode(self, view: View, layers: tuple[int, ...]) -> None:
        """Encode a view at some layers and keep them.

        A failure is remembered and raised when they are read.
        Errors: UsageError (an encoder that cannot be loaded), StoppedError (an unusable device).
        """
        keys = {self.key(view, layer): layer for layer in layers}
        if any(key in self._failures for key in keys):
            return
        try:
            encoded = self._encoder(view)(layers)
        except torch.OutOfMemoryError:
            reason = "out of memory while encoding"
        except (PromptError, ImageError) as error:
            reason = str(error)
        except UsageError:
            raise
        except Exception as error:
            reason = described(error)
            if is_lost(reason):
                raise StoppedError(reason) from error
        else:
            self._keep(keys, encoded)
            return
        self._failures |= dict.fromkeys(keys, reason)

    def _keep(self, keys: Mapping[str, int], encoded: Mapping[int, Tokens]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for key, layer in keys.items():
            write_atomically(self.path(key), _packed(encoded[layer]))

    def _encoder(self, view: View) -> Callable[[tuple[int, ...]], Mapping[int, Tokens]]:
        if view.image is None:
            return functools.partial(self.models.text.encode_layers, view.prompt)
        return functools.partial(self.models.vision.encode, view.image, view.prompt)

    def path(self, key: str) -> Path:
        """Return where the hidden states of a key are kept."""
        return self.folder / f"{key}.safetensors"

    def key(self, view: View, layer: int) -> str:
        """Hash a view's inputs: models, layer, prompt and image."""
        if view.image is None:
            return sha256_json([self.models.sha256, "text", None, view.prompt, layer])
        marks = deepstack_marks(self.models.facts, [layer])
        return sha256_json([self.models.sha256, "vision", image_identity(view.image), view.prompt, layer, *marks])

    def _read(self, key: str) -> Tokens:
        return read_hidden_states(self.path(key))


def read_hidden_states(path: Path) -> Tokens:
    """Return the tokens of a file. Errors: _DamagedError."""
    try:
        # Read whole, not mapped: a mapped file that is cut short meanwhile would end the process.
        data = read_file(path, _LARGEST)
        length = int.from_bytes(data[:8], "little")
        stored, expected = load(data), str(json.loads(data[8 : 8 + length])["__metadata__"]["sha256"])
        # A changed name is missing here, and of an unknown type there are no bytes to hash.
        found = _content_sha256(stored)
        rows, columns = stored["grid"].tolist()
    except (SafetensorError, UsageError, ValueError, KeyError, TypeError) as error:
        raise _DamagedError from error
    if found != expected:
        raise _DamagedError
    return Tokens(stored["hidden"], stored["kinds"], (rows, columns) if rows else None)


def damaged_files(folder: Path) -> list[str]:
    """Return the names of files of hidden states that are not what was written."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
    except OSError:
        return []
    return [path.name for path in paths if not _is_whole(path)]


def _is_whole(path: Path) -> bool:
    try:
        read_hidden_states(path)
    except _DamagedError:
        return False
    return True


class _DamagedError(Exception):
    """A file of hidden states is not what was written."""


def _packed(encoded: Tokens) -> bytes:
    tensors = {
        "hidden": encoded.hidden.contiguous(),
        "kinds": encoded.kinds.contiguous(),
        "grid": torch.tensor(encoded.grid or (0, 0)),
    }
    return save(tensors, {"sha256": _content_sha256(tensors)})


def _content_sha256(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in ("hidden", "kinds", "grid"):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\0".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()
