"""model_set.toml: components, their commits and the sampling."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

COMPONENTS = ("pipeline", "vision_language", "clip", "siglip", "judge", "probe")
Commit = Annotated[str, StringConstraints(pattern="^[0-9a-f]{40}$")]
NoiseLevel = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampler(_Strict):
    """The settings of the sampler.

    `height`, `width`: pixels. `steps`: number of function evaluations (NFE) of the transformer. `sigmas`: noise level
    before each step; computed from `steps` and `shift`, which replaces the scheduler's own, if not given. `guidance`:
    scale of classifier-free guidance, 0 for none: the velocity is moved away from the negative's by that many times the
    difference of the two; `cfg_normalization`: whether it is then at most as long as the conditioning's own.
    `negative`: "prompt" for the text rows of `negative_prompt`, "blend" for these rows blended as the prompt's are.
    `batch_size`: images per batch. `precision`: "fp8" for the transformer's blocks in 8-bit floating point; as `dtype`
    if not given. `compile`: whether to compile the networks on a GPU; they round otherwise than the pipeline's own.
    """

    height: int = Field(ge=16)
    width: int = Field(ge=16)
    steps: int = Field(ge=1)
    sigmas: tuple[NoiseLevel, ...] | None = None
    guidance: float = Field(default=0.0, ge=0)
    negative_prompt: str = ""
    negative: Literal["prompt", "blend"] = "prompt"
    cfg_normalization: bool = False
    shift: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=16, ge=1)
    precision: Literal["fp8"] | None = None
    compile: bool = False

    @model_validator(mode="after")
    def _check_sigmas(self) -> "Sampler":
        if self.sigmas is None:
            return self
        if len(self.sigmas) != self.steps:
            raise ValueError(f"sigmas has {len(self.sigmas)} values, expected one for each of the {self.steps} steps")
        if any(later >= earlier for earlier, later in pairwise(self.sigmas)):
            raise ValueError("sigmas must fall from step to step")
        if self.shift is not None:
            raise ValueError("give either sigmas or shift; sigmas are not shifted")
        return self

    @model_validator(mode="after")
    def _check_guidance(self) -> "Sampler":
        for name in () if self.guidance else ("negative_prompt", "negative", "cfg_normalization"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect without guidance; leave it out, or set guidance above 0")
        return self

    def overridden(self, values: dict[str, Any]) -> "Sampler":
        """Replace fields; other steps or another shift replace explicit sigmas."""
        if {"steps", "shift"} & values.keys():
            return self.model_copy(update={"sigmas": None, **values})
        return self.model_copy(update=values)


class Text(_Strict):
    """The text encoder's conditioning layer and longest prompt in tokens."""

    layer: int = -2
    max_sequence_length: int = 512


class Vision(_Strict):
    """The most pixels that the vision-language model sees of an image.

    Larger images are made smaller; its processor's own limit stays where it is lower.
    """

    max_pixels: int = Field(default=1024 * 1024, ge=1)


class Planted(_Strict):
    """Massive activations to add at position 0.

    They are for models that have none of their own. `dimensions` get `values` added, in both encoders and at every
    layer. The transformer reads position 0 without them.
    """

    dimensions: list[int] = Field(min_length=1)
    values: list[float] = Field(min_length=1)

    @model_validator(mode="after")
    def _paired(self) -> "Planted":
        if len(self.dimensions) != len(self.values):
            raise ValueError("dimensions and values must be equally many")
        return self


class Revisions(_Strict):
    """The full commit of each component that is a hub repository."""

    pipeline: Commit | None = None
    vision_language: Commit | None = None
    clip: Commit | None = None
    siglip: Commit | None = None
    judge: Commit | None = None


class ModelSetFile(_Strict):
    """The content of a model_set.toml.

    A component is a sub-folder of the file's folder, an absolute folder, or a hub repository. `suite`: what experiments
    that were written for another model set run on here. `clip_quick_gelu`: CLIP's activation function, if its own
    configuration leaves it open. `judge`: a Qwen3-VL that is asked about images; it may be the one that conditions.
    `trained_to_show`: losses that build a result into the models; findings do not count what they train.
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
    clip_quick_gelu: bool | None = None
    siglip: str | None = None
    judge: str | None = None
    probe: str | None = None
    revisions: Revisions = Revisions()
    sampler: Sampler
    text: Text = Text()
    vision: Vision = Vision()
    planted: Planted | None = None
    trained_to_show: list[str] = []
