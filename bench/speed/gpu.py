"""`python bench/speed/gpu.py --out FILE.json`: the full-size readings on a machine with a GPU, in under 9 minutes.

Writes a model set with random weights (`full_size.py`), then runs the sections of `gpu_sections.py`, the most wanted
first, in four processes: for the engine, for memory budgets, for the rest, and for every experiment of bench/. The file
is written after each section, so that what was measured is there whatever happens later, and a section that failed or
for which no time was left says so: `--only` measures some of them again. Other parts of an existing FILE stay.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import blendbench.models  # noqa: F401 - for what it sets in the environment, which other processes inherit

HERE = Path(__file__).parent
PACKAGES = ("torch", "diffusers", "transformers", "open_clip_torch")
TOTAL = 530.0  # seconds for everything
SIZES = ["1024x1", "512x1"]  # side and batch of the engine
STEPS = ["1024x1", "512x1", "512x8"]
GUIDANCE = 4.0  # of the base model, where a section measures guidance
BUDGETS = {"staged": 16, "resident": 24}  # GiB
FP8_BUDGET = 12
Job = dict[str, Any]


class Runner:
    """Run sections within a total budget, and write the file after each.

    `keep`: beside what the file has of this machine already.
    """

    def __init__(self, out: Path, work: Path, models: Path | None, total: float, keep: bool = False) -> None:
        self.out, self.work, self.models = out, work, models or work / "models"
        self.end = time.monotonic() + total
        self.file: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
        self.machine = machine()
        before = self.file.get(self.machine["key"], {})
        before = before if keep and before.get("machine") == self.machine else {}
        self.readings: dict[str, Any] = dict(before.get("readings", {}))
        self.notes: dict[str, Any] = {note["section"]: note for note in before.get("sections", ())}

    def weights(self, tiny: bool) -> bool:
        """Write the model set; whether it is there."""
        command = [sys.executable, str(HERE / "full_size.py"), "--out", str(self.models), *(["--tiny"] if tiny else [])]
        began = time.monotonic()
        called = subprocess.run(command, capture_output=True, text=True, check=False)
        done = called.returncode == 0
        lines = (called.stdout if done else called.stderr).strip().splitlines()[-1:]
        status = "ok" if done else f"failed: {lines}"
        self.note("weights", status, time.monotonic() - began, json.loads(lines[0]) if done else None)
        return done

    def process(self, jobs: list[Job]) -> None:
        """Run jobs one after another in one process, which is ended when the time is over."""
        command = [sys.executable, str(HERE / "gpu_sections.py"), "--models", str(self.models)]
        left, waiting = max(self.end - time.monotonic(), 0.0), [job["name"] for job in jobs]
        with tempfile.TemporaryFile("w+") as errors:
            called = subprocess.Popen(
                [*command, "--work", str(self.work), json.dumps(jobs)], stdout=subprocess.PIPE, stderr=errors, text=True
            )
            late = threading.Timer(left, called.kill)
            late.start()
            for line in called.stdout or ():
                if line.startswith("{"):
                    message = json.loads(line)
                    waiting.remove(message["section"])
                    self.note(message["section"], message["status"], message["seconds"], message["reading"])
            called.wait()
            over = not late.is_alive()
            late.cancel()
            errors.seek(0)
            reason = "no time left" if over else f"the process ended: {errors.read().strip().splitlines()[-1:]}"
        for name in waiting:
            self.note(name, reason, 0.0, None)

    def note(self, name: str, status: str, seconds: float, reading: Any) -> None:
        """Say how a section went, and write the file as it stands, with the figures that others look for on top."""
        print(f"{name}: {status}, {seconds:.1f} s", flush=True)
        today = datetime.now(UTC).date().isoformat()
        self.notes[name] = {"section": name, "date": today, "status": status, "seconds": round(seconds, 1)}
        self.readings.pop(name, None)  # one that failed now does not stand for an older one
        if reading is not None:
            self.readings[name] = reading
        part: dict[str, Any] = {
            "machine": self.machine,
            "readings": self.readings,
            "sections": list(self.notes.values()),
        }
        part |= headline(self.readings)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.file | {self.machine["key"]: part}, indent=1, sort_keys=True) + "\n")


def machine() -> dict[str, Any]:
    """Return the machine of the readings; `key` names their part of the file."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    packages = {package: version(package) for package in PACKAGES}
    key = next((key for key in ("h200", "h100") if key.upper() in name), "gpu")
    return {"key": key, "gpu": name, "cuda": torch.version.cuda, "python": platform.python_version(), **packages}


