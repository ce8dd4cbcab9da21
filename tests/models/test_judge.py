"""The judge: probabilities of yes as the model's own forward gives them, each question alone."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from blendbench.metrics.adherence import QUESTION
from blendbench.models.judge import Judge, load_judge

FACTS = [["a red circle", "black background, flat style"], [], ["a big blue star at the top and a red ring"]]
QUESTIONS = [[QUESTION.format(fact) for fact in facts] for facts in FACTS]


@pytest.fixture(scope="module")
def judge(untrained: Path) -> Judge:
    return load_judge(untrained / "judge", torch.float32, "cpu")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (3, 3, 128, 128), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def alone(judge: Judge, image: Tensor, question: str) -> float:
    """Ask one question in one pass, with the processor's own template."""
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = judge.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    opened = Image.fromarray(image.permute(1, 2, 0).numpy())
    with torch.inference_mode():
        inputs = judge.processor(text=[text], images=[opened], return_tensors="pt")
        logits = judge.model(**inputs).logits[0, -1]
    yes, no = (judge.processor.tokenizer.convert_tokens_to_ids(word) for word in ("Yes", "No"))
    return float(logits[[yes, no]].softmax(0)[0])


def test_each_question_is_answered_as_if_it_were_asked_alone(judge: Judge, images: Tensor) -> None:
    found = judge.probabilities(images, QUESTIONS)
    assert [len(row) for row in found] == [2, 0, 1]
    for image, facts, row in zip(images, QUESTIONS, found, strict=True):
        assert row.tolist() == pytest.approx([alone(judge, image, fact) for fact in facts], abs=1e-5)
    # Random weights give no two equal answers, so a mixed-up row would be seen.
    assert len({round(value, 4) for row in found for value in row.tolist()}) == 3


def test_images_of_another_size_and_no_fact_at_all(judge: Judge, images: Tensor) -> None:
    wide = images[:1].repeat(1, 1, 1, 2)
    assert judge.probabilities(wide, [["a red circle"]])[0].item() == pytest.approx(
        alone(judge, wide[0], "a red circle"), abs=1e-5
    )
    assert [row.tolist() for row in judge.probabilities(images, [[], [], []])] == [[], [], []]


def test_many_images_go_in_parts(judge: Judge, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judge.probabilities(images, QUESTIONS)
    monkeypatch.setattr("blendbench.models.judge._CHUNK", {"cpu": 1})
    for one, other in zip(judge.probabilities(images, QUESTIONS), whole, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_a_tokenizer_without_the_answers_is_refused(untrained: Path) -> None:
    # The tokenizer of the model that conditions has no token for yes.
    with pytest.raises(ValueError, match="the tokenizer has no token 'Yes'"):
        load_judge(untrained / "vision_language", torch.float32, "cpu")
