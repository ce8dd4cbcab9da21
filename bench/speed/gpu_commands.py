"""Whole commands in fresh processes, for `gpu.py`: from the start of the process to its end.

The engine's commands go through `sampled.py`, which is `blendbench` with the time of sampling written down. All use one
cache folder, which the first command finds empty: it hashes the weights and compiles.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXPERIMENT = HERE / "speed.toml"
IMPORTS = """
import torch, diffusers, transformers, open_clip
from diffusers import ZImagePipeline
from transformers import AutoProcessor, Qwen3ForCausalLM, Qwen3VLForConditionalGeneration
"""
_FIRST_DOSE = 41  # in hundredths; speed.toml has .10, .30 and .60


def bare_imports(options: argparse.Namespace) -> dict[str, Any]:
    """Import the four libraries with the classes that a plain loop uses."""
    times = [_timed([sys.executable, "-c", IMPORTS], options) for _ in range(options.repeats)]
    return {"seconds": statistics.median(times), "all": times}


def first_run(options: argparse.Namespace) -> dict[str, Any]:
    """Generate 48 new cells on a machine that has never run any."""
    shutil.rmtree(_cache(options), ignore_errors=True)
    shutil.rmtree(_results(options, "first"), ignore_errors=True)
    return _run(options, "first")


def cells(options: argparse.Namespace) -> dict[str, Any]:
    """Generate 48 new cells, with everything but the cells cached; compare them with the first run's."""
    found = []
    for i in range(options.repeats):
        shutil.rmtree(_results(options, f"cells_{i}"), ignore_errors=True)
        found.append(_run(options, f"cells_{i}"))
    reading = _median(found)
    first = _images(options, "first")
    reading["equal_to_first_run"] = None if first is None else _images(options, f"cells_{0}") == first
    return reading


def idea(options: argparse.Namespace) -> dict[str, Any]:
    """Generate 8 cells of one more strategy beside the first run's, with everything else cached."""
    doses = [_FIRST_DOSE + i for i in range(options.repeats)]
    return _median([_run(options, "first", "--strategy", f"lerp:alpha=0.{dose}") for dose in doses])


def plain_command(options: argparse.Namespace) -> dict[str, Any]:
    """Run the plain loop as a whole command on the first cells; the rest at its pace."""
    side, _ = options.shapes[0]
    out = options.work / "plain_command"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, str(HERE / "plain_loop.py"), str(_experiment(options)), "--models", str(options.models)]
    command += [
        "--out",
        str(out),
        "--device",
        options.device,
        *(["--cells", str(options.cells)] if options.cells else []),
    ]
    began = time.perf_counter()
    printed = _call(command, options)
    seconds = time.perf_counter() - began
    loop = json.loads(printed[printed.index("{") :])
    expected = loop["planned"]
    whole = seconds - loop["seconds"] + expected * loop["seconds_a_cell"]
    return {"side": side, "command_s": seconds, "loop": loop, "cells": expected, "whole_s": whole}


def _run(options: argparse.Namespace, results: str, *more: str) -> dict[str, Any]:
    """Run `blendbench run`; seconds of the whole process, of sampling, and the difference."""
    note = options.work / "sampled.json"
    note.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "sampled.py"), str(note), "run", str(_experiment(options)), *more]
    command += [
        "--models",
        str(options.models),
        "--device",
        options.device,
        "--results",
        str(_results(options, results)),
    ]
    seconds = _timed(command, options)
    found = json.loads(note.read_text())
    return {"seconds": seconds, **found, "overhead_s": seconds - found["sampling_s"]}


def _experiment(options: argparse.Namespace) -> Path:
    """Write the experiment with the job's suite, items and size."""
    side, _ = options.shapes[0]
    text = EXPERIMENT.read_text().replace('suite = "miniature"', f'suite = "{options.suite}"')
    if options.items is not None:
        text = text.replace("items = 8", f"items = {options.items}")
    path: Path = options.work / f"speed_{side}.toml"
    path.write_text(f"{text}\n[sampler]\nheight = {side}\nwidth = {side}\n")
    return path


def _median(found: list[dict[str, Any]]) -> dict[str, Any]:
    chosen = sorted(found, key=lambda reading: float(reading["overhead_s"]))[len(found) // 2]
    return {**chosen, "all": [{key: reading[key] for key in ("seconds", "sampling_s")} for reading in found]}


def _images(options: argparse.Namespace, results: str) -> dict[str, str] | None:
    """Return the image of each cell of the experiment itself."""
    folder = _results(options, results)
    if not folder.is_dir():
        return None
    query = (
        "SELECT cell_id, image_sha256 FROM cells WHERE status = 'ok' AND label NOT LIKE 'lerp:alpha=0.4%' ORDER BY 1"
    )
    command = [sys.executable, "-m", "blendbench", "sql", query, "--format", "json", "--results", str(folder)]
    return {row["cell_id"]: row["image_sha256"] for row in json.loads(_call(command, options))}


def _results(options: argparse.Namespace, name: str) -> Path:
    folder: Path = options.work / f"command_{name}"
    return folder


def _cache(options: argparse.Namespace) -> Path:
    folder: Path = options.work / "cache"
    return folder


def _timed(command: list[str], options: argparse.Namespace) -> float:
    began = time.perf_counter()
    _call(command, options)
    return time.perf_counter() - began


def _call(command: list[str], options: argparse.Namespace) -> str:
    """Return what a command printed.

    Errors: RuntimeError with its last line, or if it had to compile what it could have kept: it would time another
    thing than it says.
    """
    settings = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    called = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=settings | {"XDG_CACHE_HOME": str(_cache(options)), "PYTHONUNBUFFERED": "1"},
    )
    if called.returncode:
        raise RuntimeError(f"exit code {called.returncode}: {called.stderr.strip().splitlines()[-1:]}")
    if note := [line for line in called.stderr.splitlines() if "cannot be kept" in line]:
        raise RuntimeError(note[0])
    return called.stdout
