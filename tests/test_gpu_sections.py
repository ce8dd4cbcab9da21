"""The sections that measure on a GPU work, at tiny sizes on the CPU, where what they compare is equal."""

import json
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.fixture
def script(speed_scripts: Path) -> ModuleType:
    import gpu_sections as module

    return module


@pytest.fixture
def options(script: ModuleType, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    # Making kernels takes minutes on a CPU, and so do thousands of products in bfloat16, which it does not have.
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    products = script._products
    monkeypatch.setattr(script, "_products", lambda device, m, k, n: products(device, m // 8, k // 8, n // 8))
    ms = script.Meter.ms
    monkeypatch.setattr(script.Meter, "ms", lambda meter, call, *_: ms(meter, call, repeats=1, warmup=0))
    return Namespace(
        models=tiny_set,
        work=tmp_path,
        device="cpu",
        shapes=[(64, 1), (64, 2)],
        memory_budget=None,
        precision=None,
        suite="miniature",
        items=2,
        guidance=None,
    )


def test_a_step_is_timed_in_each_way_and_compared_with_the_eager_one(script: ModuleType, options: Namespace) -> None:
    found = script.transformer(options)
    assert {"64_batch_1", "64_batch_2"} <= set(found)
    step = found["64_batch_2"]
    assert min(step[way] for way in ("eager_ms", "compiled_ms", "floor_ms")) > 0
    assert step["tflop"] == pytest.approx(2 * found["64_batch_1"]["tflop"], rel=0.1)
    assert max(step["rearranged_from_eager"], step["compiled_from_eager"]) < 1e-4


def test_the_decoder_s_ways_give_one_image(script: ModuleType, options: Namespace) -> None:
    found = script.vae(options)
    assert found["decode_64_batch_2_compiled_from_eager"] < 1e-4
    assert {"decode_64_batch_2_ms", "decode_64_batch_2_compiled_ms"} <= set(found)


@pytest.mark.parametrize("guidance", [None, 4.0])
def test_images_do_not_depend_on_their_neighbours_and_it_would_show(
    script: ModuleType, options: Namespace, monkeypatch: pytest.MonkeyPatch, guidance: float | None
) -> None:
    options.shapes, options.guidance = [(64, 4)], guidance
    found = script.gpu_equal.independence(options)
    assert found["eager_equal_in_any_order"] and found["eager_equal_among_copies"]
    assert found["compiled_from_eager_levels"] == 0

    from blendbench.models.families.z_image.denoiser import ZImageDenoiser

    denoise = ZImageDenoiser.denoise

    def leaking(self: ZImageDenoiser, schedules: Any, latents: torch.Tensor, *rest: Any) -> torch.Tensor:
        return denoise(self, schedules, latents + latents[:1], *rest)

    monkeypatch.setattr(ZImageDenoiser, "denoise", leaking)
    found = script.gpu_equal.independence(options)
    assert not found["eager_equal_in_any_order"]


def test_the_engine_is_measured_with_all_its_networks_watched(script: ModuleType, options: Namespace) -> None:
    options.shapes = [(64, 4)]
    found = script.gpu_loops.engine(options)
    assert found["run"]["ok"] == found["run"]["expected"] == 12
    assert (found["calls"]["text_encoder"], found["calls"]["vision_language"]) == (2, 2)
    assert 0 < found["busy"]["transformer"] < 1


def job(name: str, section: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "section": section, "options": {"suite": "miniature", "shapes": ["64x1"], **options}}


def test_a_section_that_fails_stops_no_other_and_what_is_measured_again_replaces_itself_alone(
    speed_scripts: Path, tiny_set: Path, tmp_path: Path
) -> None:
    import gpu

    out, key = tmp_path / "speed.json", gpu.machine()["key"]
    jobs = [job("difference_64", "difference"), job("host", "host"), job("attention", "attention")]
    gpu.Runner(out, tmp_path, tiny_set, 300).process(jobs)
    part = json.loads(out.read_text())[key]
    statuses = {note["section"]: note["status"].partition(":")[0] for note in part["sections"]}
    assert statuses == {"difference_64": "failed", "host": "ok", "attention": "ok"}
    assert set(part["readings"]) == {"host", "attention"}

    # No time at all: the process is ended before it says anything, and no older reading stands for it.
    gpu.Runner(out, tmp_path, tiny_set, 0, keep=True).process(jobs[1:2])
    again = json.loads(out.read_text())[key]
    assert again["readings"] == {"attention": part["readings"]["attention"]}
    assert {note["section"]: note["status"] for note in again["sections"]}["host"] == "no time left"


def test_an_unknown_section_is_refused_before_anything_is_written(
    speed_scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu

    out = tmp_path / "speed.json"
    monkeypatch.setattr("sys.argv", ["gpu.py", "--only", "equal", "metric", "--out", str(out)])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "--only metric: not among bare_imports" in capsys.readouterr().err
    assert not out.exists()


def test_a_part_is_named_after_its_card(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, key in (("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA H200", "h200"), ("NVIDIA L4", "gpu")):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        assert gpu.machine()["key"] == key


def test_experiments_report_what_failed(script: ModuleType, options: Namespace) -> None:
    options.names, options.items = ["smoke"], 1
    found = script.SECTIONS["experiments"](options)
    assert set(found) == {"smoke", "findings_not_run"}
    assert found["smoke"]["cells"] > 5 and found["smoke"]["failed"] == found["smoke"]["scores_failed"] == 0


def test_whole_commands_give_the_same_cells_whatever_was_cached(script: ModuleType, options: Namespace) -> None:
    options.shapes, options.repeats = [(64, 2)], 1
    first = script.SECTIONS["first_run"](options)
    assert 0 < first["sampling_s"] < first["seconds"]
    assert first["overhead_s"] == first["seconds"] - first["sampling_s"]
    assert script.SECTIONS["idea"](options)["batches"] < first["batches"]
    assert script.SECTIONS["cells"](options)["equal_to_first_run"]


def test_a_command_that_fails_gives_its_reason(script: ModuleType, options: Namespace) -> None:
    options.shapes, options.repeats, options.models = [(64, 2)], 1, Path("nowhere")
    with pytest.raises(RuntimeError, match=r"exit code 2: .*nowhere"):
        script.SECTIONS["first_run"](options)


def test_a_session_generates_only_the_new_cells(script: ModuleType, options: Namespace) -> None:
    options.shapes, options.repeats = [(64, 2)], 1
    found = script.SECTIONS["resident"](options)
    assert [one["cells"] for one in found["all"]] == [2]
    assert found["over_sampling"] > 1


def test_fp8_is_compared_image_by_image(script: ModuleType, options: Namespace) -> None:
    options.shapes, options.items = [(64, 2)], 1
    for options.precision in (None, "fp8"):
        script.SECTIONS["engine"](options)
    found = script.SECTIONS["fp8"](options)
    assert found["cells"] == 6
    assert 0 < found["mean_levels"] <= found["worst_levels"] < 20


def test_what_a_user_waits_for_is_on_top_of_the_file(speed_scripts: Path) -> None:
    import gpu

    readings = {
        "bare_imports": {"seconds": 20.0},
        "idea": {"overhead_s": 25.0},
        "cells48": {"overhead_s": 30.0, "seconds": 70.0},
        "first_run": {"overhead_s": 60.0},
        "plain_command": {"whole_s": 175.0},
        "resident": {"over_sampling": 1.2},
        "plain": {"1024": {"seconds_a_cell": 2.0}},
        "engine_1024_fp8": {
            "busy": {"transformer": 0.8, "vae_decode": 0.1},
            "seconds_a_cell": 0.5,
            "batch": 1,
            "run": {"seconds": 24.0, "expected": 48},
            "warm_up": {"seconds": 24.0},
        },
    }
    found = gpu.headline(readings)
    assert {key: found[key] for key in ("bare_imports_s", "idea_overhead_s", "cells48_overhead_s")} == {
        "bare_imports_s": 20.0,
        "idea_overhead_s": 25.0,
        "cells48_overhead_s": 30.0,
    }
    assert (found["first_run_overhead_s"], found["idea_resident_over_sampling"]) == (60.0, 1.2)
    assert (found["cells48_over_plain_command"], found["ratio_1024_fp8"]) == (2.5, 4.0)
