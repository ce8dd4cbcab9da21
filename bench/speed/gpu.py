"""`python bench/speed/gpu.py --out FILE.json`: the full-size readings on a machine with a GPU, in under 9 minutes.

Writes a model set with random weights (`full_size.py`), then runs each section of `gpu_sections.py` in a process of its
own, so that none finds memory in use. A section has a time budget; the file is written after each one, so that what was
measured is there whatever happens later, and a section that failed says why. Other parts of an existing FILE stay.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch")
TOTAL = 530.0  # seconds for everything
# Side and batch of the engine. At 512² two pictures are within 8 % of the best rate, and 48 cells fill batches of two:
# in batches of eight, nearly every other picture would be a copy that fills one up.
SIZES = ["1024x1", "512x2"]
BUDGETS = {"staged": 16, "resident": 24}  # GiB


class Runner:
    """Runs sections one after another within a total budget, and writes the file after each."""

    def __init__(self, out: Path, work: Path, models: Path, total: float) -> None:
        self.out, self.work, self.models = out, work, models
        self.end = time.monotonic() + total
        self.file: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
        self.part: dict[str, Any] = {"machine": machine(), "readings": {}, "sections": []}

    def section(self, name: str, command: list[str], budget: float) -> dict[str, Any] | None:
        """Run a command whose last line is JSON; None if it failed or ran out of time."""
        began, left = time.monotonic(), min(budget, self.end - time.monotonic())
        note: dict[str, Any] = {"section": name, "status": "ok"}
        found = None
        print(f"{name}: up to {left:.0f} s", flush=True)
        if left < 5:
            note["status"] = "no time left"
        else:
            try:
                called = subprocess.run(command, capture_output=True, text=True, timeout=left, check=False)
            except subprocess.TimeoutExpired:
                note["status"] = f"not done after {left:.0f} s"
            else:
                if called.returncode:
                    note["status"] = f"failed: {called.stderr.strip().splitlines()[-1:]}"
                else:
                    found = json.loads(called.stdout.strip().splitlines()[-1])
        note["seconds"] = round(time.monotonic() - began, 1)
        print(f"{name}: {note['status']}, {note['seconds']} s", flush=True)
        self.part["sections"].append(note)
        if found is not None:
            self.part["readings"][name] = found
        self.write()
        return found

    def measure(self, name: str, section: str, budget: float, *more: str) -> dict[str, Any] | None:
        """Run a section of gpu_sections.py."""
        script, work = str(HERE / "gpu_sections.py"), str(self.work / name)
        command = [sys.executable, script, section, "--models", str(self.models), "--work", work, *more]
        return self.section(name, command, budget)

    def write(self) -> None:
        """The file as it stands, with the figures that others look for on top."""
        part = headline(self.part["readings"]) | self.part
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(
            json.dumps(self.file | {self.part["machine"]["key"]: part}, indent=2, sort_keys=True) + "\n"
        )


def machine() -> dict[str, Any]:
    """What the readings were made on; `key` names their part of the file."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    packages = {package: version(package) for package in PACKAGES}
    key = next((key for key in ("h200", "h100") if key.upper() in name), "gpu")
    return {"key": key, "gpu": name, "cuda": torch.version.cuda, "python": platform.python_version(), **packages}


def side_of(size: str) -> str:
    """The side of SIDExBATCH."""
    return size.partition("x")[0]


def headline(readings: dict[str, Any]) -> dict[str, float]:
    """The few figures that the targets are about, of those that were measured."""
    found: dict[str, float] = {}
    plain = readings.get("plain", {})
    for name, engine in readings.items():
        if not name.startswith("engine_"):
            continue
        side, busy = name.removeprefix("engine_"), engine["busy"]
        found[f"transformer_busy_{side}"] = busy["transformer"]
        found[f"busy_{side}"] = busy["transformer"] + busy["vae_decode"]
        if side in plain:
            seconds = plain[side]["seconds_a_cell"]
            found[f"ratio_{side}"] = seconds / engine["seconds_a_cell"]
            in_all = engine["run"]["seconds"] + engine["warm_up"]["seconds"]
            found[f"ratio_{side}_with_loading_and_warm_up"] = seconds * engine["run"]["expected"] / in_all
        step = readings.get("transformer", {}).get(f"{side}_batch_{engine['batch']}", {})
        if "compiled_ms" in step:
            found[f"step_over_floor_{side}"] = step["compiled_ms"] / step["floor_ms"]
            found[f"step_over_best_floor_{side}"] = step["compiled_ms"] / step["best_floor_ms"]
    for plan in BUDGETS:
        if peaks := readings.get(f"memory_{plan}", {}).get("peak_gib"):
            found[f"peak_gib_{plan}_1024"] = max(peaks.values())
    return found


def measure(runner: Runner, sizes: list[str], tiny: bool) -> None:
    """All sections, the most wanted first."""
    writer = [sys.executable, str(HERE / "full_size.py"), "--out", str(runner.models), *(["--tiny"] if tiny else [])]
    if runner.section("weights", writer, 150) is None:
        return
    small = ("--suite", "miniature", "--items", "2") if tiny else ()
    steps = ["64x1", "64x2"] if tiny else ["1024x1", "512x1", "512x2", "512x8"]
    ones = [f"{side_of(size)}x1" for size in sizes]
    ceiling = runner.measure("ceiling", "ceiling", 40)
    rate = ("--ceiling", str(ceiling["tflops"])) if ceiling else ()
    for size in sizes:
        runner.measure(f"engine_{side_of(size)}", "engine", 200, "--shapes", size, *small)
    runner.measure("plain", "plain", 120, "--shapes", *ones, "--budget", "50", *small)
    runner.measure("transformer", "transformer", 120, *rate, "--shapes", *steps)
    for plan, budget in BUDGETS.items():
        limit = ("--memory-budget", str(budget), "--items", "1", *small[:2])
        runner.measure(f"memory_{plan}", "memory", 90, "--shapes", ones[0], *limit)
    runner.measure("independence", "independence", 60, "--shapes", steps[-1])
    for side in map(side_of, sizes):
        engine, plain = runner.work / f"engine_{side}" / "engine", runner.work / "plain" / side
        runner.measure(f"difference_{side}", "difference", 30, "--engine", str(engine), "--plain", str(plain))
    for part in ("vae", "attention", "encoders", "host"):
        runner.measure(part, part, 60, "--shapes", *steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/speed.json"))
    parser.add_argument("--work", type=Path, help="folder for weights and pictures, 45 GB; default: a temporary one")
    parser.add_argument("--total", type=float, default=TOTAL, help="seconds for everything")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="SIDExBATCH of the engine")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: does the script work?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        runner = Runner(options.out, Path(work), Path(work) / "models", options.total)
        measure(runner, ["64x2"] if options.tiny else options.sizes, options.tiny)


if __name__ == "__main__":
    main()
