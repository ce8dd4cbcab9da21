"""`python bench/speed/gpu_cluster.py --models DIR --gpus N`: one GPU against several, in reports/speed.json.

Whole commands in fresh processes, with caches warm: `one` GPU by the local executor, `several` by Ray, `ray_one` by
both, and `idea`, one more strategy in a session whose models are loaded. `full_size.py` writes DIR. The part of the
file is named after the cards, such as `h100_x2`; `--only` measures some sections again. Without a GPU, processes take
the place of GPUs: the figures mean nothing there but for the overhead of Ray, and the script is known to work.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gpu
import torch

from blendbench.results.store import open_results
from blendbench.run.cluster import Cluster
from blendbench.session import Session

HERE = Path(__file__).parent
Reading = dict[str, Any]
_BEGIN = 0.1  # fraction of the cells after which sampling is timed: before it, networks are loaded and compiled


def one(options: argparse.Namespace) -> Reading:
    """Run the command on one GPU, without Ray; before it, on one item, which fills the caches."""
    _command(options, "warm_up", [], 1)
    return _command(options, "one", [])


def several(options: argparse.Namespace) -> Reading:
    """Run the command on all GPUs; compare the images with those of one."""
    reading = _command(options, "several", _ray(options.gpus))
    return reading | {"equal_to_one": _images(options, "several") == _images(options, "one")}


def ray_one(options: argparse.Namespace) -> Reading:
    """Run the command on one GPU by Ray and without it, on fewer items."""
    local = _command(options, "local_few", [], options.ray_items)
    reading = _command(options, "ray_few", _ray(1), options.ray_items)
    return reading | {"local": local, "equal_to_local": _images(options, "ray_few") == _images(options, "local_few")}


def idea(options: argparse.Namespace) -> Reading:
    """Check one more strategy in a resident session on all GPUs."""
    cuda = torch.cuda.is_available()
    cluster = Cluster(gpus=options.gpus if cuda else None, workers=None if cuda else options.gpus)
    with cluster, Session(options.models, options.work / "idea", quiet=True, cluster=cluster) as session:
        settings = {"height": options.side, "width": options.side, "batch_size": 1}
        sampler = session.models.file.sampler.overridden(settings)
        session.models.file = session.models.file.model_copy(update={"sampler": sampler})
        found = []
        for dose in range(3):  # the first loads the networks and generates the baseline
            done = session.check(f"lerp:alpha=0.4{dose}", items=options.idea_items, sequential=False)
            found.append({"seconds": done.seconds, "cells": done.generated})
    return {**found[-1], "all": found}


SECTIONS: dict[str, Callable[[argparse.Namespace], Reading]] = {
    "one": one,
    "several": several,
    "ray_one": ray_one,
    "idea": idea,
}


def headline(readings: dict[str, Reading], gpus: int) -> dict[str, float]:
    """Return the measured figures that targets are about."""
    found: dict[str, float] = {}
    alone = readings.get("one")
    if alone and (many := readings.get("several")):
        found[f"command_ratio_{gpus}_gpus"] = alone["seconds"] / many["seconds"]
        found[f"sampling_ratio_{gpus}_gpus"] = many["cells_a_second"] / alone["cells_a_second"]
    if by_ray := readings.get("ray_one"):
        found["ray_overhead"] = by_ray["local"]["cells_a_second"] / by_ray["cells_a_second"] - 1
        found["ray_overhead_command_s"] = by_ray["seconds"] - by_ray["local"]["seconds"]
    if "idea" in readings:
        found["idea_resident_s"] = readings["idea"]["seconds"]
        found["idea_resident_cells"] = readings["idea"]["cells"]
    return found


def _ray(count: int) -> list[str]:
    return ["--executor", "ray", "--gpus" if torch.cuda.is_available() else "--workers", str(count)]


def _command(options: argparse.Namespace, name: str, more: list[str], items: int | None = None) -> Reading:
    """Run `blendbench run` in a new folder, on the first `items`; seconds of the process, and the rate of its cells."""
    results = options.work / name
    shutil.rmtree(results, ignore_errors=True)
    words = ["run", str(_experiment(options)), "--models", str(options.models), "--results", str(results), "--json"]
    words += ["--items", str(items)] if items else []
    began = time.perf_counter()
    times: list[tuple[float, int]] = []
    with tempfile.TemporaryFile("w+") as printed:
        command = [sys.executable, "-m", "blendbench", *words, *more]
        called = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True)
        lines = []
        for line in called.stderr or ():
            lines.append(line.strip())
            event = json.loads(line) if line.startswith('{"event": "progress"') else {}
            if event.get("stage") == "images":
                times.append((time.perf_counter() - began, event["done"]))
        code, seconds = called.wait(), time.perf_counter() - began
        printed.seek(0)
        if code:
            raise RuntimeError(f"exit code {code}: {lines[-1:]}")
        report = json.loads(printed.read())
    return {"seconds": seconds, "cells_a_second": _rate(times), "report": report}


def _rate(times: list[tuple[float, int]]) -> float:
    """Return cells a second from the first tenth of the cells to the last one."""
    last, cells = times[-1]
    first, before = next(entry for entry in times if entry[1] >= _BEGIN * cells)
    return (cells - before) / (last - first) if last > first else cells / last


def _experiment(options: argparse.Namespace) -> Path:
    text = (HERE / "speed.toml").read_text().replace('suite = "miniature"', f'suite = "{options.suite}"')
    path: Path = options.work / "speed.toml"
    side = options.side
    text = text.replace("items = 8", f"items = {options.items}")
    path.write_text(f"{text}\n[sampler]\nheight = {side}\nwidth = {side}\n")
    return path


def _images(options: argparse.Namespace, name: str) -> list[Any]:
    folder = options.work / name
    return open_results(folder).rows("SELECT cell_id, image_sha256 FROM cells ORDER BY ALL") if folder.is_dir() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True, help="what full_size.py wrote")
    parser.add_argument("--out", type=Path, default=Path("reports/speed.json"))
    parser.add_argument("--work", type=Path, help="folder for results, kept between calls; default: a temporary one")
    parser.add_argument("--gpus", type=int, default=torch.cuda.device_count() or 2)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--items", type=int, default=96, help="six cells each")
    parser.add_argument("--ray-items", type=int, default=24, help="of the comparison of Ray with the local executor")
    parser.add_argument("--idea-items", type=int, default=36, help="all development items of `standard`")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    options = parser.parse_args()
    machine = gpu.machine() | {"gpus": options.gpus}
    key = f"{machine['key']}_x{options.gpus}"
    with tempfile.TemporaryDirectory() as temporary:
        options.work = (options.work or Path(temporary)).absolute()
        options.work.mkdir(parents=True, exist_ok=True)
        for name in options.only:
            began, reading, status = time.perf_counter(), None, "ok"
            try:
                reading = SECTIONS[name](options)
            except Exception as error:  # the other sections are measured all the same
                status = f"failed: {type(error).__name__}: {str(error).splitlines()[:1]}"
            seconds = round(time.perf_counter() - began, 1)
            print(f"{name}: {status}, {seconds} s", flush=True)
            file = json.loads(options.out.read_text()) if options.out.is_file() else {}
            part = file.get(key, {})
            readings = part.get("readings", {}) if part.get("machine") == machine else {}
            readings.pop(name, None)
            readings |= {name: reading} if reading is not None else {}
            notes = {note["section"]: note for note in part.get("sections", ())}
            today = datetime.now(UTC).date().isoformat()
            notes[name] = {"section": name, "date": today, "status": status, "seconds": seconds}
            sections = [*notes.values()]
            part = {"machine": machine, "readings": readings, "sections": sections, **headline(readings, options.gpus)}
            options.out.write_text(json.dumps(file | {key: part}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
