"""A benchmark in a folder of its own: plug-in, suite, model set, experiment and results, each of which can change."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image

from blendbench.core.suites import load_suite
from blendbench.models.sets import ModelSet, load_model_set
from blendbench.registry.plugins import load_plugin_file
from blendbench.registry.registry import Registry
from blendbench.run.experiments import Experiment, Grid
from blendbench.run.plan import Plan, make_plan
from blendbench.run.resume import Remaining, missing_scores, remaining_work

METRICS = ("effect_size", "color_drift", "grid_energy", "clip_cosine", "siglip_cosine", "attribute_adherence", "spread")
PLUGIN = '''
import dataclasses, json
from pathlib import Path
import numpy as np, torch
from blendbench.blending import Range, Tokens, alignment, strategy
from blendbench.metrics import metric
import beside
from beside import shifted

NUMBER, WORD, PAIR = 1.0, "a", (1, 2)
LIST, TABLE, CHOSEN = [1.0, 2.0], {"a": 1.0}, {1, 2}
TENSOR, ARRAY = torch.tensor([1.0, 2.0]), np.array([1.0, 2.0])
HERE = Path(__file__).parent

@dataclasses.dataclass(frozen=True)
class Setting:
    gain: float = 1.0

class Helper:
    weight = 1.0
    def used(self):
        return 1.0

SETTING = Setting(1.0)

def closed(amount):
    def inner(rows):
        return rows * amount
    return inner

CLOSURE = closed(1.0)

def helper(rows, offset=0.0):
    return rows + offset * 1.0

@strategy("constants", version=1, source="test", equation="one")
def constants(text: Tokens):
    """First."""
    total = NUMBER + len(WORD) + sum(PAIR) + sum(LIST) + TABLE["a"] + sum(CHOSEN)
    return text.hidden * (total + float(TENSOR.sum()) + float(ARRAY.sum())) / 20

@strategy("code", version=1, source="test")
def code(text: Tokens):
    return CLOSURE(helper(text.hidden)) * SETTING.gain * Helper().used() * Helper.weight

@strategy("modules", version=1, source="test")
def modules(text: Tokens):
    return shifted(text.hidden) * beside.GAIN

@strategy("data", version=1, source="test")
def data(text: Tokens):
    gains = np.load(HERE / "gains.npz")["gains"]
    more = json.loads((HERE / "more.json").read_text())["gain"]
    return text.hidden * float(gains.sum()) * more

@alignment("backwards")
def backwards(text, vision):
    return text, vision.flip(0)[: len(text)].repeat(len(text), 1)[: len(text)] * 1.0

@metric(
    "spread", needs=("luma",), title="Spread", role="diagnostic", direction="none", unit="grey levels",
    range=(0, 255), margin=1.0, decimals=2, version=1,
)
def spread(batch):
    return batch["luma"].flatten(1).std(1) * 1.0
'''
BESIDE = "GAIN = 1.0\n\ndef shifted(rows):\n    return rows + 0.5\n"
LABELS = (
    "text_only",
    "constants",
    "code",
    "modules",
    "data",
    "lerp:alpha=0.3",
    "lerp:alpha=0.3,align=backwards",
    "blank_reference",
    "unrelated_reference",
    "style_delta:alpha=0.3,neutral_picture=white",
    "ridge_projection:alpha=0.3",
    "clipped_per_dim_lerp:alpha=0.3",
    "img2img",
)


@contextmanager
def registrations_undone() -> Iterator[None]:
    """Undo, at the end, what was registered within: worlds in other folders register the same names."""
    for registry in Registry.every:
        registry.names()
    before = [(registry, registry.entries()) for registry in Registry.every]
    try:
        yield
    finally:
        for registry, entries in before:
            registry._entries.clear()
            registry._entries.update(entries)


@dataclass
class World:
    """The folders of one benchmark, and the settings of its experiment."""

    root: Path
    experiment: Experiment
    sampler: dict[str, Any] = field(default_factory=lambda: {"steps": 1})

    @property
    def plugin(self) -> Path:
        return self.root / "plugin"

    @property
    def suite(self) -> Path:
        return self.root / "suite"

    @property
    def models(self) -> Path:
        return next(path.parent for path in self.root.glob("models*/model_set.toml"))

    @property
    def results(self) -> Path:
        return self.root / "results"

    def load(self) -> tuple[Plan, ModelSet]:
        """Plan the experiment with everything as it lies on the disk now."""
        load_plugin_file(self.plugin / "plug.py")
        models = load_model_set(self.models, "cpu", self.sampler)
        return make_plan(self.experiment, load_suite(self.suite), models), models

    def remaining(self) -> tuple[Remaining, set[str], set[tuple[str, str]]]:
        """Return the rest of a plan: labels to generate; (label, metric) to score of what is not generated."""
        plan, models = self.load()
        left = remaining_work(plan, models, self.results)
        labels = {cell.cell_id: cell.configuration.label for cell in plan.cells}
        missing = missing_scores(plan, left.images, self.results)
        scores = {(labels[cell_id], metric) for cell_id, metrics in missing.items() for metric in metrics}
        return left, {cell.configuration.label for cell in left.cells}, scores

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that stands in a file once."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.unlink()  # it may be a link to the file of another world
        path.write_text(text.replace(old, new))

    def flip_last_byte(self, pattern: str) -> None:
        """Change the last byte of one file."""
        (path,) = self.models.glob(pattern)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.unlink()
        path.write_bytes(data)

    def paint(self, file: str, colour: str) -> None:
        """Put another image in the place of one of the suite's."""
        path = self.suite / file
        path.unlink()
        Image.new("RGB", (128, 128), colour).save(path)


