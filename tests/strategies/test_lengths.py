"""Known answers of the controls of the token count."""

from dataclasses import replace

import pytest
import torch
from known_tokens import blend, image, rows, sources

from blendbench.registry.strategies import Sources


@pytest.fixture
def given() -> Sources:
    return sources()


def test_length_control_repeats_the_last_token(given: Sources) -> None:
    result = blend("length_control", given, extra=3)
    assert torch.equal(result[:7], given.text.hidden)
    assert torch.equal(result[7:], given.text.hidden[-1:].expand(3, -1))


def test_row_count_repeats_and_leaves_out_evenly(given: Sources) -> None:
    vision = rows(8, 2)
    eight = replace(given, vision=image(vision))
    assert torch.equal(blend("row_count", eight, count=8), vision)
    assert torch.equal(blend("row_count", eight, count=24), vision.repeat_interleave(3, 0))
    assert torch.equal(blend("row_count", eight, count=2), vision[[2, 6]])


def test_row_count_beside_the_text_keeps_it(given: Sources) -> None:
    result = blend("row_count", given, count=14, place="beside")
    assert torch.equal(result[:7], given.text.hidden)
    assert torch.equal(result[7:], rows(7, 2).repeat_interleave(2, 0))
