"""The vision-language encoder: states of a turn with image and prompt."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from blendbench.core.images import load_image
from blendbench.core.tokens import Kind, Tokens
from blendbench.models.image_tokens import ImageTokens
from blendbench.models.loading import load_complete, quiet_loading
from blendbench.models.tokens import Plant, planted, template_length


def load_vision_encoder(
    folder: Path, dtype: torch.dtype, device: str, sizes: ImageTokens, plant: Plant | None = None
) -> "VisionEncoder":
    """Load Qwen3-VL, and its processor for `sizes`. Errors: ValueError."""
    with quiet_loading():
        processor = AutoProcessor.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        processor.image_processor.size = {"shortest_edge": sizes.least, "longest_edge": sizes.most}
        model = load_complete(Qwen3VLForConditionalGeneration, folder, dtype, device)
    return VisionEncoder(processor, model, plant)


class VisionEncoder:
    """Encode images and prompts with Qwen3-VL through its own processor.

    The image comes first and attention is causal, so image tokens do not depend on the prompt.
    """

    def __init__(self, processor: Any, model: Any, plant: Plant | None = None) -> None:
        self.processor, self.model, self.plant = processor, model, plant
        self._one_pass = threading.Lock()  # hooks see every pass of the model, whichever thread makes it

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
        """Encode a turn once; return (tokens, dim) by layer. Errors: ImageError."""
        pixels = Image.fromarray(load_image(image).pixels)
        inputs = self.processor(text=[self._turn(prompt)], images=[pixels], return_tensors="pt")
        kinds = self._kinds(inputs["input_ids"][0].tolist(), prompt)
        merge = self.model.config.vision_config.spatial_merge_size
        _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
        states = self._states(inputs.to(self.model.device), layers)
        grid = (rows // merge, columns // merge)
        found = {layer: planted(state[0].float().cpu(), self.plant) for layer, state in states.items()}
        return {layer: Tokens(hidden, kinds, grid) for layer, hidden in found.items()}

    def _states(self, inputs: Any, layers: tuple[int, ...]) -> dict[int, Tensor]:
        """Return hidden states (1, tokens, dim) as the next layer reads them.

        State 0 is the embedding, the last one is behind the final norm, as transformers counts them. Its own record of
        hidden states lacks the deepstack features, which are added to the image rows between the first layers.
        """
        stack = self.model.model.language_model.layers
        index = {layer: range(len(stack) + 1)[layer] for layer in layers}
        found: dict[int, Tensor] = {}

        def reader(state: int) -> Callable[..., None]:
            def keep_input(_: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
                found[state] = args[0] if args else named["hidden_states"]

            return keep_input

        with self._one_pass, ExitStack() as hooks:
            for state in set(index.values()) - {len(stack)}:
                hooks.callback(stack[state].register_forward_pre_hook(reader(state), with_kwargs=True).remove)
            # The model inside: its head would only make logits that nobody reads.
            found[len(stack)] = self.model.model(**inputs, use_cache=False).last_hidden_state
        return {layer: found[state] for layer, state in index.items()}
