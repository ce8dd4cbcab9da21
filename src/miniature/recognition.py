"""The miniature's scorers: CLIP and SigLIP in open_clip's local layout."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import save_model
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import nn
from transformers import PreTrainedTokenizerFast

from blendbench.models.miniature import captions
from blendbench.models.miniature.world import BACKGROUNDS, COLOURS, SIZE, sample_scenes

CONTEXT = 48
_PAD, _UNKNOWN, _END = "<pad>", "<unk>", "<eot>"


@cache
def word_tokenizer() -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token per lower-cased word.

    The end token has the highest id: open_clip's CLIP pools the text there.
    """
    phrases = [d.caption for d in captions.describe(sample_scenes(4000, seed=0), seed=0)]
    words = {word for phrase in phrases for word in phrase.replace(",", " , ").split()}
    words |= set(COLOURS) | set(BACKGROUNDS)
    vocabulary = {word: i for i, word in enumerate([_PAD, _UNKNOWN, *sorted(words), _END])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, vocabulary[_END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=_PAD, unk_token=_UNKNOWN, eos_token=_END, model_max_length=CONTEXT
    )


def model_config(name: str) -> dict[str, Any]:
    """Return open_clip's `model_cfg` of "clip" or "siglip"."""
    text: dict[str, Any] = {
        "context_length": CONTEXT,
        "vocab_size": len(word_tokenizer()),
        "hf_tokenizer_name": "word-level",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 96,
        "heads": 3,
        "layers": 3,
    }
    vision: dict[str, Any] = {"image_size": SIZE, "layers": 4, "width": 96, "head_width": 32, "patch_size": 16}
    config: dict[str, Any] = {"embed_dim": 64, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text}
    if name == "siglip":
        text |= {"pool_type": "last", "no_causal_mask": True, "proj_bias": True}
        config |= {"init_logit_scale": 2.302585092994046, "init_logit_bias": -10.0}
    return config


def network(name: str) -> nn.Module:
    """Build a freshly initialised "clip" or "siglip"."""
    from open_clip import CLIP

    config = model_config(name)
    text = {k: v for k, v in config["text_cfg"].items() if k not in ("hf_tokenizer_name", "tokenizer_kwargs")}
    built: nn.Module = CLIP(**{**config, "text_cfg": text}, output_dict=True)
    return built


def write_scaffold(folder: Path) -> None:
    """Write both scorers' configuration and tokenizer below `folder`.

    The folders are clip and siglip.
    """
    for name in ("clip", "siglip"):
        target = folder / name
        word_tokenizer().save_pretrained(target)
        preprocess = {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "interpolation": "bicubic",
            "resize_mode": "shortest" if name == "clip" else "squash",
        }
        config = {"model_cfg": model_config(name), "preprocess_cfg": preprocess}
        (target / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_weights(folder: Path, name: str, module: nn.Module) -> None:
    """Save half-precision weights under open_clip's file name."""
    save_model(module.half(), str(folder / name / "open_clip_model.safetensors"))
