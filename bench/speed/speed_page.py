"""`python bench/speed/speed_page.py`: reports/speed.md from reports/speed.json, a pure function of that file.

`make bench-gpu` writes the part of a GPU (`h200`), `make bench` the part `cpu`: `--benchmarks` takes it from the file
that pytest-benchmark stored.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from speed_commands import commands_table
from speed_targets import targets_table

from blendbench.reports.formats import markdown_table

Part = dict[str, Any]
_HEAD = """Written by `python bench/speed/speed_page.py` from `speed.json`. `make bench-gpu` makes the full-size
readings on a machine with a GPU, `make bench` those of the miniature.

**What ran with which weights.** The miniature has trained weights. At full size (Z-Image-Turbo, Qwen3-4B, Qwen3-VL-4B,
CLIP ViT-L-14, SigLIP2 SO400M-384) everything on this page ran with **random weights** in the published folder layout:
they cost what the real ones cost, so times, memory and loading are real, and the images are noise. Nobody has run
blendbench on the real weights yet.

**The peer** is `bench/speed/plain_loop.py`: the same cells one after another with diffusers, transformers, open_clip
and OpenCV, all models in memory, nothing slowed on purpose.
"""


# Readings of the CPU's part that have a name of their own, by benchmark.
_CHECKS = {
    "test_an_idea_is_checked_in_a_new_process": "check_new_process_s",
    "test_an_idea_is_checked_in_a_session": "check_resident_s",
    "test_a_check_of_nothing_new": "check_unchanged_s",
}


def steps_table(part: Part) -> list[str]:
    """Transformer steps: eager, compiled, without launching, as the engine calls it, and the floor."""
    readings = part["readings"].get("transformer", {})
    rows = []
    for name, step in readings.items():
        if "_batch_" not in name:
            continue
        side, _, batch = name.partition("_batch_")
        images = int(batch)
        timed = [step.get(way) for way in ("eager_ms", "compiled_ms", "graph_ms")]
        in_engine = _engine_step(part["readings"].get(f"engine_{side}"), images)
        floors = (step.get("floor_ms"), step.get("best_floor_ms"))
        rows.append(
            [
                f"{side}²",
                batch,
                *(_ms(value, images) for value in (*timed, in_engine, *floors)),
                *(_over(step.get("compiled_ms"), floor) for floor in floors),
            ]
        )
    if not rows:
        return []
    best = readings["ceiling"]["tflops"]
    header = [
        "image",
        "batch",
        "eager, ms",
        "compiled, ms",
        "one CUDA graph, ms",
        "in the engine, ms",
        "floor, ms",
        "best floor, ms",
        "compiled over floor",
        "over best floor",
    ]
    return [
        "## One step of the transformer, an image",
        "",
        "The floor is the step's floating-point operations at the rate that the card keeps up in bfloat16 matrix",
        "products (8192³, two seconds without a pause), measured between two runs of the step. The best floor is at",
        f"{best:.0f} TFLOP/s, the best rate in short bursts. Captions have 64 tokens. In the engine it is the mean",
        "over all calls of its 48 cells, whose captions have their own lengths, while encoders and scorers share the",
        "GPU. One CUDA graph is what is left if launching kernels costs nothing.",
        "",
        *markdown_table(header, rows, right=range(1, 10)),
        "",
    ]


def _over(value: float | None, floor: float | None) -> str:
    return "–" if value is None or floor is None else f"{value / floor:.2f}"


def _engine_step(engine: Part | None, images: int) -> float | None:
    """Return milliseconds a transformer call of the engine, if its batches have so many images."""
    if engine is None or engine["batch"] != images:
        return None
    value: float | None = engine["ms_a_call"].get("transformer")
    return value


def exactness(part: Part) -> list[str]:
    """Compare each fast piece with its original, and images among their neighbours."""
    readings = part["readings"]
    named = [(f"transformer, {name}", step) for name, step in readings.get("transformer", {}).items()]
    named += [(section, readings.get(section, {})) for section in ("vae", "attention")]
    rows = [
        [place, key.replace("_", " "), f"{value:.1e}"]
        for place, values in named
        if isinstance(values, dict)
        for key, value in values.items()
        if "_from_" in key
    ]
    lines = []
    for suffix, how in (("", ""), ("_guided", ", with guidance and a negative prompt")):
        if found := readings.get(f"equal{suffix}"):
            lines += [
                f"The staged path against `ZImagePipeline.__call__` at full size{how}, {found['sampler']['height']}²,"
                f" {found['dtype']}, {found['prompts']} prompts, both eager: {_equalities(found)}.",
                "",
            ]
        if found := readings.get(f"independence{suffix}"):
            words = [
                f"{key.replace('_', ' ')}: {'yes' if value else '**no**'}"
                for key, value in found.items()
                if isinstance(value, bool)
            ]
            lines += [
                f"Bit-equal images at {found['side']}², batches of {found['batch']}{how}: {'; '.join(words)}.",
                "",
            ]
    if rows:
        lines += [
            "Norm of the difference over the norm; one rounding of bfloat16 is 7.8e-3.",
            "",
            *markdown_table(["what", "how far", "distance"], rows, right=(2,)),
            "",
        ]
    return ["## How exact the fast pieces are", "", *lines] if lines else []


def _equalities(found: Part) -> str:
    names = {"text": "text rows", "latents_single": "latents one by one", "latents_batch": "latents in a batch"}
    return "; ".join(
        f"{words} " + ("equal bit for bit" if found[key]["equal"] else f"{found[key]['largest']:.1e} apart at most")
        for key, words in names.items()
    )


def _ms(value: float | None, images: int) -> str:
    return "–" if value is None else f"{value / images:.1f}"


def loops_table(part: Part) -> list[str]:
    """Engine and plain loop: seconds a cell and where they go."""
    readings, rows = part["readings"], []
    for name, engine in readings.items():
        if not name.startswith("engine_"):
            continue
        side, size = name.removeprefix("engine_"), _size(name)
        plain = readings.get("plain", {}).get(side)
        run, busy = engine["run"], engine["busy"]
        rows += [
            *(
                [[f"plain loop, {size}", "1", f"{plain['cells']}", f"{plain['seconds_a_cell']:.3f}", _stages(plain)]]
                if plain
                else []
            ),
            [
                f"blendbench, {size}, {engine['calls']['transformer'] / run['expected']:g} steps",
                f"{engine['batch']}",
                f"{run['expected']}",
                f"{engine['seconds_a_cell']:.3f}",
                f"transformer {busy['transformer']:.1%}, VAE {busy['vae_decode']:.1%} of the wall time;"
                f" before it, loading and warm-up {engine['warm_up']['seconds']:.0f} s"
                f" (compiling {engine['warm_up'].get('stages', {}).get('warm_up', 0):.0f} s)",
            ],
        ]
    if not rows:
        return []
    table = markdown_table(["what", "batch", "cells", "seconds a cell", "where it goes"], rows, right=(1, 2, 3))
    return ["## 48 cells: six strategies on eight items", "", *table, "", *_counts(readings)]


def _size(section: str) -> str:
    """Return the size and precision of a section such as `engine_512_fp8`, in words."""
    _, side, *precision = section.split("_")
    return " in ".join([f"{side}²", *precision])


def _stages(plain: Part) -> str:
    return ", ".join(f"{stage} {seconds * 1000:.0f} ms" for stage, seconds in plain["stages_a_cell"].items())


def _counts(readings: Part) -> list[str]:
    lines = []
    for name, engine in readings.items():
        if name.startswith("engine_"):
            calls, side = engine["calls"], name.removeprefix("engine_")
            lines.append(
                f"- {_size(name)}: {engine['run']['images']} images generated for {engine['run']['expected']} cells;"
                f" {calls['text_encoder']} forward passes of the text encoder, {calls['vision_language']} of Qwen3-VL,"
                f" {calls['transformer']} of the transformer, {calls['vae_decode']} of the VAE."
            )
            lines += _limit(readings, side, engine)
        if name.startswith("difference_"):
            lines.append(
                f"- {name.removeprefix('difference_')}²: the images differ from the plain loop's by"
                f" {engine['mean_levels']:.2f} of 255 levels on average ({engine['cells']} cells)."
            )
    return [*lines, ""]


def scoring_table(part: Part) -> list[str]:
    """Write the cost of scoring, and its distance from the CPU."""
    found = part["readings"].get("metrics")
    if not found:
        return []
    costs, size = found["milliseconds"], found["images"]
    rows = [[name, f"{costs[name]:.2f}"] for name in ("artifact metrics", "artifact and drift metrics")]
    for way, cost in costs["artifact metrics + CLIP + SigLIP"].items():
        rows.append([f"artifact metrics, CLIP and SigLIP, {way}", f"{cost:.2f}"])
    apart = []
    for name, ways in found["difference"]["cosines"].items():
        for way, gaps in ways.items():
            if way != "preparation":
                apart.append([name, way, *(f"{gap:.1e}" for gap in gaps.values())])
    worst = found["verdict"]["largest_difference_of_metrics"]
    columns = [name.replace("_", " ") for name in next(iter(found["difference"]["cosines"].values()))["preparation"]]
    return [
        "## Scoring",
        "",
        f"Images of {size['size']}² in batches of {size['batch']}; CLIP ViT-L-14 and SigLIP2 SO400M-384 with random"
        " weights.",
        f"The pixel metrics of CPU and GPU differ by at most {worst:.0e} (over values above 1).",
        "",
        *markdown_table(["what", "ms an image"], rows, right=(1,)),
        "",
        "Largest difference of cosines to those of the CPU in float32:",
        "",
        *markdown_table(["scorer", "way", *columns], apart, right=(2, 3)),
        "",
    ]


def _limit(readings: Part, side: str, engine: Part) -> list[str]:
    """Estimate an engine whose transformer ran at its floor, and which did nothing else."""
    plain = readings.get("plain", {}).get(side)
    step = readings.get("transformer", {}).get(f"{side}_batch_{engine['batch']}")
    if not plain or not step:
        return []
    floor = step["floor_ms"] * engine["calls"]["transformer"] / 1000
    most = plain["seconds_a_cell"] * engine["run"]["expected"] / floor
    return [
        f"- {side}²: with every transformer call at its floor and nothing beside them, the engine would be"
        f" {most:.2f} times faster than the plain loop."
    ]


def other_table(part: Part) -> list[str]:
    """Everything else that was timed, in milliseconds."""
    rows = [
        [section, name.removesuffix("_ms").replace("_ms_an_image", " an image").replace("_", " "), f"{value:.1f}"]
        for section in ("vae", "attention", "encoders", "host")
        for name, value in part["readings"].get(section, {}).items()
        if name.endswith(("_ms", "_ms_an_image"))
    ]
    if not rows:
        return []
    return ["## Parts", "", *markdown_table(["section", "what", "ms"], rows, right=(2,)), ""]


def sections_table(part: Part) -> list[str]:
    """List the sections that ran, and when, and why others did not."""
    rows = [[s["section"], s["date"], f"{s['seconds']:.0f}", s["status"]] for s in part["sections"]]
    table = markdown_table(["section", "date", "seconds", "status"], rows, (2,))
    return ["## How the readings were made", "", *table, ""]


def gpu_page(part: Part) -> list[str]:
    """Write the readings of one GPU."""
    made = part["machine"]
    packages = ", ".join(f"{k} {v}" for k, v in made.items() if k not in ("key", "gpu"))
    return [
        f"# {made['gpu']}",
        "",
        f"{packages}.",
        "",
        *commands_table(part),
        "## Targets",
        "",
        *targets_table(part),
        "",
        *steps_table(part),
        *loops_table(part),
        *scoring_table(part),
        *other_table(part),
        *exactness(part),
        *sections_table(part),
    ]


def cpu_page(part: Part) -> list[str]:
    """Write the measurements of pytest-benchmark on a CPU."""
    rows = []
    for row in part["benchmarks"]:
        extra = ", ".join(f"{name} {value:.3g}" for name, value in row["extra"].items())
        rows.append([row["name"], f"{row['min'] * 1000:.3g}", extra])
    table = markdown_table(["benchmark", "best, ms", "also"], rows, right=(1,))
    return ["# CPU, the miniature", "", f"{part['cpu']}, {part['python']}.", "", *checks(part), *table, ""]


def checks(part: Part) -> list[str]:
    """Say how long `check` takes on the miniature."""
    if not all(key in part for key in _CHECKS.values()):
        return []
    new, resident, unchanged = (part[key] for key in _CHECKS.values())
    return [
        f"`blendbench check` of a changed idea takes {new:.0f} s in a new process and {resident:.0f} s in a session"
        f" whose models are loaded; with nothing changed, {unchanged:.1f} s. Medians of three.",
        "",
    ]


def cpu_part(stored: dict[str, Any]) -> Part:
    """Return the part `cpu` from the file of pytest-benchmark."""
    made = stored["machine_info"]
    numbers = (int, float)
    medians = {row["name"]: row["stats"]["median"] for row in stored["benchmarks"]}
    return {
        **{key: medians[name] for name, key in _CHECKS.items() if name in medians},
        "cpu": f"{made['cpu'].get('brand_raw', made['machine'])}, {made['cpu'].get('count', '?')} cores",
        "python": f"Python {made['python_version']}",
        "benchmarks": [
            {
                "name": row["name"],
                "min": row["stats"]["min"],
                "extra": {k: v for k, v in row["extra_info"].items() if isinstance(v, numbers)},
            }
            for row in stored["benchmarks"]
        ],
    }


def answer(file: dict[str, Part]) -> str:
    """Return how long a user waits for an idea at full size, and the speed once models are warm."""
    sentences = []
    for part in file.values():
        if idea := part.get("readings", {}).get("idea"):
            sentences.append(
                f"One more strategy on {idea['batches']} items at 1024² takes {idea['seconds']:.0f} s as a command,"
                f" {idea['sampling_s']:.0f} s of them sampling ({part['machine']['gpu']})."
            )
    measured = [part for part in file.values() if part.get("ratio_1024")]
    if measured:
        best = max(measured, key=lambda part: float(part["ratio_1024"]))
        sentences.append(
            f"With models loaded and warm, 48 cells at 1024² are generated and scored {best['ratio_1024']:.2f} times"
            f" faster than by the plain loop ({best['machine']['gpu']})."
        )
    return " ".join(sentences) or "At full size nothing is measured yet."


def page(file: dict[str, Part]) -> str:
    """Render the whole page."""
    lines = ["# Speed", "", answer(file), "", _HEAD]
    for name, part in sorted(file.items(), reverse=True):
        lines += cpu_page(part) if name == "cpu" else gpu_page(part)
    if not any(name != "cpu" for name in file):
        lines += ["# GPU", "", "Not measured yet: run `make bench-gpu` on a machine with a GPU.", ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=Path("reports/speed.json"))
    parser.add_argument("--benchmarks", type=Path, help="a file of pytest-benchmark to take the CPU's part from")
    parser.add_argument("--out", type=Path, default=Path("reports/speed.md"))
    options = parser.parse_args()
    file = json.loads(options.file.read_text()) if options.file.is_file() else {}
    if options.benchmarks:
        file["cpu"] = cpu_part(json.loads(options.benchmarks.read_text()))
        options.file.write_text(json.dumps(file, indent=1, sort_keys=True) + "\n")
    options.out.write_text(page(file))


if __name__ == "__main__":
    main()
