"""Everything that reads files, with inputs to damage."""

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Reader:
    """Something that reads a file: what it gets, how it reads it, and its share of all inputs."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path, bytes], object]
    share: float
    suffix: str = ".bin"
    form: str = ""  # toml or json: then values are replaced as well


def _file(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def write_and_read(folder: Path, data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return write_and_read


def _texts(pattern: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in sorted(ROOT.glob(pattern))]


SUITE = """\
name = "small"
version = 1
title = "Two items"
licence = "CC0"
blank = "a.png"
white = "a.png"
primary = {prompt = "clip_cosine"}
[[items]]
id = "one"
prompt = "a red square"
reference = "a.png"
reference_caption = "nothing"
unrelated = "b.png"
relation = "matched"
category = "shape"
stratum = "x"
split = "dev"
expect = {objects = [["red", "square"]], background = "grey", style = "plain"}
facts = [{text = "it is red", foils = ["it is blue"]}]
[[items]]
id = "two"
prompt = "a blue circle"
reference = "b.png"
reference_caption = "nothing"
unrelated = "a.png"
relation = "unrelated"
split = "test"
[[pairs]]
caption = "x"
image = "a.png"
plain = "b.png"
[[images]]
file = "a.png"
licence = "CC0"
origin = "made"
[[images]]
file = "b.png"
licence = "CC0"
origin = "made"
"""
PLUGIN = '''\
"""An idea."""

from typing import Annotated, Literal

import torch

from blendbench.blending import Range, strategy

SCALE = {"a": [1.0, 2.0], "b": (torch.ones(2), None)}
FILE = "data.npz"


@strategy("idea", source="a test", equation="T + alpha V", dose="alpha", dose_grid=(0.1, 0.3), seconds=3)
def idea(text, vision, *, alpha: Annotated[float, Range(0, 1)] = 0.3, mode: Literal["x", "y"] = "x", n: int = 3):
    """Mix."""
    return text.hidden + alpha * vision.hidden.mean(0) * SCALE["a"][0]
'''
STRINGS = [
    "lerp:alpha=0.3",
    "lerp:alpha=0.3,layer=-6,align=area",
    "vision_only:layer=0.7*-2+0.3*-5,tokens=text",
    "style_delta:alpha=0.3,neutral_picture=mean",
    "lerp:dose=grid",
    "vision_only:layer=60%,text_layer=same,reference=noise",
]


def _suite(path: Path) -> object:
    from PIL import Image

    from blendbench.core.suites import load_suite

    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        if not path.with_name(name).exists():
            Image.new("RGB", (8, 8), colour).save(path.with_name(name))
    return load_suite(path.parent)


def _experiment(path: Path) -> object:
    from blendbench.run.planning import checked_experiment

    return checked_experiment(path)


def _hypotheses(path: Path) -> object:
    from blendbench.reports.hypotheses import read_hypotheses

    return read_hypotheses(path)


def _model_set(path: Path) -> object:
    from blendbench.models.sets import load_model_set

    weights = ROOT / "src" / "blendbench" / "models" / "miniature" / "weights"
    for entry in weights.iterdir():
        if entry.name != path.name and not path.with_name(entry.name).exists():
            path.with_name(entry.name).symlink_to(entry)
    models = load_model_set(path.parent, "cpu", hash_weights=False)
    models.check()
    return models.image_tokens, models.facts


def _card(path: Path) -> object:
    from blendbench.metrics.cards import read_card

    found = re.search(rb'^name = "(\w{1,60})"', path.read_bytes(), re.MULTILINE)
    return read_card(path.rename(path.with_stem(found[1].decode() if found else "card")))


def _line(_: Path, data: bytes) -> object:
    from blendbench.core.hashing import canonical_json
    from blendbench.results.schema import RowChecker, parse_line, row_of

    table, row = row_of(parse_line(data))
    RowChecker().check_rules(table, [canonical_json({"table": table, **row})])
    return table


def _shards() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        _write_results(Path(folder))
        return [path.read_bytes() for path in sorted(Path(folder, "shards").iterdir())]


def _lines() -> list[bytes]:
    lines: dict[bytes, list[bytes]] = {}
    for line in b"\n".join(_shards()).splitlines():
        if b'"table":' in line:
            lines.setdefault(line.rpartition(b'"table":')[2], []).append(line)
    return [line for few in lines.values() for line in few[:5]]


def _write_results(folder: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "results"))
    from synthetic_results import write_results

    write_results(folder, items=2)


def _shard(folder: Path, data: bytes) -> object:
    from blendbench.results.store import open_results

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "shards").mkdir(parents=True)
    (folder / "shards" / "a.jsonl").write_bytes(data)
    return [open_results(folder).rows(f"FROM {view}") for view in ("current_cells", "current_scores", "failures")]


def _results_of(folder: Path) -> Path:
    results = folder / "results"
    if not results.exists():
        _write_results(results)
    return results


def _votes(path: Path) -> object:
    from blendbench.results.votes import take_in_votes

    return take_in_votes(path, _results_of(path.parent))


def _vote_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        from blendbench.results.store import open_results

        results = _results_of(Path(name))
        query = "SELECT experiment, suite_sha256, item, seed, list(cell_id) FROM cells WHERE status = 'ok' GROUP BY ALL"
        experiment, suite, item, seed, cells = open_results(results).rows(query)[0]
    vote = {"vote_id": "abcdefgh1", "voter": "me", "question": "adherence", "item": item, "seed": seed}
    vote |= {"left_cell": cells[0], "right_cell": cells[1], "choice": "left", "seconds": 1.5, "voted_at": "2026-01-01"}
    file = {"format": "blendbench-votes", "version": 1, "experiment": experiment, "suite_sha256": suite}
    return [json.dumps(file | {"model_set_sha256": "b", "votes": [vote]}).encode()]


def _plugins() -> list[bytes]:
    import torch  # here, because it takes longer than an input may

    assert torch
    return [PLUGIN.encode()]


def _plugin(folder: Path, data: bytes) -> object:
    from blendbench.registry.entries import SHIPPED
    from blendbench.registry.loading import load_everything
    from blendbench.registry.registry import Registry
    from blendbench.registry.strategies import get_strategy

    (folder / "idea.py").write_bytes(data)
    try:
        found = load_everything(folder / "idea.py")
        return [get_strategy(name).bind().key() for name in found.get("strategy", [])]
    finally:
        for registry in Registry.every:
            for name, entry in registry.entries().items():
                if entry.origin != SHIPPED:
                    del registry._entries[name]


def _string(_: Path, data: bytes) -> object:
    from blendbench.registry.strategies import parse_configuration
    from blendbench.run.planning import single_grid

    text = data.decode(errors="replace")
    return parse_configuration(text).label, single_grid(text)


def _databases() -> list[bytes]:
    from blendbench.results.store import open_results

    with tempfile.TemporaryDirectory() as name:
        return [open_results(_results_of(Path(name))).database.read_bytes()]


def _database(folder: Path, data: bytes) -> object:
    """Open it by name, and in a results folder that it was made from."""
    from blendbench.results.store import DATABASE, open_results

    query = "SELECT count(*), min(c.label), max(c.status) FROM current_scores JOIN cells c USING (cell_id)"
    results = _results_of(folder)
    (results / DATABASE).write_bytes(data)
    rows = open_results(results).rows(query)
    named = folder / "named.duckdb"
    named.write_bytes(data)
    return rows, open_results(named).rows(query)


def _images() -> list[bytes]:
    import io

    import numpy as np
    from PIL import Image, ImageCms

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 10, 4), dtype=np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    found = []
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF", "QOI"):
        for mode in ("RGB", "RGBA", "L", "P", "I;16", "CMYK", "1"):
            image = Image.fromarray(pixels).convert("RGB" if mode == "I;16" else mode)
            if mode == "I;16":
                image = Image.fromarray(rng.integers(0, 65536, (12, 10), dtype=np.uint16))
            try:
                made = io.BytesIO()
                image.save(made, form, **({} if form in ("GIF", "BMP", "PPM", "QOI") else {"exif": exif}))
                found.append(made.getvalue())
                if form in ("PNG", "JPEG", "TIFF", "WEBP"):
                    image.save(made := io.BytesIO(), form, icc_profile=profile)
                    found.append(made.getvalue())
            except (OSError, KeyError, ValueError):
                continue
    return found


def _image(path: Path) -> object:
    from blendbench.core.images import image_size, load_image

    return load_image(path).pixels.shape, image_size(path)


def _embeddings() -> list[bytes]:
    import torch

    from blendbench.core.tokens import Tokens
    from blendbench.run.embeddings import _packed

    return [_packed(Tokens(torch.ones(3, 4), torch.ones(3, dtype=torch.int64), (1, 3)))]


def _embedding(path: Path) -> object:
    """What is damaged is computed again: nothing else may be raised."""
    from blendbench.core.errors import UsageError
    from blendbench.run.embeddings import _DamagedError, read_hidden_states

    try:
        return read_hidden_states(path)
    except _DamagedError:
        raise UsageError("damaged") from None


def _publish(folder: Path) -> Path:
    from blendbench.results.export import export_experiments
    from blendbench.results.store import open_results

    if not (folder / "data").exists():
        export_experiments(open_results(_results_of(folder)), ["core"], folder / "data")
    return folder / "data"


def _published() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        data = _publish(Path(name))
        return [file.encode() + b"\0" + (data / file).read_bytes() for file in ("cells.parquet", "metrics.parquet")]


def _parquet(folder: Path, data: bytes) -> object:
    from blendbench.results.export import import_published

    published, (name, _, content) = _publish(folder), data.partition(b"\0")
    if name not in (b"cells.parquet", b"metrics.parquet"):
        return None
    path = published / name.decode()
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        with import_published(published, "core") as results:
            return results.rows("FROM metrics"), results.rows("FROM current_cells")
    finally:
        path.write_bytes(whole)


def _verified(folder: Path, data: bytes) -> object:
    """Times of images are hints: whatever stands there, present images are found and absent ones are not."""
    import numpy as np

    from blendbench.results.images import ImageStore

    image = ImageStore(folder).save(np.zeros((2, 2, 3), np.uint8))
    (folder / "images" / "verified.txt").write_bytes(data)
    assert ImageStore(folder).present([image, "0" * 64]) == {image}
    return None


READERS = {
    "suite": Reader(lambda: [SUITE.encode()], _file("suite.toml", _suite), 0.1, form="toml"),
    "experiment": Reader(_texts("bench/*.toml"), _file("e.toml", _experiment), 0.15, form="toml"),
    "hypotheses": Reader(_texts("bench/hypotheses.toml"), _file("h.toml", _hypotheses), 0.02, form="toml"),
    "model_set": Reader(
        _texts("src/blendbench/models/**/model_set.toml"), _file("model_set.toml", _model_set), 0.08, form="toml"
    ),
    "card": Reader(_texts("metrics/*.md"), _file("card.md", _card), 0.15, form="toml"),
    "shard_line": Reader(_lines, _line, 0.15, form="json"),
    "shard": Reader(_shards, _shard, 0.004, form="jsonl"),
    "votes": Reader(_vote_seeds, _file("v.json", _votes), 0.02, form="json"),
    "plugin": Reader(_plugins, _plugin, 0.02),
    "string": Reader(lambda: [text.encode() for text in STRINGS], _string, 0.2),
    "database": Reader(_databases, _database, 0.002),
    "image": Reader(_images, _file("image", _image), 0.09),
    "embedding": Reader(_embeddings, _file("a.safetensors", _embedding), 0.01),
    "published": Reader(_published, _parquet, 0.001),
    "verified": Reader(lambda: [b"0" * 64 + b" 1 2 3 4\n"], _verified, 0.003),
}
