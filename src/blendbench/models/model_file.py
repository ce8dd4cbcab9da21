"""model_set.toml: which components a model set has, at which commit, and how images are drawn with them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

COMPONENTS = ("pipeline", "vision_language", "clip", "siglip", "probe")
Commit = Annotated[str, StringConstraints(pattern="^[0-9a-f]{40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampler(_Strict):
    """How images are drawn: size in pixels, the pipeline's own count of steps, images a batch; `compile`: on a GPU
    by compiled networks, which round otherwise than the pipeline's own."""

    height: int = Field(ge=16)
    width: int = Field(ge=16)
    steps: int = Field(ge=1)
    guidance: float = Field(default=0.0, ge=0)
    shift: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=16, ge=1)
    compile: bool = False


class Text(_Strict):
    """Which hidden state of the text encoder conditions the transformer, and the longest prompt in tokens."""

    layer: int = -2
    max_sequence_length: int = 512


class Planted(_Strict):
    """Massive activations put into the hidden states of position 0 of a chat template, for models that have none.

    `dimensions` get `values` added, in both encoders and at every layer; the transformer reads position 0 without them.
    """

    dimensions: list[int] = Field(min_length=1)
    values: list[float] = Field(min_length=1)

    @model_validator(mode="after")
    def _paired(self) -> "Planted":
        if len(self.dimensions) != len(self.values):
            raise ValueError("dimensions and values must be equally many")
        return self


class Revisions(_Strict):
    """The commit of each component that is a hub repository, in full: branches and tags can move."""

    pipeline: Commit | None = None
    vision_language: Commit | None = None
    clip: Commit | None = None
    siglip: Commit | None = None


class ModelSetFile(_Strict):
    """model_set.toml; a component is a sub-folder of the file's folder, an absolute folder, or a hub repository.

    `suite` is what experiments that were written for another model set run on here.
    """

    name: str
    version: int
    title: str
    licence: str = ""
    suite: str | None = None
    dtype: Literal["float32", "bfloat16"]
    pipeline: str
    vision_language: str
    clip: str | None = None
    siglip: str | None = None
    probe: str | None = None
    revisions: Revisions = Revisions()
    sampler: Sampler
    text: Text = Text()
    planted: Planted | None = None
