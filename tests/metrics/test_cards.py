"""Metric cards: read, checked, and in step with the functions."""

import subprocess
import sys
from pathlib import Path

import pytest

from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo
from blendbench.core.shipped import shipped
from blendbench.metrics import all_metrics
from blendbench.metrics.cards import read_card
from blendbench.metrics.shared import sources
from blendbench.registry.source import source_identity

GOOD = """+++
name = "speckle"
title = "Speckle"
version = 1
role = "artifact"
direction = "lower"
unit = "fraction"
range = [0.0, inf]
needs = ["luma"]
margin = 0.1
decimals = 2
weights_licence = "none"
unscorable = "never"
+++

# Speckle
"""
DAMAGED = sorted((Path(__file__).parents[1] / "data" / "cards").iterdir())


def write(folder: Path, text: str) -> Path:
    path = folder / "speckle.md"
    path.write_text(text)
    return path


def test_a_good_card_is_read_with_its_text(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, "\ufeff" + GOOD))
    assert (card.name, card.needs, card.range) == ("speckle", ("luma",), (0.0, float("inf")))
    assert card.text == "# Speckle"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("version = 1", 'version = "1"'), "version"),
        (('role = "artifact"', 'role = "artefact"'), "role: 'artefact' is not one of prompt, gain, artifact, drift"),
        (('role = "artifact"', 'kind = "artifact"'), "kind: unknown key"),
        (("margin = 0.1\n", ""), "margin"),
        (("margin = 0.1", "margin = -1.0"), "margin"),
        (("margin = 0.1", "margin = inf"), "margin"),
        (("decimals = 2", "decimals = 2\ndecimal = 3"), "did you mean 'decimals'"),
        (("[0.0, inf]", "[1.0, 0.0]"), "range"),
        (("[0.0, inf]", "[nan, 1.0]"), "range"),
        (('name = "speckle"', 'name = "score"'), "score"),
        (('name = "speckle"', 'name = "spekle"'), "file name"),
        (("margin = 0.1", "margin = "), "TOML"),
        (("+++\nname", "name"), "+++"),
    ],
)
def test_a_bad_card_is_one_line_with_file_and_field(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(UsageError) as error:
        read_card(path)
    assert str(error.value).startswith(str(path))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", DAMAGED, ids=lambda path: path.name)
def test_a_damaged_card_is_one_short_line(path: Path) -> None:
    """Numbers of thousands of digits, nesting of thousands of levels, text that is not UTF-8."""
    with pytest.raises(UsageError) as error:
        read_card(path)
    message = str(error.value)
    assert message.startswith(str(path)) and message.isprintable() and len(message) < len(str(path)) + 400


def test_a_missing_card_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"speckle\.md"):
        read_card(tmp_path / "speckle.md")


def test_every_card_has_its_function_and_says_what_a_reader_must_know() -> None:
    metrics = all_metrics()
    assert set(metrics) == {path.stem for path in shipped("metrics").glob("*.md")}
    for name, metric in metrics.items():
        for heading in ("## Definition", "## Source", "## Catches", "## Blind to", "## Known false positives"):
            assert heading in metric.card.text, f"{name} has no {heading}"


def test_a_metric_is_paired_if_what_it_needs_is_made_from_the_baseline() -> None:
    assert {name for name, metric in all_metrics().items() if metric.info.paired} == {
        "clip_shift",
        "color_bleeding",
        "color_drift",
        "color_elsewhere",
        "color_towards",
        "content_override",
        "effect_size",
        "embedding_style_gain",
        "saturation_shift",
        "style_gain",
        "texture_change",
        "tone_drift",
    }


def test_changes_span_the_range_both_ways() -> None:
    assert all_metrics()["clip_cosine"].info.changes == (-2.0, 2.0)
    assert all_metrics()["grid_severity"].info.changes == (-float("inf"), float("inf"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("role", "effect"), ("direction", "up"), ("range", (1.0, 1.0)), ("margin", float("nan"))],
)
def test_an_impossible_description_is_refused(field: str, value: object) -> None:
    good: dict[str, object] = {"role": "drift", "direction": "lower", "range": (0.0, 1.0), "margin": 0.1}
    rest: dict[str, object] = {"name": "x", "version": 1, "title": "X", "unit": "", "decimals": 1, "paired": False}
    assert MetricInfo(**good, **rest)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=field):
        MetricInfo(**(good | {field: value}), **rest)  # type: ignore[arg-type]


@pytest.mark.slow
def test_metrics_are_registered_and_identified_without_torch() -> None:
    code = (
        "import sys; from blendbench.metrics import all_metrics; "
        "assert all(m.info and m.source_sha256 for m in all_metrics().values()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_code_of_every_shipped_metric_can_be_followed() -> None:
    """Otherwise its identity would be that of the whole package, and any change would measure everything again."""
    for metric in all_metrics().values():
        functions = [metric.function, *(source.function for source in sources(metric.needs).values())]
        assert {source_identity(function, 1).fallback for function in functions} == {None}, metric.name
