"""The page about speed is a function of its file, and says what was not measured."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import speed_page as speed

ENGINE = {
    "batch": 1,
    "seconds_a_cell": 0.8,
    "busy": {"transformer": 0.93, "vae_decode": 0.04},
    "ms_a_call": {"transformer": 80.0},
    "calls": {"transformer": 432, "vae_decode": 48, "text_encoder": 8, "vision_language": 8},
    "run": {"expected": 48, "images": 48, "seconds": 38.4},
    "warm_up": {"seconds": 41.6},
}
PLAIN = {"1024": {"cells": 48, "seconds_a_cell": 2.0, "stages_a_cell": {"generate": 1.4, "encode": 0.13}}}
READINGS: dict[str, Any] = {
    "plain": PLAIN,
    "engine_1024": ENGINE,
    "transformer": {
        "parameters": 6,
        "ceiling": {"tflops": 700.0, "by_shape": {}},
        "1024_batch_1": {
            "tflop": 52.5,
            "floor_ms": 75.0,
            "best_floor_ms": 70.0,
            "eager_ms": 150.0,
            "compiled_ms": 84.0,
            "compiled_from_eager": 0.0042,
        },
    },
    "independence": {"side": 512, "batch": 8, "eager_equal_in_any_order": True, "compiled_equal_in_any_order": False},
    "memory_staged": {"peak_gib": {"encode": 9.0, "denoise": 15.5}},
    "encoders": {"clip_batch_1_ms_an_image": 7.3},
}
CHECKS = (
    "test_an_idea_is_checked_in_a_new_process",
    "test_an_idea_is_checked_in_a_session",
    "test_a_check_of_nothing_new",
)
SECTIONS = [
    {"section": "plain", "date": "2026-11-25", "seconds": 99.6, "status": "ok"},
    {"section": "vae", "date": "2026-11-26", "seconds": 0, "status": "late"},
]


@pytest.fixture
def part(speed_scripts: Path) -> dict[str, Any]:
    """Return the file of gpu.py for these readings."""
    import gpu

    made = {"key": "h200", "gpu": "H200", "torch": "2.11"}
    return gpu.headline(READINGS) | {"machine": made, "readings": READINGS, "sections": SECTIONS}


def test_the_published_figures_follow_from_the_published_readings(speed_scripts: Path) -> None:
    import gpu

    for name, part in json.loads((speed_scripts.parents[1] / "reports" / "speed.json").read_text()).items():
        if name != "cpu":
            figures = {key: value for key, value in part.items() if isinstance(value, float)}
            assert figures == gpu.headline(part["readings"])


def test_the_headline_follows_from_the_readings(part: dict[str, Any]) -> None:
    assert part["ratio_1024"] == pytest.approx(2.5)
    assert part["ratio_1024_with_loading_and_warm_up"] == pytest.approx(2.0 * 48 / 80)
    assert part["busy_1024"] == pytest.approx(0.97)
    assert part["step_over_floor_1024"] == pytest.approx(84 / 75)
    assert part["step_over_best_floor_1024"] == pytest.approx(84 / 70)
    assert part["peak_gib_staged_1024"] == 15.5
    assert not {"ratio_512", "peak_gib_resident_1024"} & set(part)


def row(page: str, start: str) -> list[str]:
    return next(line for line in page.splitlines() if line.startswith(f"| {start}")).strip("| ").split(" | ")


def test_targets_are_reported_kept_missed_or_not_measured(part: dict[str, Any]) -> None:
    page = speed.page({"h200": part | {"busy_1024": 0.5}})
    assert row(page, "1024², 48 cells")[1:] == ["at least 2.25", "2.50", "yes"]
    assert row(page, "512², 48 cells")[2:] == ["not measured", "–"]
    assert row(page, "1024²: fraction of the wall time in transformer or VAE")[2:] == ["0.500", "**no**"]
    assert row(page, "1024²: a transformer step over its floor")[2:] == ["1.12", "yes"]


def test_the_page_says_what_ran_with_random_weights_and_what_failed(part: dict[str, Any]) -> None:
    page = speed.page({"h200": part})
    assert "random weights" in page
    assert "Nobody has run" in page
    assert row(page, "vae") == ["vae", "2026-11-26", "0", "late"]
    assert row(page, "1024² | 1") == ["1024²", "1", "150.0", "84.0", "–", "80.0", "75.0", "70.0", "1.12", "1.20"]
    assert row(page, "transformer, 1024_batch_1") == ["transformer, 1024_batch_1", "compiled from eager", "4.2e-03"]
    assert "eager equal in any order: yes; compiled equal in any order: **no**" in page
    assert row(page, "plain loop, 1024²")[1:] == ["1", "48", "2.000", "generate 1400 ms, encode 130 ms"]
    assert "8 forward passes of the text encoder, 8 of Qwen3-VL" in page
    assert f"the engine would be {2.0 * 48 / (432 * 0.075):.2f} times faster than the plain loop" in page


GAP = {"equal": True, "largest": 0.0}
SCORING = {
    "images": {"batch": 16, "size": 1024},
    "milliseconds": {
        "artifact metrics": 0.8,
        "artifact and drift metrics": 2.5,
        "artifact metrics + CLIP + SigLIP": {"as shipped": 4.5, "float32": 17.0},
    },
    "difference": {
        "cosines": {
            "clip": {
                "as shipped": {"images_with_texts": 8e-5, "images_with_images": 2e-4},
                "preparation": {"images_with_texts": 1e-6, "images_with_images": 3e-6},
            },
        },
    },
    "verdict": {"milliseconds_an_image": 4.5, "largest_difference_of_metrics": 8e-7},
}


def test_scoring_and_the_comparison_with_the_pipeline_are_reported(part: dict[str, Any]) -> None:
    equal = {
        "sampler": {"height": 1024},
        "dtype": "bfloat16",
        "prompts": 4,
        "text": GAP,
        "latents_single": GAP,
        "latents_batch": {"equal": False, "largest": 0.018},
    }
    page = speed.page({"h200": part | {"readings": part["readings"] | {"metrics": SCORING, "equal": equal}}})
    assert row(page, "artifact metrics, CLIP and SigLIP, as shipped")[1:] == ["4.50"]
    assert row(page, "clip | as shipped")[2:] == ["8.0e-05", "2.0e-04"]
    assert "differ by at most 8e-07" in page
    assert "text rows equal bit for bit" in page
    assert "latents in a batch 1.8e-02 apart at most" in page


def test_without_a_gpu_the_page_says_so() -> None:
    assert "Not measured yet" in speed.page({})


def test_the_cpu_s_part_comes_from_pytest_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {
        "machine_info": {"machine": "x86_64", "python_version": "3.11", "cpu": {"brand_raw": "A CPU", "count": 2}},
        "benchmarks": [
            {"name": "test_x", "stats": {"min": 0.25, "median": 1}, "extra_info": {"times_faster": 3.5, "note": "no"}},
            *({"name": name, "stats": {"min": 2, "median": 3 + i}, "extra_info": {}} for i, name in enumerate(CHECKS)),
        ],
    }
    (tmp_path / "last.json").write_text(json.dumps(stored))
    (tmp_path / "speed.json").write_text(
        json.dumps({"h200": {"machine": {"gpu": "G"}, "readings": {}, "sections": []}})
    )
    given = ["--benchmarks", "last.json", "--file", "speed.json", "--out", "speed.md"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["speed", *given])
    speed.main()
    page = (tmp_path / "speed.md").read_text()
    assert row(page, "test_x") == ["test_x", "250", "times_faster 3.5"]
    assert "a changed idea takes 3 s in a new process and 4 s in a session" in page
    kept = json.loads((tmp_path / "speed.json").read_text())
    assert [kept["cpu"][key] for key in ("check_new_process_s", "check_resident_s", "check_unchanged_s")] == [3, 4, 5]
    assert kept.keys() == {"cpu", "h200"}
