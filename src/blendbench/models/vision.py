"""The vision-language encoder: hidden states of a chat turn that holds a picture and then the prompt."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from blendbench.models.tokens import IMAGE, MARKER, TEMPLATE, Encoded, template_length, text_kinds


class VisionEncoder:
    """Qwen3-VL through its own processor. The picture comes first and attention is causal, so image tokens do not
    depend on the prompt."""

    def __init__(self, source: str, dtype: torch.dtype, device: str) -> None:
        from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

        self.processor = AutoProcessor.from_pretrained(source)
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(source, dtype=dtype).to(device).eval()
        self.device = device

    def _inputs(self, picture: Image.Image, prompt: str) -> Any:
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return self.processor(text=[text], images=[picture], return_tensors="pt")

    @torch.inference_mode()
    def encode(self, picture: Path, prompt: str, layers: tuple[int, ...]) -> dict[int, Encoded]:
        """Hidden states (tokens, dim) of the whole turn at each of `layers`. Errors: ValueError (no such layer)."""
        with Image.open(picture) as opened:
            image = opened.convert("RGB")
        inputs = self._inputs(image, prompt)
        ids = inputs["input_ids"][0].tolist()
        empty = self._inputs(image, "")["input_ids"][0].tolist()
        config = self.model.config
        kinds = text_kinds(len(ids), *template_length(ids, empty))
        for row, token in enumerate(ids):
            if token in (config.vision_start_token_id, config.vision_end_token_id):
                kinds[row] = MARKER
            elif token == config.image_token_id:
                kinds[row] = IMAGE
        kinds[: ids.index(config.vision_start_token_id)] = TEMPLATE
        merge = self.model.config.vision_config.spatial_merge_size
        _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
        states = self.model(**inputs.to(self.device), output_hidden_states=True, use_cache=False).hidden_states
        for layer in layers:
            if not -len(states) <= layer < len(states):
                raise ValueError(f"layer {layer}: the vision-language model has {len(states)} hidden states")
        grid = (rows // merge, columns // merge)
        return {layer: Encoded(states[layer][0].float().cpu(), kinds, grid) for layer in layers}
