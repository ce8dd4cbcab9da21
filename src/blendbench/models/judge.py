"""A vision-language model that is asked yes or no about an image.

VQAScore (Lin et al. 2024): the probability of "yes", from the logits of the next token.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from blendbench.models.loading import load_complete, quiet_loading

YES, NO = "Yes", "No"
# Images per pass: the keys and values of their tokens are kept for every question.
_CHUNK = {"cpu": 32, "cuda": 1}


def load_judge(folder: Path, dtype: torch.dtype, device: str) -> "Judge":
    """Load Qwen3-VL with its head and processor. Errors: ValueError."""
    with quiet_loading():
        processor = AutoProcessor.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
        model = load_complete(Qwen3VLForConditionalGeneration, folder, dtype, device)
    return Judge(processor, model)


class Judge:
    """Answer yes or no about images."""

    def __init__(self, processor: Any, model: Any) -> None:
        self.processor, self.model = processor, model
        self.yes, self.no = (self._tokens(word) for word in (YES, NO))

    def _tokens(self, word: str) -> list[int]:
        """Return the tokens that stand for an answer, in either case."""
        rows = [self.processor.tokenizer(form).input_ids for form in (word, word.lower())]
        found = [row[0] for row in rows if len(row) == 1]
        if not found:
            raise ValueError(f"the tokenizer has no token {word!r}")
        return found

    def probabilities(self, images: Tensor, questions: Sequence[Sequence[str]]) -> list[Tensor]:
        """Ask each image its questions; return probabilities of yes, float32.

        `images`: uint8 (n, 3, h, w). `questions`: any number about each image. The tensors are on the CPU, (number of
        its questions,) for each image.
        """
        size = _CHUNK[torch.device(self.model.device).type]
        asked = [i for i, texts in enumerate(questions) if texts]
        found = [torch.empty(0)] * len(questions)
        for start in range(0, len(asked), size):
            part = asked[start : start + size]
            for i, row in zip(part, self._ask(images[part], [questions[i] for i in part]), strict=True):
                found[i] = row
        return found

    @torch.inference_mode()
    def _ask(self, images: Tensor, questions: Sequence[Sequence[str]]) -> Iterator[Tensor]:
        """Read each image once, then every question behind its keys and values."""
        head, tails = self._turns([text for texts in questions for text in texts])
        pixels = [Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy()) for image in images]
        seen = self.processor(text=[head] * len(pixels), images=pixels, return_tensors="pt").to(self.model.device)
        cache = self.model.model(**seen, use_cache=True).past_key_values
        owners = torch.tensor([i for i, texts in enumerate(questions) for _ in texts], device=self.model.device)
        cache.batch_select_indices(owners)
        # All images of a batch have one size, so the questions begin at one position.
        begin = seen["input_ids"].shape[1] + int(self.model.model.rope_deltas[0])
        lengths = torch.tensor([len(tail) for tail in tails], device=self.model.device)
        ids = torch.zeros(len(tails), int(lengths.max()), dtype=torch.long)
        for row, tail in zip(ids, tails, strict=True):
            row[: len(tail)] = torch.tensor(tail)  # attention is causal: the padding behind is read by nobody
        positions = torch.arange(begin, begin + ids.shape[1], device=self.model.device).expand(3, len(tails), -1)
        states = self.model.model(
            input_ids=ids.to(self.model.device), position_ids=positions, past_key_values=cache, use_cache=True
        ).last_hidden_state
        logits = self.model.lm_head(states[torch.arange(len(tails), device=states.device), lengths - 1]).float()
        odds = logits[:, self.yes].logsumexp(1) - logits[:, self.no].logsumexp(1)
        yield from odds.sigmoid().cpu().split([len(texts) for texts in questions])

    def _turns(self, questions: list[str]) -> tuple[str, list[list[int]]]:
        """Split the turns behind the image: the text before, and the ids after."""
        tokenizer = self.processor.tokenizer
        end: str = tokenizer.convert_ids_to_tokens(self.model.config.vision_end_token_id)
        turns = [self._turn(question).split(end, maxsplit=1) for question in questions]
        return turns[0][0] + end, [tokenizer(after).input_ids for _, after in turns]

    def _turn(self, question: str) -> str:
        chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
        text: str = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return text
