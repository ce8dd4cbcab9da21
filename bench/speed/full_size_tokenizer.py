"""The tokenizer of `full_size.py`: real ids of the special tokens, and words learnt from the shipped suites."""

import json

from tokenizers import AddedToken
from transformers import Qwen2Tokenizer

from blendbench.core.suites import list_suites, load_suite
from blendbench.models.judge import NO, YES
from miniature.tokenizer import CHAT_TEMPLATE
from miniature.tokenizer import tokenizer as miniature_tokenizer

# Qwen's added tokens in the order of their ids, from 151643 on.
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
LEARNT_WORDS = 4000


def build_tokenizer(ordinary: int) -> Qwen2Tokenizer:
    """Qwen's byte-pair tokenizer with `ordinary` tokens, few of them in use, and then the special ones."""
    suites = [load_suite(name) for name in list_suites()]
    corpus = [text for suite in suites for item in suite.items for text in (item.prompt, item.reference_caption)]
    corpus += ["user\n", "assistant\n", "system\n", *(f"assistant\n{word}" for word in (YES, NO))] * 20
    learnt = miniature_tokenizer().train_new_from_iterator(corpus * 3, min(ordinary, LEARNT_WORDS), show_progress=False)
    model = json.loads(learnt.backend_tokenizer.to_str())["model"]
    # Training puts special tokens among the ordinary ones; here they come last.
    words = [word for word in model["vocab"] if not word.startswith("<|") and word not in SPECIALS]
    words += [f"<|unused_{i}|>" for i in range(ordinary - len(words))]
    built = Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate([*words, *SPECIALS])},
        merges=[tuple(pair) for pair in model["merges"]],
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=131072,
    )
    built.add_tokens([AddedToken(token, special=True) for token in SPECIALS])
    if built.convert_tokens_to_ids(SPECIALS[-1]) != ordinary + len(SPECIALS) - 1:
        raise ValueError(f"the special tokens do not start at {ordinary}")
    return built
