"""Test README and docs: links, commands, code blocks and figures."""

import importlib
import importlib.util
import json
import math
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
import typer
from PIL import Image

from blendbench import cli
from blendbench.cli import VERBS
from blendbench.core.suites import load_suite
from blendbench.core.tokens import Tokens
from blendbench.metrics import get_metric
from blendbench.models.model_file import ModelSetFile, Revisions
from blendbench.registry.entries import SHIPPED
from blendbench.registry.loading import load_everything
from blendbench.registry.registry import Registry
from blendbench.registry.strategies import Sources, get_strategy
from blendbench.run.experiments import ExperimentFile, list_experiments, load_experiment

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
STRATEGIES = ROOT / "docs" / "strategies.md"
CARDS = sorted((ROOT / "metrics").glob("*.md"))
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Where a command ends: a redirection, a pipe, or what a shell does on failure.
SHELL = re.compile(r"\s(?:\d?>>?|\||\|\|)\s")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in FENCED.findall(page.read_text(encoding="utf-8")) if language in languages]


def inline(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists():
            yield f"{page.name}: {target} does not exist"
        elif anchor and anchor not in anchors(found):
            yield f"{page.name}: {target}: no such heading"


def test_every_link_leads_somewhere() -> None:
    assert [problem for page in [*PAGES, *CARDS] for problem in broken_links(page)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`, c\n[a](#a-b-c) [b](#other) [c](gone.md) [d](https://example.org)\n", encoding="utf-8")
    assert [*broken_links(page)] == ["page.md: #other: no such heading", "page.md: gone.md does not exist"]


def test_pages_link_to_the_glossary() -> None:
    explained = [page for page in PAGES if page.parent.name == "docs" and page.stem not in ("glossary", "sql")]
    assert [name(page) for page in explained if "glossary.md#" not in prose(page)] == []


def test_the_glossary_defines_each_word_once_and_briefly() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^### ([^\n]+)\n(.*?)(?=\n#|\Z)", text, re.MULTILINE | re.DOTALL)
    words = [word for word, _ in entries]
    assert len(words) == len(set(words)) > 40
    assert [word for word, definition in entries if not 3 <= len(definition.split()) <= 60] == []


CODES = [(name(page), code) for page in PAGES for code in inline(page)]


@cache
def command(verb: str) -> Any:
    """Return the parser of one command; nothing is run."""
    app = typer.Typer(add_completion=False)
    app.command(verb)(cli.command(verb))
    return typer.main.get_command(app)


def options(verb: str) -> set[str]:
    return {option for parameter in command(verb).params for option in parameter.opts} | {"--help"}


def command_lines(page: Path) -> Iterator[str]:
    """Yield what follows `blendbench` in blocks that are meant to be typed."""
    for block in blocks(page, "", "console", "sh", "yaml"):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"\s*(?:\$ |- run: |run: )?blendbench (.+)", line)
            if found:
                yield found[1]


def parsed(line: str) -> list[str]:
    return shlex.split(SHELL.split(line)[0], comments=True)


def problem(arguments: list[str]) -> str | None:
    """Return what the parser of a command refuses, None if it accepts everything."""
    if arguments[0] not in VERBS:
        return f"unknown command {arguments[0]}"
    refusal: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
    try:
        command(arguments[0]).make_context(arguments[0], arguments[1:])
    except refusal as error:
        return str(error.format_message()) or type(error).__name__
    return None


COMMANDS = [(name(page), line) for page in PAGES for line in command_lines(page)]


def test_every_command_line_is_accepted() -> None:
    assert len(COMMANDS) > 25
    assert [(page, line, found) for page, line in COMMANDS if (found := problem(parsed(line)))] == []


def test_wrong_command_lines_are_refused() -> None:
    assert problem(["runs", "core"])
    assert problem(["run", "core", "--strategies", "lerp"])
    assert problem(["run"])
    assert problem(["sql", "FROM cells", "--format", "xml"])


def test_commands_and_options_in_prose_exist() -> None:
    known = {"--version"}.union(*map(options, VERBS))
    for page, code in CODES:
        words = code.split()
        if words[0] == "blendbench" and words[1:] not in ([], ["--version"]):
            assert words[1] in VERBS, f"{page}: {code}"
            assert {word for word in words if word.startswith("--")} <= options(words[1]), f"{page}: {code}"
        elif words[0].startswith("--"):
            assert words[0] in known, f"{page}: {code}"


def test_the_readme_lists_every_command_with_options_of_its_own() -> None:
    rows = re.findall(r"^\| `blendbench (\w+)[^`]*` \| (.*) \|$", prose(ROOT / "README.md"), re.MULTILINE)
    assert sorted(verb for verb, _ in rows) == sorted(VERBS)
    for verb, text in rows:
        assert set(re.findall(r"`(--[\w-]+)`", text)) <= options(verb), verb


def test_other_programs_that_pages_name_exist() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for module in re.findall(r"(?:^|`)python -m ([\w.]+)", text, re.MULTILINE):
        assert importlib.util.find_spec(module), f"python -m {module}"
    for script in re.findall(r"(?:^|`)python ([\w./]+\.py)", text, re.MULTILINE):
        assert (ROOT / script).is_file(), f"python {script}"


def test_files_of_the_repository_that_pages_name_exist() -> None:
    for page, code in CODES:
        if re.fullmatch(r"(?:src|tests|bench|prompts|reports|metrics|docs)/[\w./-]*", code):
            assert (ROOT / code).exists(), f"{page}: {code}"


def test_plugins_of_the_pages_register_what_they_say_and_blend(tmp_path: Path) -> None:
    codes = [
        code for page in PAGES for code in blocks(page, "python") if re.search("blendbench.(blending|metrics)", code)
    ]
    assert len(codes) >= 6
    for number, code in enumerate(codes):
        # Two pages may show a strategy of the same name, which one process could not register twice.
        names = re.findall(r'^@\w+\("(\w+)"', code, re.MULTILINE)
        renamed = re.sub(f'"({"|".join(names)})"', rf'"\1_{number}"', code)
        (tmp_path / f"plugin_{number}.py").write_text(renamed, encoding="utf-8")
        found = load_everything(tmp_path / f"plugin_{number}.py")
        assert {name for kind in found.values() for name in kind} == {f"{name}_{number}" for name in names}
        for name in found.get("strategy", []):
            # A row for every token of the text; README's idea sets every fourth image token beside them.
            assert (len(blended(name, 5, 9)), len(blended(name, 5, 3))) == ((8, 6) if "fourth" in name else (5, 5))
        for name in found.get("alignment", []):
            assert len(blended("lerp", 5, 9, align=name)) == 5
            assert len(blended("lerp", 5, 3, align=name)) == 3


def blended(name: str, text: int, vision: int, **values: str) -> torch.Tensor:
    return get_strategy(name).bind(**values).blend(Sources(text=tokens(text), vision=tokens(vision))).rows


def tokens(count: int) -> Tokens:
    return Tokens(torch.randn(count, 8, generator=torch.Generator().manual_seed(count)), torch.full((count,), 3))


def test_the_steps_of_the_page_are_the_shipped_ones() -> None:
    rows = re.findall(r"^\| `@(\w+)` \| `\w+` \| .* \| ([\w, ]+) \|$", prose(STRATEGIES), re.MULTILINE)
    kinds = {registry.kind: registry for registry in Registry.every}
    assert len(rows) == 5
    for kind, names in rows:
        shipped = [name for name in kinds[kind].names() if kinds[kind].origin(name) == SHIPPED]
        assert sorted(names.split(", ")) == sorted(shipped), kind


def test_the_functions_of_the_page_can_be_imported() -> None:
    found = re.findall(r"((?:`\w+`(?:, )?)+) from `(blendbench[\w.]+)`", prose(STRATEGIES))
    assert len(found) >= 7
    for names, module in found:
        for name in re.findall(r"\w+", names):
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"


def test_python_blocks_are_python() -> None:
    for page in PAGES:
        for code in blocks(page, "python"):
            compile(code, name(page), "exec")


def test_the_suite_of_the_page_is_one(tmp_path: Path) -> None:
    suite, primary, licences, pairs = blocks(ROOT / "docs" / "suites.md", "toml")
    (experiment,) = blocks(ROOT / "docs" / "experiments.md", "toml")
    assert "[[images]]" in licences
    (tmp_path / "images").mkdir()
    for file in re.findall(r'"(images/[\w.-]+)"', suite + pairs):
        Image.new("RGB", (64, 64), "gray").save(tmp_path / file)
    (tmp_path / "suite.toml").write_text(f"{suite}\n{primary}\n{pairs}", encoding="utf-8")
    loaded = load_suite(tmp_path)
    assert dict(loaded.primaries).keys() == {"prompt", "gain", "artifact", "drift"}
    assert all(get_metric(metric).info.role == role for role, metric in loaded.primaries)
    assert (loaded.name, len(loaded.items), len(loaded.pairs)) == ("mine", 1, 1)
    (tmp_path / "my_experiment.toml").write_text(experiment, encoding="utf-8")
    assert load_experiment(tmp_path / "my_experiment.toml").seeds == (0,)


def test_the_fields_of_an_experiment_are_those_of_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \|", prose(ROOT / "docs" / "experiments.md"), re.MULTILINE)
    fields = ExperimentFile.model_fields.items()
    assert dict(rows) == {name: "yes" if field.is_required() else "no" for name, field in fields}


def test_the_model_set_of_the_page_has_known_fields_and_the_shipped_noise_levels() -> None:
    page = ROOT / "docs" / "models.md"
    fields = tomllib.loads(blocks(page, "toml")[0])
    assert fields.keys() <= ModelSetFile.model_fields.keys()
    Revisions.model_validate(fields["revisions"])
    shipped = ROOT / "src" / "blendbench" / "models" / "z_image_turbo" / "model_set.toml"
    sigmas = tomllib.loads(shipped.read_text(encoding="utf-8"))["sampler"]["sigmas"]
    stated = re.search(r"official inference code: ([\d., ]+)\.", " ".join(prose(page).split()))
    assert stated and [float(sigma) for sigma in stated[1].split(", ")] == [round(sigma, 4) for sigma in sigmas]


def test_the_readme_lists_every_experiment() -> None:
    section = prose(ROOT / "README.md").partition("\n## Experiments\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .* \| (.*) \|$", section, re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} == set(list_experiments())


def test_the_parameter_counts_of_the_miniature_are_those_of_its_weights() -> None:
    weights = ROOT / "src" / "blendbench" / "models" / "miniature" / "weights"
    counted = {path.parent.name: parameters(path) for path in weights.rglob("*.safetensors")}
    rows = re.findall(r"^\| ([\w, -]+) \| .* \| ([\d.]+) M", prose(ROOT / "docs" / "miniature.md"), re.MULTILINE)
    stated = {part.lower().replace(" ", "_").replace("-", "_"): float(count) for part, count in rows}
    stated |= dict.fromkeys(("clip", "siglip"), stated.pop("clip,_siglip"))
    assert stated == {part: round(count / 1e6, 1) for part, count in counted.items()}


def parameters(path: Path) -> int:
    """Count the parameters in the header of a safetensors file."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__")
