"""Every problem of a file is printed at once, a line each."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

from PIL import Image

Cli = Callable[..., CompletedProcess[str]]


def problems(cli: Cli, *paths: Path, cwd: Path | None = None) -> list[str]:
    done = cli("validate", *paths, cwd=cwd)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith("blendbench: ") for line in lines)
    return lines


def found(lines: list[str], *said: str) -> None:
    """Check that each text stands in a line of its own, and that no line is left."""
    assert [text for text in said if sum(text in line for line in lines) != 1] == [], "\n".join(lines)
    assert len(lines) == len(said), "\n".join(lines)


def test_all_problems_of_a_suite(cli: Cli, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    item = 'prompt = "x"\nreference_caption = ""\nreference = "{0}"\nunrelated = "a.png"\nrelation = "{1}"\n'
    (tmp_path / "suite.toml").write_text(
        'name = "Own"\nversion = 1\ntitle = ""\nlicense = "x"\nblank = "gone.png"\n'
        + "[[items]]\nid = 'one'\nsplit = 'dev'\n"
        + item.format("../a.png", "matched")
        + "[[items]]\nid = 'one'\n"
        + item.format("lost.png", "same")
        + "[[images]]\nfile = 'a.png'\nlicence = 'CC0'\norigin = ' '\n"
    )
    found(
        problems(cli, tmp_path),
        "license: unknown key; did you mean 'licence'?",
        "name: String should match",
        "items.1.relation",
        "images.0.origin",
        "blank: image 'gone.png': no such file",
        "image '../a.png' must lie inside",
        "image 'lost.png': no such file",
        "'one' occurs twice",
        "some items have a split and some have none",
        "'../a.png' has no licence and origin",
        "'gone.png' has no licence and origin",
        "'lost.png' has no licence and origin",
    )


def test_all_problems_of_an_experiment(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text(
        'name = "e"\ntitel = "x"\nsuite = "gone"\nmodel_set = "lost"\nseeds = [0, 0]\n'
        'metrics = ["clip_cosin", "style_gain"]\n'
        'baseline = "text"\nstrategies = [{name = "lrep"}, {alpha = 1}, {name = "lerp", alpha = [0.1, 2]}, '
        '{name = "lerp", alpha = []}, {name = "concatenate"}]\n'
    )
    found(
        problems(cli, tmp_path / "e.toml"),
        "titel: unknown key; did you mean 'title'?",
        "seeds: a seed occurs twice",
        "did you mean 'lerp'",
        "strategies: each needs a name",
        "alpha = 2 is outside",
        "strategies.lerp.alpha: give a value",
        "did you mean 'clip_cosine'",
        "unknown strategy 'text'",
        f"unknown suite '{tmp_path / 'gone'}'",
        f"unknown model set '{tmp_path / 'lost'}'",
    )


def test_all_problems_of_a_model_set_and_of_hypotheses_and_of_several_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "model_set.toml").write_text(
        'name = "m"\nversion = 1\ntitle = ""\ndtype = "float32"\npipeline = "gone"\nvision_language = "lost/"\n'
        "[sampler]\nheight = 128\nwidth = 128\nsteps = 9\n"
    )
    (tmp_path / "h.toml").write_text(
        'name = "h"\ntitle = "H"\nheadlines = ["b"]\n[[hypothesis]]\nid = "a"\ntheme = ""\nstatement = "s"\n'
        'source = "s"\n'
        'claims = [{ kind = "differs", experiment = "demo" }]\n'
    )
    lines = problems(cli, tmp_path / "model_set.toml", tmp_path / "h.toml", tmp_path / "absent.toml")
    assert sum("model_set.toml: " in line for line in lines) == 2
    assert sum("h.toml: hypothesis.0.claims.0" in line for line in lines) >= 3
    assert sum("h.toml: hypothesis.0.theme" in line for line in lines) == 1
    assert "absent.toml: no such file or folder" in lines[-1]


def test_other_commands_print_the_first_and_say_where_the_rest_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "e.toml").write_text('name = "e"\ntitel = "x"\nseeds = [0]\nstrategies = [{name = "lrep"}]\n')
    done = cli("run", tmp_path / "e.toml")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "titel" in done.stderr and "(and 1 more; `blendbench validate` lists them)" in done.stderr


def test_paths_in_a_file_are_relative_to_it_and_shipped_names_are_not_shadowed(
    cli: Cli, untrained: Path, tmp_path: Path
) -> None:
    work, files = tmp_path / "work", tmp_path / "files"
    for folder in (work / "miniature", files):
        folder.mkdir(parents=True)
    (work / "miniature" / "suite.toml").write_text("broken")
    assert cli("new", "suite", "own", cwd=files).returncode == 0
    experiment = 'name = "e"\ntitle = "x"\nsuite = "{}"\nseeds = [0]\nstrategies = [{{name = "lerp"}}]\n'
    (files / "own.toml").write_text(experiment.format("own"))
    (files / "shipped.toml").write_text(experiment.format("miniature"))
    assert cli("validate", files / "own.toml", files / "shipped.toml", cwd=work).returncode == 0
    assert "broken" not in (found := problems(cli, Path("miniature"), cwd=work))[0] and "not valid TOML" in found[0]


def test_the_suite_of_a_model_set_is_relative_to_its_file(cli: Cli, untrained: Path, tmp_path: Path) -> None:
    text = (untrained / "model_set.toml").read_text()
    for name in ("pipeline", "vision_language", "clip", "siglip", "judge", "probe"):
        text = text.replace(f'{name} = "{name}"', f'{name} = "{untrained / name}"')
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "model_set.toml").write_text(text.replace("dtype", 'suite = "own"\ndtype', 1))
    assert "unknown suite" in problems(cli, tmp_path / "set")[0]
    assert cli("new", "suite", "own", cwd=tmp_path / "set").returncode == 0
    assert cli("validate", tmp_path / "set").returncode == 0
    # Smoke takes four items, and the suite has fewer.
    suite = tmp_path / "set" / "own" / "suite.toml"
    suite.write_text(suite.read_text().rpartition("[[items]]")[0].rpartition("[[items]]")[0])
    done = cli("run", "core", "--quick", "--models", tmp_path / "set", "--dry-run", cwd=tmp_path)
    assert "own has 2 items" in done.stderr
