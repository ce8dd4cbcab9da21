"""Measure the miniature: `python -m miniature.evaluate --models DIR`.

`--out FILE` takes the figures.

Everything is measured on scenes with held-out combinations of colour, shape and style, which no stage but the probe has
seen. Fractions come with their count, so that a reader can put an interval on them.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ZImagePipeline
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

from blendbench.models.miniature import captions, world
from blendbench.models.miniature.probe import Probe, ProbeReading, load_probe
from miniature import folder
from miniature.tokenizer import QUESTIONS
from miniature.train.data import render_images, to_unit
from miniature.train.vae import psnr, round_trip

Measures = dict[str, dict[str, float]]


def fraction(right: Tensor) -> dict[str, float]:
    """Return the fraction of true values and their number."""
    return {"value": right.float().mean().item(), "n": right.numel()}


def object_table(scenes: world.Scenes) -> Tensor:
    """Return (n, colours, shapes) boolean: the objects of each scene."""
    table = torch.zeros(len(scenes), len(world.COLOURS), len(world.SHAPES), dtype=torch.bool)
    for column in range(2):
        rows = (scenes.shape[:, column] >= 0).nonzero()[:, 0]
        table[rows, scenes.colour[rows, column], scenes.shape[rows, column]] = True
    return table


def right_attributes(reading: ProbeReading, scenes: world.Scenes) -> dict[str, Tensor]:
    """Return whether the probe reads each scene's content exactly.

    That is all its objects (and no other), its style and its background.
    """
    objects = ((reading.objects.cpu() > 0.5) == object_table(scenes)).flatten(1).all(1)
    return {
        "objects": objects,
        "style": reading.style.argmax(1).cpu() == scenes.style,
        "background": reading.background.argmax(1).cpu() == scenes.background,
    }


def measure_probe(probe: Probe, images: Tensor, scenes: world.Scenes) -> Measures:
    """Measure every attribute that the probe reads, on renderings."""
    reading = probe.read(images)
    measures = {name: fraction(right) for name, right in right_attributes(reading, scenes).items()}
    present = torch.zeros(len(scenes), len(world.POSITIONS), dtype=torch.bool)
    sizes: list[Tensor] = []
    for column in range(2):
        rows = (scenes.shape[:, column] >= 0).nonzero()[:, 0]
        present[rows, scenes.position[rows, column]] = True
        read = reading.sizes.cpu()[rows, scenes.position[rows, column]].argmax(1)
        sizes.append(read == scenes.size[rows, column])
    positions = ((reading.presence.cpu() > 0.5) == present).all(1)
    return measures | {"position": fraction(positions), "size": fraction(torch.cat(sizes))}


def generate(pipeline: ZImagePipeline, prompts: list[str], steps: int, seed: int, batch: int) -> Tensor:
    """Generate one image a prompt: (n, 3, 128, 128) uint8 on the CPU."""
    generated = []
    for i in range(0, len(prompts), batch):
        chunk = list(prompts[i : i + batch])
        generators = [torch.Generator().manual_seed(seed + i + j) for j in range(len(chunk))]
        images = pipeline(
            prompt=chunk,
            height=world.SIZE,
            width=world.SIZE,
            num_inference_steps=steps,
            guidance_scale=0.0,
            generator=generators,
            max_sequence_length=64,
            output_type="pt",
        ).images
        generated.append((images.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())
    return torch.cat(generated)


def measure_generation(
    pipeline: ZImagePipeline, probe: Probe, n: int, steps: int, batch: int
) -> tuple[Measures, Tensor]:
    """Measure adherence of text-only images to held-out prompts.

    The prompts are sampled from all phrasings.
    """
    scenes = world.sample_scenes(n, seed=901, held_out=True)
    described = captions.describe(scenes, seed=901)
    scenes = replace(scenes, style=torch.tensor([d.style for d in described]))
    images = generate(pipeline, [d.caption for d in described], steps, seed=7, batch=batch)
    right = right_attributes(probe.read(images), scenes)
    single = scenes.shape[:, 1] < 0
    named = {
        "style": torch.tensor([d.states.style is not None for d in described]),
        "background": torch.tensor([d.states.background is not None for d in described]),
    }
    return {
        "objects": fraction(right["objects"]),
        "single_object": fraction(right["objects"][single]),
        "two_objects": fraction(right["objects"][~single]),
        "style_named": fraction(right["style"][named["style"]]),
        "background_named": fraction(right["background"][named["background"]]),
        "flat_where_no_style_is_named": fraction(right["style"][~named["style"]]),
    }, images


@torch.inference_mode()
def measure_scorer(models: Path, name: str, images: Tensor, scenes: world.Scenes) -> Measures:
    """Return how often the matched caption comes first among 64."""
    import open_clip

    source = f"local-dir:{models / name}"
    model, _ = open_clip.create_model_from_pretrained(source)
    tokens = open_clip.get_tokenizer(source)(captions.canonical(scenes))
    image = model.eval().encode_image(to_unit(images), normalize=True)
    text = model.encode_text(tokens, normalize=True)
    groups = (image.unflatten(0, (-1, 64)) @ text.unflatten(0, (-1, 64)).mT).argmax(-1)
    return {"first_of_64": fraction(groups.flatten() == torch.arange(64).repeat(len(groups)))}


@torch.inference_mode()
def measure_vision_language(models: Path, images: Tensor, scenes: world.Scenes, device: str) -> Measures:
    """Measure the attributes that Qwen3-VL describes correctly.

    It uses the real processor and generate().
    """
    model = Qwen3VLForConditionalGeneration.from_pretrained(models / "vision_language", dtype=torch.float32).to(device)
    processor = AutoProcessor.from_pretrained(models / "vision_language")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    opened = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in images]
    inputs = processor(text=[text] * len(opened), images=opened, return_tensors="pt").to(device)
    written = model.generate(**inputs, max_new_tokens=28, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    answers = [
        answer.strip().replace(",", " ,").split()
        for answer in processor.batch_decode(written, skip_special_tokens=True)
    ]
    expected = [caption.replace(",", " ,").split() for caption in captions.canonical(scenes)]
    words = {
        "colour": world.COLOURS,
        "shape": world.SHAPES,
        "background": world.BACKGROUNDS,
        "style": world.STYLES,
        "size": world.SIZES,
    }
    pairs = list(zip(answers, expected, strict=True))
    measures = {
        name: fraction(torch.tensor([[w for w in a if w in known] == [w for w in e if w in known] for a, e in pairs]))
        for name, known in words.items()
    }
    return measures | {"whole_caption": fraction(torch.tensor([a == e for a, e in pairs]))}


def main() -> None:
    """Measure everything that DIR holds and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=folder.WEIGHTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    models, device = arguments.models, arguments.device
    scenes = world.sample_scenes(512, seed=900, held_out=True)
    images = render_images(scenes, "cpu")
    probe = load_probe(models / "probe")
    results: dict[str, Measures] = {"probe_rendered": measure_probe(probe, images, scenes)}
    vae = AutoencoderKL.from_pretrained(models / "pipeline" / "vae")
    back = torch.cat([round_trip(vae, images[i : i + 64]) for i in range(0, 256, 64)])
    results["vae"] = {name: fraction(r) for name, r in right_attributes(probe.read(back), scenes[:256]).items()}
    results["vae"]["psnr"] = {"value": psnr(back, images[:256]), "n": len(back)}
    for name in ("clip", "siglip"):
        results[name] = measure_scorer(models, name, images, scenes)
    results["vision_language"] = measure_vision_language(models, images[:256], scenes[:256], device)
    print(json.dumps(results, indent=1), flush=True)
    pipeline = ZImagePipeline.from_pretrained(models / "pipeline", dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    started = time.monotonic()
    results["generation"], generated = measure_generation(pipeline, probe, arguments.prompts, 9, arguments.batch)
    results["speed"] = {
        "images_a_second": {"value": len(generated) / (time.monotonic() - started), "n": len(generated)}
    }
    print(json.dumps({k: results[k] for k in ("generation", "speed")}, indent=1), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    sheet = generated[:64].unflatten(0, (8, 8)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    Image.fromarray(sheet.numpy()).save(arguments.out.with_suffix(".webp"), quality=90, method=6)


if __name__ == "__main__":
    main()
