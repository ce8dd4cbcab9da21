"""Use the text encoder as the pipeline does, with padding removed."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from blendbench.core.tokens import Tokens
from blendbench.models.families.base import PromptError
from blendbench.models.loading import load_complete, quiet_loading
from blendbench.models.tokens import Plant, planted, template_length, text_kinds


class Qwen3TextEncoder:
    """Encode prompts with Qwen3 as a user turn, without a think block."""

    def __init__(
        self, encoder: Any, tokenizer: Any, layer: int, max_sequence_length: int, plant: Plant | None = None
    ) -> None:
        # A language model's head would only make logits that nobody reads.
        self.encoder, self.tokenizer = getattr(encoder, "model", encoder), tokenizer
        self.layer, self.max_sequence_length, self.plant = layer, max_sequence_length, plant

    def _chat(self, prompt: str) -> str:
        text: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        return text

    def _ids(self, prompt: str) -> list[int]:
        ids: list[int] = self.tokenizer(self._chat(prompt)).input_ids
        return ids

    def encode(self, prompt: str) -> Tokens:
        """Encode a prompt at the set's layer: (tokens, dim). Errors: ValueError."""
        return self.encode_layers(prompt, (self.layer,))[self.layer]

    @torch.inference_mode()
    def encode_layers(self, prompt: str, layers: tuple[int, ...]) -> dict[int, Tokens]:
        """Encode a prompt once; return its hidden states at each of `layers`.

        It is padded to the longest length as in the pipeline: no token sees the padding, but products of other shapes
        round otherwise. Errors: PromptError if it is longer than the model set allows; ValueError if the encoder lacks
        a layer.
        """
        ids = self._ids(prompt)
        if len(ids) > self.max_sequence_length:
            raise PromptError(f"the prompt has {len(ids)} tokens, the model set allows {self.max_sequence_length}")
        before, after = template_length(ids, self._ids(""))
        padded = self.tokenizer(
            [self._chat(prompt)], padding="max_length", max_length=self.max_sequence_length, return_tensors="pt"
        ).to(self.encoder.device)
        mask = padded.attention_mask.bool()
        states = self.encoder(
            input_ids=padded.input_ids, attention_mask=mask, output_hidden_states=True, use_cache=False
        ).hidden_states
        if lacking := [layer for layer in layers if not -len(states) <= layer < len(states)]:
            raise ValueError(f"the text encoder has {len(states)} hidden states, and none at layer {lacking[0]}")
        kinds = text_kinds(len(ids), before, after)
        return {layer: Tokens(planted(states[layer][0][mask[0]].float().cpu(), self.plant), kinds) for layer in layers}


def load_text_encoder(folder: Path, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """Load the pipeline's text encoder and tokenizer. Errors: ValueError."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    with quiet_loading():
        encoder = load_complete(getattr(transformers, index["text_encoder"][1]), folder / "text_encoder", dtype, device)
        tokenizer = getattr(transformers, index["tokenizer"][1]).from_pretrained(
            str(folder / "tokenizer"), trust_remote_code=False, local_files_only=True
        )
    return encoder, tokenizer
