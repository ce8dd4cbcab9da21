"""The vision-language encoder: states of a turn with image and prompt."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from blendbench.core.images import load_image
from blendbench.core.tokens import Kind, Tokens
from blendbench.models.loading import load_complete, quiet_loading
from blendbench.models.tokens import Plant, planted, template_length


def load_vision_encoder(folder: Path, dtype: torch.dtype, device: str, plant: Plant | None = None) -> "VisionEncoder":
    """Load Qwen3-VL and its processor.

    Errors: ValueError if weights are missing.
    """
    with quiet_loading():
        processor = AutoProcessor.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        model = load_complete(Qwen3VLForConditionalGeneration, folder, dtype, device)
    return VisionEncoder(processor, model, plant)


class VisionEncoder:
    """Encode images and prompts with Qwen3-VL through its own processor.

    The image comes first and attention is causal, so image tokens do not depend on the prompt.
    """

    def __init__(self, processor: Any, model: Any, plant: Plant | None = None) -> None:
        self.processor, self.model, self.plant = processor, model, plant

    def _turn(self, prompt: str) -> str:
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        text: str = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return text

    def _kinds(self, ids: list[int], prompt: str) -> Tensor:
        config, tokenizer = self.model.config, self.processor.tokenizer
        _, after = template_length(*(tokenizer(self._turn(text)).input_ids for text in (prompt, "")))
        end = ids.index(config.vision_end_token_id)
        kinds = torch.full((len(ids),), int(Kind.TEMPLATE))
        kinds[end + 1 : len(ids) - after] = int(Kind.TEXT)
        rows = torch.tensor(ids)
        kinds[(rows == config.vision_start_token_id) | (rows == config.vision_end_token_id)] = int(Kind.MARKER)
        kinds[rows == config.image_token_id] = int(Kind.IMAGE)
        return kinds

    @torch.inference_mode()
    def encode(self, image: Path, prompt: str, layers: tuple[int, ...]) -> dict[int, Tokens]:
        """Encode a turn once; return its (tokens, dim) states at each of `layers`.

        Errors: ImageError (a file that is no usable image).
        """
        pixels = Image.fromarray(load_image(image).pixels)
        inputs = self.processor(text=[self._turn(prompt)], images=[pixels], return_tensors="pt")
        kinds = self._kinds(inputs["input_ids"][0].tolist(), prompt)
        merge = self.model.config.vision_config.spatial_merge_size
        _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
        # The model inside: its head would only make logits that nobody reads.
        states = self.model.model(
            **inputs.to(self.model.device), output_hidden_states=True, use_cache=False
        ).hidden_states
        grid = (rows // merge, columns // merge)
        found = {layer: planted(states[layer][0].float().cpu(), self.plant) for layer in layers}
        return {layer: Tokens(hidden, kinds, grid) for layer, hidden in found.items()}
