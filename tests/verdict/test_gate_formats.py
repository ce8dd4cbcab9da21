"""The forms of a verdict: markdown tables that hold together, documented JSON, JUnit whose counts are right."""

import functools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from synthetic_results import INCOMPLETE, NO_OP, write_results

from blendbench.cli import VERBS
from blendbench.reports.gate_formats import FORMS, as_terminal
from blendbench.results.store import Results, open_results
from blendbench.verdict import EXIT_CODES
from blendbench.verdict import gate as judge
from blendbench.verdict.sentence import sentence

CANDIDATES = ("adain_dim", "lerp:alpha=0.1,align=area", NO_OP, INCOMPLETE, "text_only")
DOCS = Path(__file__).parents[2] / "docs" / "gate.md"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    write_results(folder, items=8, images=False)
    return open_results(folder)


gate = functools.cache(judge)  # a verdict is frozen, and no test changes the results


def rendered(results: Results, candidate: str, form: str) -> str:
    return FORMS[form](gate(results, candidate, "vision_only" if candidate == "text_only" else "text_only"))


def printed(results: Results, candidate: str, width: int, every: bool = False) -> list[str]:
    console = Console(width=width, no_color=True)
    with console.capture() as captured:
        console.print(as_terminal(gate(results, candidate, "text_only"), every))
    return captured.get().splitlines()


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_every_form_has_the_verdict_and_both_names(results: Results, candidate: str) -> None:
    verdict = gate(results, candidate, "vision_only" if candidate == "text_only" else "text_only")
    for form in FORMS:
        text = FORMS[form](verdict)
        assert verdict.outcome in text.lower()
        assert sentence(verdict) in text.replace("\\u2212", "−")  # as JSON writes a minus
        assert verdict.candidate in text and verdict.baseline in text
        assert not re.search(r"\bnan\b", text.lower().replace("has nan in", ""))


def test_markdown_tables_have_as_many_cells_in_every_row(results: Results) -> None:
    lines = rendered(results, "adain_dim", "markdown").splitlines()
    blocks = "\n".join(line if line.startswith("|") else "" for line in lines).split("\n\n")
    tables = [block.strip().splitlines() for block in blocks if block.strip()]
    assert [len(table) for table in tables] == [2 + 8, 2 + 5]
    for table in tables:
        assert len({row.replace("\\|", "").count("|") for row in table}) == 1
    assert sum("**worse**" in line for line in lines) >= 4


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(results: Results, width: int) -> None:
    for every in (False, True):
        lines = printed(results, "adain_dim", width, every)
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("TRADE adain_dim:alpha=0.3 gains")


def test_the_terminal_shows_what_decides_and_all_on_request(results: Results) -> None:
    few, every = (printed(results, "vision_only", 100, every) for every in (False, True))
    assert not any(line.startswith("effect_size") for line in few)
    assert any(line.startswith("effect_size") for line in every)
    assert any("more metric" in line and "--all" in line for line in few)


def test_json_is_documented_and_agrees_with_the_verdict(results: Results) -> None:
    verdict = gate(results, "adain_dim", "text_only")
    record = json.loads(FORMS["json"](verdict))
    documented = DOCS.read_text()
    keys = [*record, *record["metrics"][0], *record["worst_items"][0], *record["canary"], *record["provenance"]]
    assert [key for key in keys if f"`{key}`" not in documented] == []
    assert (record["exit_code"], record["outcome"]) == (verdict.exit_code, "trade")
    assert record["sentence"] == sentence(verdict)
    assert record["gain"]["metric"] == "reference_style" and record["gain"]["change"] > 0.05
    assert {entry["role"] for entry in record["costs"]} == {"prompt", "artifact", "drift"}
    assert len(record["worst_items"]) == 5
    by_name = {entry["metric"]: entry for entry in record["metrics"]}
    assert by_name["grid_energy"]["decision"] == "worse"
    assert by_name["grid_energy"]["change"] == pytest.approx(0.09, abs=0.005)
    assert by_name["effect_size"]["worse"] is None and by_name["effect_size"]["decision"] is not None
    assert by_name["grid_energy"]["needed_items"] is None


@pytest.mark.parametrize(
    ("candidate", "failures", "errors"), [("adain_dim", 0, 0), (NO_OP, 0, 0), (INCOMPLETE, 0, 1), ("text_only", 2, 0)]
)
def test_junit_counts_what_it_holds(results: Results, candidate: str, failures: int, errors: int) -> None:
    root = ElementTree.fromstring(rendered(results, candidate, "junit"))
    suite = root.find("testsuite")
    assert root.tag == "testsuites" and suite is not None
    assert (suite.get("failures"), suite.get("errors")) == (str(failures), str(errors))
    assert (len(suite.findall(".//failure")), len(suite.findall(".//error"))) == (failures, errors)
    assert len(suite.findall("testcase")) == int(suite.get("tests", -1))
    assert all(case.get("name") and case.get("classname") for case in suite.findall("testcase"))


def test_every_exit_code_of_the_documentation_is_one_that_exists() -> None:
    rows = [
        line.split("|")[1:3] for line in DOCS.read_text().splitlines() if line.startswith("| ") and line[2].isdigit()
    ]
    documented = {word.strip(): int(code) for code, word in rows}
    documented.pop("(none)")
    assert documented == EXIT_CODES


def test_the_example_workflow_can_be_read_and_calls_commands_that_exist() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)[1])  # type: ignore[index]
    steps = workflow["jobs"]["gate"]["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    called = {verb for step in steps for verb in re.findall(r"\bblendbench (\w+)", step.get("run", ""))}
    assert called == {"run", "gate", "sql"} <= set(VERBS)
