"""Blend: call strategies and turn their answers into jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blendbench.core.conditioning import BlendError, Conditioning
from blendbench.core.errors import described
from blendbench.core.hashing import sha256_json
from blendbench.core.images import image_identity
from blendbench.core.suites import Suite
from blendbench.models.model_file import Sampler
from blendbench.models.sets import ModelSet
from blendbench.registry.strategies import Configuration, Sources
from blendbench.run.contained import EndedError, StrategyError, call
from blendbench.run.embeddings import EncodingError
from blendbench.run.failures import StoppedError
from blendbench.run.inputs import InputError, View, negative_item
from blendbench.run.plan import Cell
from blendbench.run.sources import HiddenStates, SourceReader


@dataclass(frozen=True)
class Job:
    """One image to generate, and the cells that share it.

    `negative` is what guidance leads away from, if there is guidance; it is part of `sha256` if it is `blended`, else
    it is the same for all jobs. `start` is the image to start from, below strength 1; `bucket` the number of tokens
    that captions are padded to a multiple of.
    """

    conditioning: Conditioning
    sha256: str
    noise_seed: int
    start: Path | None
    bucket: int
    cells: list[Cell]
    negative: Conditioning | None = None
    blended: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Return what decides the image, for one model set and sampler."""
        return (self.sha256, self.noise_seed)

    @property
    def batch_key(self) -> tuple[object, ...]:
        """Return a batch key: padded lengths, schedules, blocks and strength."""
        parts = [self.conditioning] if self.negative is None else [self.conditioning, self.negative]
        shapes = [(-(-len(part.rows) // self.bucket), len(part.steps)) for part in parts]
        return (*shapes, self.blocks, self.conditioning.strength)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Return the blocks that read injected captions."""
        return self.conditioning.blocks or (self.negative.blocks if self.negative else ())

    @property
    def blended_negative(self) -> Conditioning | None:
        """Return the negative if the strategy made it."""
        return self.negative if self.blended else None

    def row(self) -> dict[str, Any]:
        """Return a `conditionings` row: shape and moments of the first step."""
        values = self.conditioning.rows.double()
        return {
            "conditioning_sha256": self.sha256,
            "tokens": len(values),
            "dim": values.shape[1],
            "mean": float(values.mean()),
            "std": float(values.std(correction=0)),
            "rms": float(values.square().mean().sqrt()),
        }


class BlendFailedError(Exception):
    """A cell has no conditioning; the message is what its row says."""


@dataclass
class Blender:
    """Turns cells into jobs."""

    embeddings: HiddenStates
    suite: Suite
    models: ModelSet
    _reader: SourceReader = field(init=False)
    # Strategies whose first cell was blended twice with equal results, and those that are not called again.
    _checked: set[str] = field(default_factory=set, init=False)
    _refused: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._reader = SourceReader(self.embeddings, self.suite)

    def blend(self, cell: Cell) -> Job:
        """Blend one cell. Errors: BlendFailedError, whatever was raised."""
        configuration, name = cell.configuration, cell.configuration.strategy.name
        if name in self._refused:
            raise BlendFailedError(self._refused[name])
        with _explained(configuration):
            conditioning = self._possible(self._conditioning(cell, configuration))
            start = cell.item.reference if conditioning.strength < 1 else None
            sha256 = conditioning.sha256(image_identity(start) if start else "")
        bucket, sampler = self.models.facts.caption_bucket, self.models.file.sampler
        if not sampler.guidance:
            return Job(conditioning, sha256, cell.noise_seed, start, bucket, [cell])
        blended = sampler.negative == "blend"
        with _explained(configuration, "negative prompt: "):
            negative = self._possible(
                self._blended_negative(cell, conditioning, sampler)
                if blended
                else Conditioning((self.embeddings.tokens(View(sampler.negative_prompt)).hidden,))
            )
        if blended:
            sha256 = sha256_json([sha256, negative.sha256()])
        return Job(conditioning, sha256, cell.noise_seed, start, bucket, [cell], negative, blended)

    def _possible(self, conditioning: Conditioning) -> Conditioning:
        """Return a conditioning that the pipeline can take. Errors: InputError."""
        tokens, longest = len(conditioning.rows), self.models.facts.longest_caption
        if tokens > longest:
            raise InputError(
                f"a conditioning of {tokens} tokens is longer than the {longest} that the model has room for"
            )
        family = self.models.family
        if conditioning.blocks and "injection" not in family.capabilities:
            raise InputError(f"{family.class_name} cannot show a caption to some blocks only")
        if conditioning.strength < 1 and "image_start" not in family.capabilities:
            raise InputError(f"{family.class_name} cannot start from an image")
        return conditioning

    def _conditioning(self, cell: Cell, configuration: Configuration) -> Conditioning:
        sources = self._reader.read(cell.item, configuration)
        conditioning = self._called(configuration, sources, cell)
        name = configuration.strategy.name
        if name not in self._checked:
            again = self._called(configuration, sources, cell)
            if again.sha256() != conditioning.sha256():
                self._refused[name] = (
                    f"{name} gave two different conditionings for the same cell; make it deterministic (torch, numpy"
                    " and random are seeded before each call; other sources of randomness, time and kept state are not)"
                )
                raise BlendFailedError(self._refused[name])
            self._checked.add(name)
        return conditioning

    def _called(self, configuration: Configuration, sources: Sources, cell: Cell) -> Conditioning:
        """Call a strategy; one that ended its process is not called again."""
        try:
            return call(configuration, sources, cell.noise_seed)
        except EndedError as error:
            self._refused[configuration.strategy.name] = str(error)
            raise

    def _blended_negative(self, cell: Cell, conditioning: Conditioning, sampler: Sampler) -> Conditioning:
        sources = self._reader.read(negative_item(cell.item, sampler), cell.configuration)
        negative = self._called(cell.configuration, sources, cell)
        both = (conditioning, negative)
        injected = [part for part in both if part.injected is not None]
        if conditioning.strength != negative.strength or len({part.blocks for part in injected}) > 1:
            raise BlendError(f"{cell.configuration.strategy.name} gave it another strength or other blocks")
        if injected and any(len(part.steps) > 1 for part in both):
            raise BlendError(f"{cell.configuration.strategy.name} gave one a schedule and the other an injection")
        return negative


@contextmanager
def _explained(configuration: Configuration, subject: str = "") -> Iterator[None]:
    """Raise whatever is raised as BlendFailedError."""
    try:
        yield
    except (BlendFailedError, StoppedError):
        raise
    except StrategyError as error:
        raise BlendFailedError(f"{subject}{error}") from error
    except InputError as error:
        kind = "EncodingError: " if isinstance(error, EncodingError) else ""
        raise BlendFailedError(f"{kind}{subject}{error}") from error
    except Exception as error:
        raise BlendFailedError(subject + described(error, configuration.strategy.folder)) from error
