"""Metrics and shared inputs from plug-in files: registered by the same door, and unable to harm other scores."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from blendbench.core.errors import UsageError
from blendbench.metrics import Batch, Score, all_metrics, get_metric, measure
from blendbench.metrics.shared import FIELDS, SCORERS, SHARED
from blendbench.registry.entries import transaction
from blendbench.registry.plugins import load_plugin_file

HEAD = """
import numpy as np
import torch
from blendbench.metrics import Batch, metric, shared_input

CARD = dict(role="diagnostic", direction="higher", unit="levels", margin=0.1)
"""
EDGES = """
@shared_input("edges", needs=("luma",))
def edges(batch):
    return batch["luma"].diff(dim=-1).abs()

@metric("sharpness", needs=("edges",), **CARD)
def sharpness(batch):
    "How sharp an image is."
    return edges(batch).mean((-2, -1))
"""


class UndoError(Exception):
    """Leaves a transaction, so that nothing stays registered."""


@pytest.fixture(autouse=True)
def registered_for_one_test() -> Iterator[None]:
    all_metrics()
    try:
        with transaction():
            yield
            raise UndoError
    except UndoError:
        pass


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    return tmp_path / "plugin.py"


def load(path: Path, *parts: str) -> None:
    path.write_text(HEAD + "".join(textwrap.dedent(part) for part in parts))
    load_plugin_file(path)


def load_function(path: Path, body: str, needs: str = "('images',)") -> None:
    """Load a metric called `odd` with this body."""
    lines = textwrap.indent(textwrap.dedent(body), "    ")
    load(path, f"@metric('odd', needs={needs}, **CARD)\ndef odd(batch):\n{lines}\n")


def batch(n: int = 3, size: int = 40) -> Batch:
    images = torch.randint(0, 256, (2, n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Batch(images[0], baselines=images[1], baseline_image_sha256s=[f"baseline {i}" for i in range(n)])


def scored(*names: str, n: int = 3) -> dict[str, list[Score]]:
    return measure(batch(n), names)


def test_a_metric_with_an_inline_card_and_a_shared_input_of_its_own(plugin: Path) -> None:
    load(plugin, EDGES)
    known, whole = get_metric("sharpness"), batch()
    assert (known.info.role, known.info.title, known.version, known.info.paired) == (
        "diagnostic",
        "Sharpness",
        1,
        False,
    )
    assert known.card.text == "How sharp an image is." and known.origin == str(plugin)
    expected = whole["luma"].diff(dim=-1).abs().mean((-2, -1)).tolist()
    assert [score.value for score in measure(whole, ["sharpness"])["sharpness"]] == pytest.approx(expected)


def test_a_card_beside_the_plugin_is_used_and_must_agree_with_the_function(plugin: Path) -> None:
    card = (
        '+++\nname = "speckle"\ntitle = "Speckle"\nversion = 4\nrole = "artifact"\ndirection = "lower"\n'
        'unit = "levels"\nrange = [0.0, 255.0]\nneeds = ["luma"]\nmargin = 0.5\ndecimals = 2\n'
        "paired = false\n+++\n\nText.\n"
    )
    body = "@metric('speckle', needs=({need!r},))\ndef speckle(batch):\n    return batch['luma'].std((-2, -1))\n"
    plugin.with_name("speckle.md").write_text(card)
    load(plugin, body.format(need="luma"))
    assert get_metric("speckle").version == 4 and scored("speckle")["speckle"][0].status == "ok"
    for need, change, said in (
        ("images", ("", ""), r"speckle\.md: needs = \['luma'\], but the function needs \['images'\]"),
        ("luma", ("paired = false", "paired = true"), "paired = true, but the function does not read the baselines"),
        ("luma", ("margin = 0.5", "margin = 'x'"), rf"plugin.py:\d+: .*{plugin.with_name('speckle.md')}: margin"),
    ):
        plugin.with_name("speckle.md").write_text(card.replace(*change))
        with pytest.raises(UsageError, match=said):
            load(plugin, "# again\n", body.format(need=need))


def test_a_metric_may_use_other_files_of_its_folder(plugin: Path) -> None:
    plugin.with_name("sizes.py").write_text("FACTOR = 2.0\n")
    load_function(plugin, "from sizes import FACTOR\nreturn batch.images.double().mean((1, 2, 3)) * FACTOR")
    before = get_metric("odd").source_sha256
    expected = 2 * batch().images.double().mean((1, 2, 3))
    assert [score.value for score in scored("odd")["odd"]] == pytest.approx(expected.tolist())
    plugin.with_name("sizes.py").write_text("FACTOR = 3.0\n")
    load_function(plugin, "from sizes import FACTOR\nreturn batch.images.double().mean((1, 2, 3)) * FACTOR")
    assert get_metric("odd").source_sha256 != before


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            "@metric('odd', needs=('lumma',), **CARD)",
            "metric 'odd' needs an unknown input 'lumma'; did you mean 'luma'?",
        ),
        ("@metric('odd', needs='luma', **CARD)", "write a tuple of names, as ('luma',)"),
        ("@metric('odd', needs=('luma',))", "has no card; give role, direction, unit and margin to @metric, or write"),
        (
            "@metric('odd', needs=('luma',), **(CARD | dict(role='drifts')))",
            "role: 'drifts' is not one of prompt, gain",
        ),
        (
            "@metric('odd', needs=('luma',), **(CARD | dict(range=(1, 0))))",
            "range: [1.0, 0.0] is not [least, greatest]",
        ),
        ("@metric('odd', needs=('luma',), unit='x', role='drift', margin=1.0)", "direction: Field required"),
        ("@metric('odd', needs=('luma',), paired=True, **CARD)", "paired = true, but the function does not read"),
        ("@metric('grid_energy', needs=('luma',), **CARD)", "'grid_energy' is registered twice: in blendbench and in"),
        ("@metric('Odd one', needs=('luma',), **CARD)", "name"),
        ("@shared_input('luma', needs=('images',))", "shared input 'luma' is registered twice"),
        ("@shared_input('clip', needs=('images',))", "a batch has this already"),
        ("@shared_input('blurred', needs=('lum',))", "did you mean 'luma'?"),
    ],
)
def test_a_mistake_is_one_line_with_the_users_file_and_line(plugin: Path, call: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        load(plugin, f"{call}\ndef odd(batch):\n    return batch['luma'].mean((-2, -1))\n")
    line = HEAD.count("\n") + 1
    assert str(error.value).startswith(f"{plugin}:{line}: ") and said in str(error.value)
    assert "\n" not in str(error.value) and "odd" not in all_metrics()


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("raise KeyError('no such thing')", "failed", "KeyError: 'no such thing' (PLUGIN:9)"),
        ("raise SystemExit(0)", "failed", "SystemExit: 0 (PLUGIN:9)"),
        ("return torch.zeros(len(batch), 2)", "failed", "shape (3, 2) for 3 images"),
        ("return 'high'", "failed", "gave str, not a tensor"),
        ("return torch.full((len(batch),), torch.nan)", "unscorable", "the metric is not defined for this image"),
        ("return torch.full((len(batch),), torch.inf)", "failed", "odd = inf; NaN says that a metric is not defined"),
        ("return torch.full((len(batch),), 1e200, dtype=torch.float64)", "failed", "odd = 1e+200; give it a unit in"),
        (
            "v = batch.images.double().mean((1, 2, 3)); return v - v.mean()",
            "failed",
            "may depend on its own image only",
        ),
        ("return torch.arange(len(batch))", "failed", "gave 2 for an image in a batch and 0 for the same image alone"),
        ("return np.ones(len(batch))", "ok", None),
    ],
)
def test_each_outcome_has_a_status_and_a_reason(plugin: Path, body: str, status: str, said: str | None) -> None:
    load_function(plugin, body)
    found = scored("odd", "effect_size")
    assert {score.status for score in found["odd"]} == {status}
    if said is not None:
        assert said.replace("PLUGIN", str(plugin)) in str(found["odd"][0].error)
    assert {score.status for score in found["effect_size"]} == {"ok"}


def test_random_draws_of_a_metric_are_the_same_in_every_run(plugin: Path) -> None:
    load_function(plugin, "return batch.images.double().mean((1, 2, 3)) + torch.randn(1) + np.random.rand()")
    assert scored("odd") == scored("odd")
    assert {score.status for score in scored("odd")["odd"]} == {"ok"}


def test_a_value_outside_the_stated_range_fails(plugin: Path) -> None:
    load(
        plugin,
        "@metric('odd', needs=('images',), range=(0, 1), **CARD)\n"
        "def odd(batch):\n    return 2 * torch.ones(len(batch))\n",
    )
    assert scored("odd")["odd"] == [Score(None, "failed", "odd = 2.0 is outside 0.0..1.0")] * 3


def test_writing_in_place_reaches_no_other_metric(plugin: Path) -> None:
    expected = scored("blockiness", "effect_size", "tone_drift", n=2)
    load_function(
        plugin,
        """
        batch.images.zero_()
        batch["luma"].numpy()[...] = 7
        batch["palette"].tone.add_(1)
        batch["baselines"][...] = 3
        return batch["luma"].mean((-2, -1))
        """,
        "('images', 'baselines', 'luma', 'palette')",
    )
    found = scored("odd", "blockiness", "effect_size", "tone_drift", n=2)
    assert [score.value for score in found["odd"]] == [7.0, 7.0]
    assert {name: found[name] for name in expected} == expected


def test_global_state_is_restored_and_what_is_printed_goes_to_stderr(
    plugin: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed())
    load_function(
        plugin,
        """
        print("hello")
        torch.set_default_dtype(torch.bfloat16)
        torch.set_num_threads(3)
        torch.manual_seed(12345)
        torch.set_grad_enabled(True)
        return batch.images.double().mean((1, 2, 3))
        """,
    )
    assert {score.status for score in scored("odd")["odd"]} == {"ok"}
    assert (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed()) == before
    printed = capsys.readouterr()
    assert (printed.out, {*printed.err.splitlines()}) == ("", {"hello"})


def test_a_paired_metric_is_skipped_without_a_baseline_and_names_the_one_that_it_used(plugin: Path) -> None:
    load_function(
        plugin, "return (batch.images == batch.baselines).double().mean((1, 2, 3))", "('images', 'baselines')"
    )
    assert get_metric("odd").info.paired
    found = scored("odd", "blockiness")
    assert [score.baseline_image_sha256 for score in found["odd"]] == ["baseline 0", "baseline 1", "baseline 2"]
    assert {score.baseline_image_sha256 for score in found["blockiness"]} == {""}
    alone = measure(Batch(batch().images), ["odd"])["odd"]
    assert alone == [Score(None, "skipped", "odd needs baselines")] * 3


@pytest.mark.parametrize(
    "read", ["batch.baselines", "batch['baselines']", "batch['baseline_palette']", "batch.scorers"]
)
def test_what_was_not_declared_cannot_be_read(plugin: Path, read: str) -> None:
    """A metric that reads a baseline without saying so would be scored against the wrong one after a change."""
    load_function(plugin, f"{read}\nreturn batch.images.double().mean((1, 2, 3))")
    (score, *_) = scored("odd")["odd"]
    assert score.status == "failed" and "which is not among its needs ('images',)" in str(score.error)


def test_an_edited_function_or_shared_input_is_another_metric_and_a_comment_is_not(plugin: Path) -> None:
    hashes = []
    for number, text in enumerate((EDGES, EDGES.replace(".abs()", ".square()"), EDGES.replace("mean(", "amax("))):
        path = plugin.with_name(f"plugin_{number}") / "plugin.py"
        path.parent.mkdir()
        with pytest.raises(UndoError), transaction():
            load(path, text)
            hashes.append(get_metric("sharpness").source_sha256)
            raise UndoError
    commented = plugin.with_name("other") / "plugin.py"
    commented.parent.mkdir()
    load(commented, EDGES.replace("\n@metric", "\n# a comment\n@metric"))
    assert len(set(hashes)) == 3 and get_metric("sharpness").source_sha256 == hashes[0]


def test_an_input_read_by_name_is_part_of_the_identity(plugin: Path) -> None:
    by_name = EDGES.replace("edges(batch).mean", 'batch["edges"].mean')
    hashes = []
    for number, text in enumerate((by_name, by_name.replace(".abs()", ".square()"))):
        path = plugin.with_name(f"plugin_{number}") / "plugin.py"
        path.parent.mkdir()
        with pytest.raises(UndoError), transaction():
            load(path, text)
            hashes.append(get_metric("sharpness").source_sha256)
            raise UndoError
    assert hashes[0] != hashes[1]


def test_the_metrics_of_the_guide_work_as_printed(plugin: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    codes = [part.partition("```")[0] for part in guide.split("```python\n")[1:]]
    for number, code in enumerate(codes):
        path = plugin.with_name(f"guide_{number}.py")
        path.write_text(code, encoding="utf-8")
        load_plugin_file(path)
    found = scored("sharpness", "edge_peak")
    assert {score.status for rows in found.values() for score in rows} == {"ok"}
    inputs = {name for row in re.findall(r"^\| (`.*?) \|", guide, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert {*FIELDS, *SCORERS, *SHARED.names()} - inputs == {"edges"}
