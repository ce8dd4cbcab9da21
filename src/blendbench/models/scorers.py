"""CLIP and SigLIP of open_clip as float32 scorers (TF32 on NVIDIA GPUs)."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from blendbench.core.errors import UsageError
from blendbench.models.half_stored import store_half

# Images or texts per pass: enough to feed a GPU, where 384-pixel inputs must fit beside the pipeline.
_CHUNK = {"cpu": 64, "cuda": 16}
_LONG_TEXT = "word " * 1000
# Tokens that are counted of a text, however long it is.
_LONGEST = 4096
# What open_clip, transformers and safetensors raise on incomplete or damaged files.
_UNLOADABLE = (RuntimeError, ValueError, OSError, TypeError, KeyError, AttributeError, EOFError, SafetensorError)
# Functions that fill new weights with random values.
_FILLS = {Tensor.uniform_, Tensor.normal_, Tensor.erfinv_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}


@dataclass(frozen=True, eq=False)
class Encoder:
    """An image-text encoder.

    `name`: its folder. `context_length`: tokens that every text is padded or truncated to. The model's own logit is
    `logit_scale` x cosine + `logit_bias`, which is 0 for a model without one. `device`: "cpu" or "cuda".
    """

    name: str
    context_length: int
    logit_scale: float
    logit_bias: float
    device: str
    _model: Any = field(repr=False)
    _tokenizer: Any = field(repr=False)
    _preprocess: dict[str, Any] = field(repr=False)
    _texts: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def _chunk(self) -> int:
        return _CHUNK[torch.device(self.device).type]

    def encode_images(self, images: Tensor) -> Tensor:
        """Encode uint8 (n, 3, h, w) on its device as (n, d) rows of unit norm."""
        with torch.inference_mode(), _tensor_cores(), self._attention():
            return torch.cat(
                [_unit(self._model.encode_image(self._prepared(part))) for part in images.split(self._chunk)]
            )

    def _attention(self) -> AbstractContextManager[Any]:
        """Choose how the image network attends on a GPU.

        CLIP stays as it is: with any function mode, torch's attention module loses its fast path.
        """
        towers = getattr(self._model, "visual", self._model).modules()
        narrow = self.device != "cpu" and not any(isinstance(part, nn.MultiheadAttention) for part in towers)
        return HalfAttention() if narrow else nullcontext()

    def encode_texts(self, texts: list[str]) -> Tensor:
        """Encode n texts on its device as (n, d) rows of unit norm, each once."""
        new = sorted(set(texts) - self._texts.keys())
        with torch.inference_mode(), _tensor_cores():
            for start in range(0, len(new), self._chunk):
                part = new[start : start + self._chunk]
                rows = _unit(self._model.encode_text(self.tokens(part).to(self.device)))
                self._texts.update(zip(part, rows, strict=True))
        return torch.stack([self._texts[text] for text in texts])

    def tokens(self, texts: list[str]) -> Tensor:
        """Return the token ids (n, context_length) that the model reads."""
        ids: Tensor = self._tokenizer(texts)
        return ids

    def token_counts(self, texts: list[str]) -> list[int]:
        """Count each text's tokens before truncation; 4096 at most.

        Start and end tokens count; the cut is at `context_length`.
        """
        empty = self._tokenizer([""])[0]
        padding = int(empty[-1])
        # Where the end token pads as well, one of them belongs to the text.
        ends = int(empty[0] == padding)
        rows = self._tokenizer(texts, context_length=_LONGEST)
        return [min(int((row != padding).nonzero()[-1:].sum() + 1) + ends, _LONGEST) for row in rows]

    def _prepared(self, images: Tensor) -> Tensor:
        """Resize 8-bit values by the checkpoint's configuration, then normalise."""
        settings = self._preprocess
        height, width = settings["size"]
        shortest = settings["resize_mode"] == "shortest"
        images = transforms.resize(
            images.to(self.device),
            [min(height, width)] if shortest else [height, width],
            InterpolationMode(settings["interpolation"]),
            antialias=True,
        )
        if shortest:
            images = transforms.center_crop(images, [height, width])
        mean, std = (torch.tensor(settings[key], device=self.device)[:, None, None] for key in ("mean", "std"))
        return (images.float() / 255 - mean) / std