def headline(readings: dict[str, Any]) -> dict[str, float]:
    """Return the measured figures that targets are about."""
    found: dict[str, float] = {}
    plain = readings.get("plain", {})
    for name, engine in readings.items():
        if not name.startswith("engine_"):
            continue
        side, busy = name.removeprefix("engine_"), engine["busy"]
        found[f"transformer_busy_{side}"] = busy["transformer"]
        found[f"busy_{side}"] = busy["transformer"] + busy["vae_decode"]
        plain_side = side.removesuffix("_fp8")
        if plain_side in plain:
            seconds = plain[plain_side]["seconds_a_cell"]
            found[f"ratio_{side}"] = seconds / engine["seconds_a_cell"]
            in_all = engine["run"]["seconds"] + engine["warm_up"]["seconds"]
            found[f"ratio_{side}_with_loading_and_warm_up"] = seconds * engine["run"]["expected"] / in_all
        step = readings.get("transformer", {}).get(f"{side}_batch_{engine['batch']}", {})
        if "compiled_ms" in step:
            found[f"step_over_floor_{side}"] = step["compiled_ms"] / step["floor_ms"]
            found[f"step_over_best_floor_{side}"] = step["compiled_ms"] / step["best_floor_ms"]
    found |= waiting(readings)
    if scoring := readings.get("metrics"):
        found["scoring_ms"] = scoring["verdict"]["milliseconds_an_image"]
    for plan in (*BUDGETS, "fp8"):
        if peaks := readings.get(f"memory_{plan}", {}).get("peak_gib"):
            found[f"peak_gib_{plan}_1024"] = max(peaks.values())
    return found


def waiting(readings: dict[str, Any]) -> dict[str, float]:
    """Return what a user waits for: seconds of whole commands without sampling, and their ratios."""
    found: dict[str, float] = {}
    if imports := readings.get("bare_imports"):
        found["bare_imports_s"] = imports["seconds"]
    for name, key in (("first_run", "first_run"), ("cells48", "cells48"), ("idea", "idea")):
        if command := readings.get(name):
            found[f"{key}_overhead_s"] = command["overhead_s"]
    if (plain := readings.get("plain_command")) and (cells := readings.get("cells48")):
        found["cells48_over_plain_command"] = plain["whole_s"] / cells["seconds"]
    if session := readings.get("resident"):
        found["idea_resident_over_sampling"] = session["over_sampling"]
    return found


def jobs_of(sizes: list[str], tiny: bool, repeats: int = 3) -> list[list[Job]]:
    """Return all sections, process after process."""
    steps = ["64x1", "64x2"] if tiny else STEPS
    small = {"suite": "miniature", "items": 2} if tiny else {}
    side_of = {size: size.partition("x")[0] for size in sizes}
    ones = [f"{side}x1" for side in side_of.values()]

    def job(section: str, name: str = "", **options: Any) -> Job:
        given = small | {"shapes": steps, "repeats": repeats} | options
        return {"name": name or section, "section": section, "options": given}

    # These run in processes of their own, one command after the other.
    commands = [
        job("bare_imports"),
        job("first_run", shapes=ones[:1]),
        job("idea", shapes=ones[:1]),
        job("cells", "cells48", shapes=ones[:1]),
        job("plain_command", shapes=ones[:1], cells=12),
    ]
    resident = [job("resident", shapes=ones[:1])]
    engine = [job("engine", f"engine_{side}", shapes=[size]) for size, side in side_of.items()]
    for size, side in side_of.items():
        engine += [job("engine", f"engine_{side}_fp8", shapes=[size], precision="fp8")]
        engine += [job("fp8", f"fp8_{side}", shapes=[size])]
    memory = [
        job("memory", f"memory_{plan}", shapes=ones[:1], memory_budget=budget, items=1)
        for plan, budget in BUDGETS.items()
    ]
    memory.append(job("memory", "memory_fp8", shapes=ones[:1], memory_budget=FP8_BUDGET, items=1, precision="fp8"))
    rest = [
        job("plain", shapes=ones),
        job("transformer"),
        *[job("difference", f"difference_{side}", shapes=[size]) for size, side in side_of.items()],
        job("independence", shapes=steps[-1:]),
        job("independence", "independence_guided", shapes=steps[-1:], guidance=GUIDANCE),
        *[job(section) for section in ("vae", "equal", "metrics", "attention", "host", "encoders")],
        job("equal", "equal_guided", guidance=GUIDANCE),
    ]
    # On a GPU this takes minutes of its own: after all others it finds no time, so ask for it with --only.
    every = job("experiments", shapes=["64x1"] if tiny else ["512x4"], items=2, names=["adain"] if tiny else None)
    return [commands, resident, engine, memory, rest, [every]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/speed.json"))
    parser.add_argument("--work", type=Path, help="folder for weights and images, 45 GB; default: a temporary one")
    parser.add_argument("--models", type=Path, help="what full_size.py wrote; default: it is written now, and removed")
    parser.add_argument("--total", type=float, default=TOTAL, help="seconds for everything")
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="SIDExBATCH of the engine")
    parser.add_argument("--repeats", type=int, default=3, help="fresh processes a command; the median counts")
    parser.add_argument("--only", nargs="+", help="names of sections; what FILE has of the others stays")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: does the script work?")
    options = parser.parse_args()
    groups = jobs_of(["64x2"] if options.tiny else options.sizes, options.tiny, options.repeats)
    known = [job["name"] for jobs in groups for job in jobs]
    if unknown := sorted(set(options.only or ()) - set(known)):
        parser.error(f"--only {' '.join(unknown)}: not among {' '.join(known)}")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        runner = Runner(options.out, Path(work), options.models, options.total, keep=bool(options.only))
        if options.models or runner.weights(options.tiny):
            for jobs in groups:
                if wanted := [job for job in jobs if not options.only or job["name"] in options.only]:
                    runner.process(wanted)


if __name__ == "__main__":
    main()
