"""Read which prompt and seed an image file says that it was made from.

Known are the notes of ComfyUI (graph as JSON), AUTOMATIC1111 and its kin (`parameters`), InvokeAI, and plain PNG texts
`prompt` and `seed`; in PNG texts, or in the EXIF data of other formats.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags

from blendbench.core.files import read_file
from blendbench.core.image_formats import open_image
from blendbench.core.images import BYTE_LIMIT

_EXIF_PREFIXES = (b"UNICODE\0", b"ASCII\0\0\0", b"\0" * 8)
_EXIF_KEYS = re.compile(r"\A(prompt|parameters|invokeai_metadata):\s*", re.IGNORECASE)
_PARAMETERS_END = re.compile(r"\n(?:Negative prompt:|Steps: \d)|\ASteps: \d")
_SEEDS = ("seed", "noise_seed", "value")
_TEXTS = ("text", "prompt", "string", "value", "text_g", "t5xxl", "clip_l")
_MOST_SEED = 2**64 - 1


@dataclass(frozen=True)
class ImageNotes:
    """What a file says of its making; None for what it does not say."""

    prompt: str | None = None
    seed: int | None = None


def image_notes(path: Path) -> ImageNotes:
    """Read an image file's notes, none if damaged. Errors: UsageError."""
    data = read_file(path, BYTE_LIMIT)
    try:
        texts = dict(_texts(data))
    except Exception:  # of what is no image, Pillow raises nearly anything
        return ImageNotes()
    return _from_texts(texts)


def _texts(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield the texts of a file by key, those of EXIF under the key that their generator gives them."""
    with open_image(data) as image:
        exif = image.getexif()
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        # ComfyUI writes `key:text` into whatever tags are free, AUTOMATIC1111 a comment without a key.
        for value in exif.values():
            if key := _EXIF_KEYS.match(text := _exif_text(value)):
                yield key[1].lower(), text[key.end() :]
        comment = _exif_text(tags.get(ExifTags.Base.UserComment))
        if comment and not comment.startswith("{"):
            yield "parameters", comment
        if image.format == "PNG":
            image.load()  # texts may stand behind the pixels
            yield from ((str(key), value) for key, value in image.info.items() if isinstance(value, str))


def _exif_text(value: object) -> str:
    if isinstance(value, bytes):
        prefix = next((known for known in _EXIF_PREFIXES if value.startswith(known)), b"")
        body = value[len(prefix) :]
        if prefix != _EXIF_PREFIXES[0]:
            return body.decode("utf-8", errors="replace").strip("\0 ")
        # Either byte order is in use; texts of the wrong one are in no alphabet.
        both = [body.decode(f"utf-16-{order}", errors="replace") for order in ("be", "le")]
        return max(both, key=lambda text: sum(character < "\u0250" for character in text)).strip("\0 ")
    return value.strip("\0 ") if isinstance(value, str) else ""


def _from_texts(texts: dict[str, str]) -> ImageNotes:
    if "parameters" in texts:
        # AUTOMATIC1111: the prompt, then lines of settings.
        text = texts["parameters"]
        end = _PARAMETERS_END.search(text)
        seed = re.search(r"^Steps: \d.*?\bSeed: (\d+)", text, re.MULTILINE)
        prompt = re.sub(r"<(?:lora|lyco|hypernet):[^>]*>", "", text[: end.start()] if end else text)
        return ImageNotes(_text(prompt), seed_of(seed[1]) if seed else None)
    if "invokeai_metadata" in texts:
        content = _object(texts["invokeai_metadata"])
        return ImageNotes(_text(content.get("positive_prompt")), seed_of(content.get("seed")))
    if graph := _object(texts.get("prompt", "")):
        return _from_graph(graph)
    return ImageNotes(_text(texts.get("prompt")), seed_of(texts.get("seed")))


def _from_graph(graph: dict[str, Any]) -> ImageNotes:
    """Read a graph of ComfyUI: the sampler's seed, and the text behind its positive conditioning.

    With several samplers the first one that is not fed by another one counts: it makes the noise.
    """
    nodes = {key: node["inputs"] for key, node in graph.items() if isinstance(node, dict) and _inputs(node)}
    samplers = [key for key, inputs in nodes.items() if "positive" in inputs and {"seed", "noise_seed"} & inputs.keys()]
    # Custom samplers take noise and guidance from nodes of their own.
    samplers = samplers or [key for key, inputs in nodes.items() if {"noise", "guider"} <= inputs.keys()]
    first = next(
        (key for key in samplers if not set(_behind(nodes, nodes[key].get("latent_image"))) & {*samplers}), None
    )
    if first is None:
        return ImageNotes()
    inputs = nodes[first]
    places = [first, *_behind(nodes, inputs.get("noise")), *_behind(nodes, inputs.get("seed"))]
    seeds = (seed_of(nodes[place].get(name)) for place in places for name in _SEEDS)
    texts = (
        _text(nodes[place].get(name))
        for place in _behind(nodes, inputs.get("positive", inputs.get("guider")))
        for name in _TEXTS
    )
    return ImageNotes(next(filter(None, texts), None), next((seed for seed in seeds if seed is not None), None))


def _inputs(node: dict[str, Any]) -> bool:
    return isinstance(node.get("inputs"), dict)


def _behind(nodes: dict[str, dict[str, Any]], link: object) -> list[str]:
    """List the nodes that a link leads to, the nearest first; a negative prompt is not followed."""
    found: dict[str, None] = {}
    waiting = [link]
    while waiting:
        link = waiting.pop(0)
        key = str(link[0]) if isinstance(link, list) and link else None
        if key in nodes and key not in found:
            found[key] = None
            waiting += [value for name, value in nodes[key].items() if name != "negative"]
    return list(found)


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(value: object) -> str | None:
    return (" ".join(value.split()) or None) if isinstance(value, str) else None


def seed_of(value: object) -> int | None:
    """Return a seed of 64 bits, from text too; None for anything else."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= 20 else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_SEED else None
