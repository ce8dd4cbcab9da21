"""Each alignment: which vision rows it reads, and how."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from blendbench.steps.align import align_to, attention

DIM = 12


def rows(count: int, seed: int) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 30), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_area_is_the_mean_of_the_rows_covered(text: int, vision: int) -> None:
    given_rows = rows(vision, 0)
    covered = [given_rows[i * vision // text : -(-(i + 1) * vision // text)] for i in range(text)]
    expected = torch.stack([part.double().mean(0) for part in covered]).float()
    torch.testing.assert_close(align_to(torch.zeros(text, DIM), given_rows, "area")[1], expected)


@given(st.integers(1, 30), st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_two_taps_read_two_rows_each_and_area_reads_all(text: int, vision: int) -> None:
    def read(how: str) -> int:
        # Column j of the result shows where row j went.
        return int((align_to(torch.zeros(text, vision), torch.eye(vision), how)[1] != 0).any(0).sum())

    assert read("area") == vision
    assert read("interpolate") <= min(2 * text, vision)


def test_interpolation_takes_two_neighbours() -> None:
    ramp, spike = torch.arange(8.0)[:, None], torch.zeros(8, 1)
    spike[0] = 8
    assert align_to(torch.zeros(2, 1), ramp, "interpolate")[1].flatten().tolist() == [1.5, 5.5]
    assert align_to(torch.zeros(2, 1), spike, "interpolate")[1].flatten().tolist() == [0, 0]


def test_truncation_keeps_the_first_rows_of_both() -> None:
    short, long = torch.arange(3.0)[:, None], torch.arange(10.0, 15.0)[:, None]
    for text, vision in ((short, long), (long, short)):
        kept_text, kept_vision = align_to(text, vision, "truncate")
        assert torch.equal(kept_text, text[:3])
        assert torch.equal(kept_vision, vision[:3])


def test_attention_takes_the_row_that_points_the_same_way() -> None:
    vision = torch.eye(4, DIM) * 5
    _, aligned = align_to(torch.eye(4, DIM)[[2, 0]] * 100, vision, "attention")
    assert torch.allclose(aligned, vision[[2, 0]], atol=2e-3)
    assert torch.allclose(attention(rows(3, 0), rows(8, 1)).sum(1), torch.ones(3))


def test_kmeans_finds_separate_clusters_in_the_image_s_order() -> None:
    centres = torch.eye(3, DIM) * 100
    vision = torch.cat([centre + 0.01 * rows(6, seed) for seed, centre in enumerate(centres)])
    _, aligned = align_to(rows(3, 9), vision, "kmeans")
    assert torch.allclose(aligned, torch.stack([part.mean(0) for part in vision.split(6)]), atol=1e-4)
    # Too few rows for as many clusters.
    assert torch.equal(align_to(rows(8, 9), vision[:5], "kmeans")[1], align_to(rows(8, 9), vision[:5], "area")[1])


@pytest.mark.parametrize("how", ["interpolate", "area", "attention", "kmeans"])
def test_aligning_a_constant_gives_that_constant(how: str) -> None:
    for text, vision in ((3, 17), (17, 3), (1, 1)):
        aligned = align_to(torch.ones(text, 3), torch.full((vision, 3), 2.5), how)[1]
        torch.testing.assert_close(aligned, torch.full((text, 3), 2.5))
