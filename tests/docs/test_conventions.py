"""Files that hosts and packaging read are valid and say what is true."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import blendbench

ROOT = Path(__file__).parents[2]
HOSTED = sorted((ROOT / ".github").rglob("*.yml"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(path: Path) -> Any:
    # BaseLoader: the key `on` of a workflow is no boolean.
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def test_the_citation_names_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert (citation["version"], citation["license"]) == (blendbench.__version__, PROJECT["license"])
    assert PROJECT["version"] == blendbench.__version__
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["title"] and citation["message"]


def test_the_workflow_runs_targets_that_exist_on_supported_versions() -> None:
    workflow = read(ROOT / ".github" / "workflows" / "ci.yml")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    targets = re.findall(r"make (\S+)", "\n".join(commands))
    assert {"lint", "test"} <= set(targets)
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    assert f">={versions[0]}" == PROJECT["requires-python"]
    listed = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.", line)]
    assert listed == versions


@pytest.mark.parametrize("path", [p for p in HOSTED if p.parent.name == "ISSUE_TEMPLATE"], ids=lambda p: p.name)
def test_issue_forms_have_what_hosts_require(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    ids = [part["id"] for part in form["body"]]
    assert len(ids) == len(set(ids)) >= 2
    assert all(part["type"] in ("textarea", "input") and part["attributes"]["label"] for part in form["body"])


def test_every_variable_that_the_code_reads_or_sets_is_documented() -> None:
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "blendbench").rglob("*.py"))
    used = set(re.findall(r"environ(?:\.\w+\(|\[)\"(\w+)\"", code))
    assert len(used) >= 6
    assert {name for name in used if f"`{name}`" not in page} == set()