def load_encoder(folder: Path, quick_gelu: bool, device: str = "cpu") -> Encoder:
    """Load CLIP or SigLIP from an open_clip folder, safetensors only.

    On a GPU weights are stored in half precision and widened as they are used. `quick_gelu`: whether they were trained
    with QuickGELU instead of GELU. `device`: "cpu" or "cuda". Errors: UsageError if the folder is incomplete, weights
    are missing or do not fit, or texts would be read otherwise than in training: end token lost on truncation, SigLIP
    texts not padded to the context or not canonicalised.
    """
    source = _source(folder)
    try:
        with Uninitialised():
            model, _ = open_clip.create_model_from_pretrained(
                source, precision="fp32", device="cpu", force_quick_gelu=quick_gelu
            )
        tokenizer = open_clip.get_tokenizer(source)
    except _UNLOADABLE as error:
        reason = " ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise UsageError(
            f"{folder}: no usable open_clip model; give a complete folder in its layout ({reason})"
        ) from error
    model = model.float().eval()  # it may have been built in a thread beside a strategy with another default dtype
    _check_weights(folder, model)
    context = int(getattr(model, "context_length", tokenizer.context_length))
    _check_texts(folder, model, tokenizer, context)
    if device != "cpu":
        model = store_half(model).to(device).to(memory_format=torch.channels_last)
    return Encoder(
        name=str(folder),
        context_length=context,
        logit_scale=float(model.logit_scale.detach().exp()),
        logit_bias=0.0 if (bias := getattr(model, "logit_bias", None)) is None else float(bias.detach()),
        device=device,
        _model=model,
        _tokenizer=tokenizer,
        _preprocess=_checked_preprocess(folder, open_clip.get_model_preprocess_cfg(model)),
    )


def _source(folder: Path) -> str:
    if not (folder / "open_clip_config.json").is_file():
        raise UsageError(f"{folder}: open_clip_config.json is missing; save the model in open_clip's folder layout")
    if not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"{folder}: weights are missing; put open_clip_model.safetensors there, pickles are never read"
        )
    return f"local-dir:{folder.resolve()}"


def _check_weights(name: Path, model: nn.Module) -> None:
    # The extremes are NaN or infinite if any value is; finding them makes no copy.
    extremes = ((key, torch.stack(value.detach().aminmax())) for key, value in model.named_parameters())
    broken = next((key for key, pair in extremes if not pair.isfinite().all()), None)
    if broken is not None:
        raise UsageError(f"{name}: weights {broken!r} are not finite; save or download them again")


def _check_texts(name: Path, model: nn.Module, tokenizer: Any, context: int) -> None:
    long, short, loud = tokenizer([_LONG_TEXT, "red square", "Red, SQUARE."])
    if short.shape != (context,):
        raise UsageError(f"{name}: texts are padded to {len(short)} tokens, but the model reads {context}")
    if pools_end_token(model) and long[-1] != short.max():
        raise UsageError(f"{name}: the tokenizer drops the end token of a long text, where CLIP reads the embedding")
    if getattr(model, "logit_bias", None) is not None and not torch.equal(short, loud):
        raise UsageError(f'{name}: SigLIP texts are not canonicalised; set tokenizer_kwargs.clean = "canonicalize"')


def pools_end_token(model: nn.Module) -> bool:
    """Report whether the text embedding is read at the end token."""
    holder = model.text if hasattr(model, "text") else model
    return getattr(holder, "text_pool_type", getattr(holder, "pool_type", "")) == "argmax"


def _checked_preprocess(name: Path, settings: dict[str, Any]) -> dict[str, Any]:
    if settings["resize_mode"] not in ("shortest", "squash"):
        raise UsageError(f"{name}: preprocess_cfg.resize_mode = {settings['resize_mode']!r}; use shortest or squash")
    size = settings["size"]
    return {**settings, "size": (size, size) if isinstance(size, int) else tuple(size)}


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.float(), dim=-1)


@contextmanager
def _tensor_cores() -> Iterator[None]:
    """Allow TF32 within the context.

    Several times faster than float32 on the large encoders; cosines of images and texts move by less than 1e-4.
    """
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = True
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
            yield
    finally:
        products.allow_tf32 = before


class Uninitialised(TorchFunctionMode):
    """Skip random initial values, which cost more than reading the weights."""

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in _FILLS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)


class HalfAttention(TorchFunctionMode):
    """Run attention in fp16: TF32's mantissa width, and fused kernels."""

    def __torch_function__(
        self, function: Callable[..., Any], _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not F.scaled_dot_product_attention:
            return function(*args, **kwargs)
        narrow = (_half(value) for value in args)
        return function(*narrow, **{name: _half(value) for name, value in kwargs.items()}).to(args[0].dtype)


def _half(value: Any) -> Any:
    return value.half() if isinstance(value, Tensor) and value.is_floating_point() else value
