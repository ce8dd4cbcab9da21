"""Hypotheses files: read strictly, and the shipped one asks for what the shipped experiments have."""

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis_files import CLAIM, toml_of, write

from blendbench.core.depths import Depth
from blendbench.core.errors import UsageError
from blendbench.registry.strategies import parse_configuration
from blendbench.reports.claims import (
    Agreement,
    Apart,
    Differs,
    Equivalent,
    Measured,
    NotWorse,
    SameConditioning,
    SameImage,
    Undoes,
)
from blendbench.reports.evidence import BLOCKS, LAYERS
from blendbench.reports.hypotheses import read_hypotheses, shipped_hypotheses
from blendbench.run.experiments import load_experiment
from blendbench.run.plan import configurations

DEPTHS = (Depth(hidden_states=7, blocks=8), Depth(hidden_states=37, blocks=30))


def at_depth(label: str, depth: Depth) -> str:
    """Resolve percentages and leave out defaults, by the code of the strategies."""
    name, _, settings = label.partition(":")
    parts = [part.partition("=") for part in settings.split(",") if part]
    given = {k: depth.layers(v) if k in LAYERS else depth.blocks_of(v) if k in BLOCKS else v for k, _, v in parts}
    return parse_configuration(f"{name}:{','.join(f'{k}={v}' for k, v in given.items())}" if given else name).label


def test_every_claim_names_configurations_that_its_experiment_has_at_any_depth() -> None:
    """A misspelt label would be "not run" for ever."""
    file, _ = read_hypotheses(shipped_hypotheses())
    for claim in (claim for hypothesis in file.hypotheses for claim in hypothesis.claims):
        for depth in DEPTHS:
            labels = {c.label for c in configurations(load_experiment(claim.experiment), depth)[1]}
            named = {at_depth(label, depth) for label in claim.labels}
            assert named <= labels, (claim, sorted(named - labels))
            assert len(named) == len(claim.labels), claim


def test_every_experiment_and_question_of_the_seed_document_is_asked() -> None:
    file, _ = read_hypotheses(shipped_hypotheses())
    sources = [h.source for h in file.hypotheses] + [part.source for part in file.open_questions]
    asked = {found for source in sources for found in re.findall(r"(?:experiment|question) \d+", source)}
    assert asked == {f"experiment {n}" for n in range(1, 11)} | {f"question {n}" for n in range(1, 9)}
    assert sum("Current State Summary" in source for source in sources) >= 5


def test_a_statement_can_be_read_by_itself_and_names_no_other() -> None:
    file, _ = read_hypotheses(shipped_hypotheses())
    for hypothesis in file.hypotheses:
        assert hypothesis.statement.endswith(".") and "seed document" not in hypothesis.statement.lower()
    assert len({hypothesis.statement for hypothesis in file.hypotheses}) == len(file.hypotheses)


def test_style_presupposes_that_image_tokens_carry_it() -> None:
    """Without it every refutation is vacuous; where it is trained in, it is no finding."""
    file, _ = read_hypotheses(shipped_hypotheses())
    for hypothesis in file.hypotheses:
        asks_for_style = any(getattr(claim, "metric", "") == "gain" for claim in hypothesis.claims)
        if asks_for_style and hypothesis.id != "image-tokens-carry-style":
            first = hypothesis.presupposes
            assert "image-tokens-carry-style" in first or "per-dimension-loses-style" in first, hypothesis.id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (toml_of(claims=CLAIM.replace("candidate", "candidte")), "unknown key; did you mean 'candidate'?"),
        (
            toml_of(claims=CLAIM.replace('"worse"', '"higher"')),
            "is a role: expected is 'better' or 'worse'",
        ),
        (toml_of(claims=CLAIM.replace('"differs"', '"differ"')), "'differ'"),
        (
            toml_of(claims=CLAIM.replace("canary", "text_only")),
            "are both text_only; name two",
        ),
        (toml_of(claims=""), "claims"),
        (toml_of() + "\n\n" + toml_of(), "one: the id occurs twice"),
        (toml_of("two", presupposes='["one"]'), "two: presupposes 'one', which does not stand before it"),
        (toml_of(id='"A B"'), "id"),
        (toml_of(theme='""'), "theme"),
        ('headlines = ["on"]\n' + toml_of(), "there is no hypothesis 'on'; did you mean 'one'?"),
        ('nam = "x"\n' + toml_of(), "did you mean 'name'"),
        ("", "hypothesis"),
    ],
)
def test_mistakes_in_a_file_are_named_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_hypotheses(write(tmp_path, text))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "mine.toml: ")) and "\n" not in str(caught.value)


def test_the_file_of_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "hypotheses.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    file, _ = read_hypotheses(path)
    assert (file.name, [hypothesis.id for hypothesis in file.hypotheses]) == ("mine", file.headlines)
    kinds = {
        kind
        for claim in (Differs, NotWorse, Equivalent, Agreement, Apart, Undoes, SameImage, SameConditioning, Measured)
        for kind in get_args(claim.model_fields["kind"].annotation)
    }
    rows = re.findall(r"^\| `(\w+)`.* \| .* \| .* \|$", page.partition("## Claims")[2], re.MULTILINE)
    assert set(rows) == kinds | {"kind"}
