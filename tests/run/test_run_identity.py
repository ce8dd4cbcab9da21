"""Identity: a change plans the cells or scores that it affects again, and only these."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from identity_world import LABELS, METRICS, Change, World, _write_gains, copy_world, make_world, registrations_undone
from PIL import Image

from blendbench.results.images import ImageStore
from blendbench.results.state import open_state
from blendbench.results.store import open_results
from blendbench.run.loop import run
from blendbench.run.progress import Reporter

ALL = frozenset(LABELS)
PAIRED = ("effect_size", "color_drift")
NOTHING: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def finished(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world that was run to its end."""
    world = make_world(tmp_path_factory.mktemp("identity") / "world", untrained)
    with registrations_undone():
        plan, models = world.load()
        report = run(plan, models, world.results, Reporter(quiet=True))
        assert (report.ok, report.failed, report.scores_failed) == (len(LABELS) * 2, 0, 0)
    return world


def code(old: str, new: str, file: str = "plug.py") -> Change:
    return lambda world: world.edit(f"plugin/{file}", old, new)


def suite(old: str, new: str) -> Change:
    return lambda world: world.edit("suite/suite.toml", old, new)


def split_in_two(world: World) -> None:
    for colour, split in (("red", "dev"), ("green", "test")):
        world.edit("suite/suite.toml", f'"a {colour} circle"', f'"a {colour} circle"\nsplit = "{split}"')


def painted(file: str) -> Change:
    return lambda world: world.paint(f"images/{file}", "purple")


def byte(pattern: str) -> Change:
    return lambda world: world.flip_last_byte(pattern)


def sampler(**values: float) -> Change:
    return lambda world: world.sampler.update(values)


def toml(old: str, new: str) -> Change:
    return lambda world: world.edit(f"{world.models.name}/model_set.toml", old, new)


def scored(labels: frozenset[str], *metrics: str) -> frozenset[tuple[str, str]]:
    return frozenset((label, metric) for label in labels for metric in metrics)


