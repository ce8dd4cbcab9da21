"""The miniature's tokenizer: Qwen2's class and template, own words.

The vocabulary is made of the world's words.
"""

import functools
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from blendbench.metrics.adherence import QUESTION
from blendbench.models.judge import NO, YES
from blendbench.models.miniature import captions, world

VOCABULARY_SIZE = 640
_SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<think>",
    "</think>",
)
# Special tokens sit at the top of the vocabulary, as in Qwen.
SPECIAL_TOKENS = {token: VOCABULARY_SIZE - len(_SPECIALS) + i for i, token in enumerate(_SPECIALS)}
QUESTIONS = ("describe the picture", "which style", "which background", "how many objects")
# The part of Qwen3's and Qwen3-VL's template that a single user turn needs: an image, then text, then the assistant.
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)


@functools.cache
def tokenizer() -> Qwen2Tokenizer:
    """Train a byte-pair vocabulary of the world's words.

    It is deterministic, so that every stage builds the same one.
    """
    return _trained(_corpus())


@functools.cache
def judge_tokenizer() -> Qwen2Tokenizer:
    """Train the judge's vocabulary, which has its question and answers too."""
    lines = [QUESTION.format(caption) for caption in captions.canonical(world.sample_scenes(400, seed=0))]
    return _trained(_corpus() + lines + [f"assistant\n{word}" for word in (YES, NO)] * 400)


def _trained(corpus: list[str]) -> Qwen2Tokenizer:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(_SPECIALS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator(corpus, trainer)
    vocabulary, merges = _state(bpe)
    # Fill up to a fixed size, so that the special tokens keep their ids whatever the corpus gives.
    filler = [f"<|unused_{i}|>" for i in range(VOCABULARY_SIZE - len(_SPECIALS) - len(vocabulary))]
    vocabulary |= {token: len(vocabulary) + i for i, token in enumerate([*filler, *_SPECIALS])}
    built = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
    )
    built.add_tokens([AddedToken(token, special=True) for token in _SPECIALS])
    misplaced = [t for t, i in SPECIAL_TOKENS.items() if built.convert_tokens_to_ids(t) != i]
    if misplaced:
        raise ValueError(f"special tokens got other ids than SPECIAL_TOKENS says: {misplaced}")
    return built


def _state(bpe: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Read vocabulary and merges of a trained byte-pair tokenizer."""
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def prompt(text: str) -> str:
    """Write a user turn with generation prompt, as the pipeline does."""
    written: str = tokenizer().apply_chat_template(
        [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=True
    )
    return written


def _corpus() -> list[str]:
    scenes = world.sample_scenes(4000, seed=0)
    phrases = [described.caption for described in captions.describe(scenes, seed=0)] + captions.canonical(scenes)
    words = sorted({word for phrase in phrases for word in phrase.replace(",", " ").split()})
    # Every word at both places it can stand: after a blank and at the start of a turn.
    lines = [*phrases, *QUESTIONS * 200, *["user\n", "assistant\n", "system\n"] * 400]
    lines += [form for word in words for form in (word, f" {word}")] * 40
    random.Random(0).shuffle(lines)
    return lines
