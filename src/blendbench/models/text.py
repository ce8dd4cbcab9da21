"""The text encoder as the pipeline uses it: the official prompt, one hidden layer, padding removed."""

from typing import Any

import torch

from blendbench.models.tokens import Encoded, template_length, text_kinds


class TextEncoder:
    """Qwen3 hidden states of prompts in Z-Image's chat format (user turn, generation prompt, no think block)."""

    def __init__(self, pipeline: Any, layer: int, max_sequence_length: int) -> None:
        self.encoder, self.tokenizer = pipeline.text_encoder, pipeline.tokenizer
        self.layer, self.max_sequence_length = layer, max_sequence_length

    def _ids(self, prompt: str) -> list[int]:
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        ids: list[int] = self.tokenizer(text).input_ids
        return ids

    @torch.inference_mode()
    def encode(self, prompt: str) -> Encoded:
        """One prompt: (tokens, dim). Errors: ValueError if it is longer than the model set allows."""
        ids = self._ids(prompt)
        if len(ids) > self.max_sequence_length:
            raise ValueError(f"the prompt has {len(ids)} tokens, the model set allows {self.max_sequence_length}")
        before, after = template_length(ids, self._ids(""))
        inputs = torch.tensor([ids], device=self.encoder.device)
        states = self.encoder(input_ids=inputs, output_hidden_states=True, use_cache=False).hidden_states
        return Encoded(states[self.layer][0].float().cpu(), text_kinds(len(ids), before, after))