NO_SCORES: frozenset[tuple[str, str]] = frozenset()
CONSTANTS = frozenset({"constants"})
CODE = frozenset({"code"})
MODULES = frozenset({"modules"})
DATA = frozenset({"data"})
# What changes -> which cells are generated again, and which scores of other cells are measured again.
CHANGES: dict[str, tuple[Change, frozenset[str], frozenset[tuple[str, str]]]] = {
    "number": (code("NUMBER, WORD, PAIR = 1.0", "NUMBER, WORD, PAIR = 1.5"), CONSTANTS, NO_SCORES),
    "text": (code('1.0, "a", (1', '1.0, "ab", (1'), CONSTANTS, NO_SCORES),
    "tuple": (code("(1, 2)\nLIST", "(1, 3)\nLIST"), CONSTANTS, NO_SCORES),
    "list": (code("= [1.0, 2.0], {", "= [1.0, 3.0], {"), CONSTANTS, NO_SCORES),
    "dict": (code('{"a": 1.0}', '{"a": 2.0}'), CONSTANTS, NO_SCORES),
    "set": (code("{1, 2}", "{1, 3}"), CONSTANTS, NO_SCORES),
    "tensor": (code("torch.tensor([1.0, 2.0])", "torch.tensor([1.0, 3.0])"), CONSTANTS, NO_SCORES),
    "array": (code("np.array([1.0, 2.0])", "np.array([1.0, 3.0])"), CONSTANTS, NO_SCORES),
    "body": (code("/ 20", "/ 21"), CONSTANTS, NO_SCORES),
    "closure": (code("CLOSURE = closed(1.0)", "CLOSURE = closed(1.5)"), CODE, NO_SCORES),
    "nested function": (code("return rows * amount", "return rows * amount * 2"), CODE, NO_SCORES),
    "default argument": (code("offset=0.0", "offset=0.5"), CODE, NO_SCORES),
    "helper": (code("offset * 1.0", "offset * 1.0 + 1"), CODE, NO_SCORES),
    "instance": (code("SETTING = Setting(1.0)", "SETTING = Setting(2.0)"), CODE, NO_SCORES),
    "class attribute": (code("weight = 1.0", "weight = 2.0"), CODE, NO_SCORES),
    "method": (code("        return 1.0\n", "        return 2.0\n"), CODE, NO_SCORES),
    "module constant": (code("GAIN = 1.0", "GAIN = 2.0", "beside.py"), MODULES, NO_SCORES),
    "module function": (code("rows + 0.5", "rows + 0.6", "beside.py"), MODULES, NO_SCORES),
    "array file": (lambda world: _write_gains(world.plugin / "gains.npz", [2.0]), DATA, NO_SCORES),
    "JSON file": (code('"gain": 1.0', '"gain": 2.0', "more.json"), DATA, NO_SCORES),
    "version": (
        code('strategy("code", version=1', 'strategy("code", version=2'),
        CODE,
        NO_SCORES,
    ),
    "registered step": (
        code("len(text)] * 1.0", "len(text)] * 2.0"),
        frozenset({"lerp:alpha=0.3,align=backwards"}),
        NO_SCORES,
    ),
    "split": (split_in_two, NOTHING, NO_SCORES),
    "primary": (suite("[[pairs]]", '[primary]\nprompt = "attribute_adherence"\n\n[[pairs]]'), NOTHING, NO_SCORES),
    "prompt": (suite('"a red circle"', '"a blue circle"'), ALL, NO_SCORES),
    # Metrics compare every image with the reference: other cells, whose images are reused where it was not read.
    "reference": (painted("one.png"), ALL, NO_SCORES),
    "stated truth": (suite('[["red", "circle"]]', '[["red", "square"]]'), ALL, NO_SCORES),
    "unrelated image": (painted("far.png"), frozenset({"unrelated_reference"}), NO_SCORES),
    "blank image": (painted("blank.png"), frozenset({"blank_reference"}), NO_SCORES),
    "white image": (
        painted("white.png"),
        frozenset({"style_delta:alpha=0.3,neutral_picture=white"}),
        NO_SCORES,
    ),
    "pair image": (painted("pair.png"), frozenset({"ridge_projection:alpha=0.3"}), NO_SCORES),
    "pair caption": (suite("a pink field", "a rose field"), frozenset({"ridge_projection:alpha=0.3"}), NO_SCORES),
    "transformer weights": (byte("pipeline/transformer/*.safetensors"), ALL, NO_SCORES),
    "text encoder weights": (byte("pipeline/text_encoder/*.safetensors"), ALL, NO_SCORES),
    "VAE weights": (byte("pipeline/vae/*.safetensors"), ALL, NO_SCORES),
    "Qwen3-VL weights": (byte("vision_language/*.safetensors"), ALL, NO_SCORES),
    "CLIP weights": (byte("clip/*.safetensors"), NOTHING, scored(ALL, "clip_cosine")),
    "SigLIP weights": (byte("siglip/*.safetensors"), NOTHING, scored(ALL, "siglip_cosine")),
    "probe weights": (byte("probe/*.safetensors"), NOTHING, scored(ALL, "attribute_adherence")),
    "steps": (sampler(steps=2), ALL, NO_SCORES),
    "height": (sampler(height=144), ALL, NO_SCORES),
    "shift": (sampler(shift=2.0, steps=2), ALL, NO_SCORES),
    "metric code": (code("std(1) * 1.0", "std(1) * 2.0"), NOTHING, scored(ALL, "spread")),
    "metric version": (code("decimals=2, version=1", "decimals=2, version=2"), NOTHING, scored(ALL, "spread")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_plans_what_it_affects_and_nothing_else(name: str, finished: World, tmp_path: Path) -> None:
    change, generated, scores = CHANGES[name]
    world = copy_world(finished, tmp_path / "world")
    with registrations_undone():
        change(world)
        _, to_generate, to_score = world.remaining()
    assert to_generate == generated
    assert to_score == scores


def models_moved(world: World) -> None:
    world.models.rename(world.root / "models-elsewhere")


def readme_added(world: World) -> None:
    (world.models / "clip" / "README.md").write_text("read me")


def image_renamed(world: World) -> None:
    (world.suite / "images" / "one.png").rename(world.suite / "images" / "first.png")
    world.edit("suite/suite.toml", "images/one.png", "images/first.png")


def image_moved(world: World) -> None:
    (world.suite / "photographs").mkdir()
    (world.suite / "images" / "one.png").rename(world.suite / "photographs" / "one.png")
    world.edit("suite/suite.toml", "images/one.png", "photographs/one.png")


UNCHANGED: dict[str, Change] = {
    "nothing": lambda world: None,
    "model set moved": models_moved,
    "model set renamed": toml('name = "', 'name = "another-'),
    "folder moved": lambda world: None,
    "image renamed": image_renamed,
    "image moved": image_moved,
    "suite renamed": suite('name = "tiny"', 'name = "small"'),
    "suite title": suite('title = "Tiny"', 'title = "Small"'),
    "comment": code("NUMBER, WORD", "# a comment\nNUMBER, WORD"),
    "docstring": code('"""First."""', '"""Second."""'),
    "equation": code('equation="one"', 'equation="two"'),
    "README beside the weights": readme_added,
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_name_a_place_or_a_comment_changes_nothing(name: str, finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "elsewhere")
    with registrations_undone():
        UNCHANGED[name](world)
        left, to_generate, to_score = world.remaining()
    assert (to_generate, to_score, left.adopted) == (set(), set(), [])


def test_another_baseline_measures_paired_scores_again(finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "world")
    world.experiment = replace(world.experiment, baseline="lerp")
    with registrations_undone():
        _, to_generate, to_score = world.remaining()
    assert to_generate == set()
    # A cell whose image is the new baseline's own is paired with itself, and so are all others anew.
    assert {metric for _, metric in to_score} == set(PAIRED)
    assert {label for label, _ in to_score} == ALL - {"text_only"}


def test_an_edited_baseline_measures_paired_scores_of_all_again(finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "world")
    world.experiment = replace(world.experiment, baseline="constants", seeds=(0,))
    with registrations_undone():
        plan, models = world.load()
        run(plan, models, world.results, Reporter(quiet=True))
        world.edit("plugin/plug.py", "/ 20", "/ 25")
        plan, models = world.load()
        report = run(plan, models, world.results, Reporter(quiet=True))
        assert report.generated == 2
        # Both of its own cells in full, and the paired metrics of every other cell.
        assert report.scored == 2 * len(METRICS) + 2 * (len(LABELS) - 2) * len(PAIRED)
        assert world.remaining()[1:] == (set(), set())


def test_another_seed_or_value_plans_only_its_cells(finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "world")
    world.experiment = replace(world.experiment, seeds=(0, 1))
    with registrations_undone():
        left, _, to_score = world.remaining()
        assert {cell.seed for cell in left.cells} == {1}
        assert to_score == set()


def test_a_changed_margin_is_recorded_and_measures_nothing(finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "world")
    world.edit("plugin/plug.py", "margin=1.0", "margin=2.0")
    with registrations_undone():
        left, to_generate, to_score = world.remaining()
    assert (to_generate, to_score) == (set(), set())
    assert left.replanned


def test_damaged_images_are_generated_again_and_come_out_the_same(finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "world")
    damage: dict[str, Callable[[Path], object]] = {
        "lerp:alpha=0.3": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "constants": lambda path: Image.new("RGB", (128, 128), "red").save(path),
        "style_delta:alpha=0.3,neutral_picture=white": lambda path: path.write_bytes(b""),
        "ridge_projection:alpha=0.3": lambda path: path.unlink(),
    }
    with registrations_undone():
        plan, models = world.load()
        whole: dict[Path, bytes] = {}
        with open_state(world.results) as state:
            for label, spoil in damage.items():
                cell = next(cell for cell in plan.cells if cell.configuration.label == label)
                image = state.finished_cells([cell.cell_id])[cell.cell_id].image_sha256
                path = ImageStore(world.results).path(str(image))
                whole[path] = path.read_bytes()
                spoil(path)
        assert len(whole) == len(damage)
        assert world.remaining()[1] == damage.keys()
        report = run(plan, models, world.results, Reporter(quiet=True))
        assert (report.generated, report.scored) == (len(damage), 0)
        assert {path: path.read_bytes() for path in whole} == whole


def test_another_reference_measures_again_and_generates_only_what_reads_it(finished: World, tmp_path: Path) -> None:
    world = copy_world(finished, tmp_path / "world")
    with registrations_undone():
        world.paint("images/one.png", "purple")
        plan, models = world.load()
        report = run(plan, models, world.results, Reporter(quiet=True))
        assert report.failed == 0
        # One item of two: all of its scores, and images of those alone that read the reference.
        assert report.scored == len(LABELS) * len(METRICS)
        assert 0 < report.images < len(LABELS)
        assert world.remaining()[1:] == (set(), set())


def test_cells_of_an_earlier_state_of_the_suite_are_taken_over_with_the_new_splits(
    finished: World, tmp_path: Path
) -> None:
    world = copy_world(finished, tmp_path / "world")
    split_in_two(world)
    with registrations_undone():
        plan, models = world.load()
        report = run(plan, models, world.results, Reporter(quiet=True))
        assert (report.ok, report.generated, report.scored) == (len(plan.cells), 0, 0)
        assert world.remaining()[1:] == (set(), set())
    results = open_results(world.results)
    half = len(plan.cells) // 2
    assert results.rows("SELECT suite_sha256, split, count(*) FROM current_cells GROUP BY ALL ORDER BY ALL") == [
        (plan.suite.sha256, "dev", half),
        (plan.suite.sha256, "test", half),
    ]
    items = results.rows("SELECT item, split, stratum FROM items WHERE suite_sha256 = ?", [plan.suite.sha256])
    assert sorted(items) == [("one", "dev", "matched"), ("two", "test", "matched")]