def make_world(root: Path, models: Path) -> World:
    """Write a world with two items; nothing has been run."""
    root.mkdir(parents=True)
    plugin = root / "plugin"
    plugin.mkdir()
    (plugin / "plug.py").write_text(PLUGIN)
    (plugin / "beside.py").write_text(BESIDE)
    (plugin / "more.json").write_text('{"gain": 1.0}')
    _write_gains(plugin / "gains.npz", [1.0])
    _write_suite(root / "suite")
    shutil.copytree(models, root / "models")
    grids = tuple(_grid(label) for label in LABELS[1:] if label not in ("blank_reference", "unrelated_reference"))
    controls = (Grid("blank_reference", ()), Grid("unrelated_reference", ()))
    experiment = Experiment(
        name="world",
        title="",
        suite="suite",
        seeds=(0,),
        baseline="text_only",
        strategies=(*grids, *controls),
        controls=False,
        metrics=METRICS,
    )
    return World(root, experiment)


def copy_world(world: World, root: Path) -> World:
    """Copy a world, results included."""
    shutil.copytree(world.root, root)
    return replace(world, root=root, sampler=dict(world.sampler))


def _grid(label: str) -> Grid:
    name, _, rest = label.partition(":")
    pairs = [part.split("=") for part in rest.split(",") if part]
    return Grid(name, tuple((key, (value,)) for key, value in pairs))


def _write_gains(path: Path, gains: list[float]) -> None:
    import numpy as np

    np.savez(path, gains=np.array(gains))


def _write_suite(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    for name, colour in {
        "one": "red", "two": "green", "far": "navy", "blank": "grey", "white": "white", "pair": "pink", "plain": "tan",
    }.items():  # fmt: skip
        Image.new("RGB", (128, 128), colour).save(folder / "images" / f"{name}.png")
    items = "".join(
        f"""
[[items]]
id = "{name}"
prompt = "a {colour} circle"
reference = "images/{name}.png"
reference_caption = "a {colour} field"
unrelated = "images/far.png"
relation = "matched"
facts = [{{text = "the circle is {colour}"}}]
expect = {{objects = [["{colour}", "circle"]], background = "white", style = "flat"}}
"""
        for name, colour in (("one", "red"), ("two", "green"))
    )
    (folder / "suite.toml").write_text(
        'name = "tiny"\nversion = 1\ntitle = "Tiny"\nlicence = "CC0-1.0"\nblank = "images/blank.png"\n'
        f'white = "images/white.png"\n{items}\n[[pairs]]\ncaption = "a pink field"\nimage = "images/pair.png"\n'
        'plain = "images/plain.png"\n'
    )


Change = Callable[[World], None]
