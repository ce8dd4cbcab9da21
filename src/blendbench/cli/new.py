"""`blendbench new`: write a small working file to start from."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from blendbench.core.config import NAME
from blendbench.core.errors import UsageError

Kind = Literal["strategy", "metric", "suite", "experiment", "hypotheses", "model-set"]
_TEMPLATES = Path(__file__).parents[1] / "templates"
_FUNCTION = r"^[a-z][a-z0-9_]*$"
_NEXT = {
    "strategy": "blendbench check {}",
    "metric": "blendbench measure IMAGE... --plugin {}",
    "suite": 'blendbench new experiment NAME, and put suite = "{}" into its file',
    "experiment": "blendbench run {}",
    "hypotheses": "blendbench findings --hypotheses {}",
    "model-set": "blendbench doctor --models {}",
}


def new(
    kind: Annotated[Kind, typer.Argument(help="what to write")],
    name: Annotated[str, typer.Argument(help="its name, and that of its file or folder in this folder")],
    images: Annotated[
        Path | None, typer.Option(help="for a suite: folder of reference images; a text file beside one is its caption")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="for a suite: one prompt a line, or a .csv with the columns prompt, image, caption, relation"
        ),
    ] = None,
) -> None:
    """Write one small working file (for a suite or model set a folder) with comments.

    Nothing is overwritten. The file is checked as `blendbench validate` does it. `new suite NAME --images FOLDER
    --prompts FILE` makes a suite of what you have: prompts and images are paired in their order, the shorter list again
    from its start.
    """
    pattern = _FUNCTION if kind in ("strategy", "metric") else NAME
    if not re.match(pattern, name):
        also = "" if pattern == _FUNCTION else " and -"
        raise UsageError(f"NAME {name!r}: write lower-case letters, digits and _{also}, beginning with a letter")
    if kind != "suite" and (images or prompts):
        raise UsageError(
            "--images and --prompts make a suite; write: blendbench new suite NAME --images ... --prompts ..."
        )
    if (images is None) != (prompts is None):
        raise UsageError("--images and --prompts: a suite needs both; add the other one")
    folder = kind in ("suite", "model-set")
    path = Path(name if folder else f"{name}{'.py' if kind in ('strategy', 'metric') else '.toml'}")
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: exists already, and nothing is overwritten; choose another name")
    if kind == "suite":
        from blendbench.cli.new_suite import example_rows, rows_of, write_suite

        with tempfile.TemporaryDirectory() as made:
            rows = rows_of(images, prompts) if images and prompts else example_rows(Path(made))
            path.mkdir()
            with _valid_or_taken_back(path):
                write_suite(path, template("suite.toml", name), rows)
    elif kind == "model-set":
        from blendbench.models.sets import load_model_set

        text = template("model_set.toml", name).replace("WEIGHTS", load_model_set("miniature").folder.as_posix())
        path.mkdir()
        with _valid_or_taken_back(path):
            (path / "model_set.toml").write_text(text, encoding="utf-8")
    else:
        path.touch(exist_ok=False)
        with _valid_or_taken_back(path):
            path.write_text(template(f"{kind}{path.suffix}", name), encoding="utf-8")
    print(f"next: {_NEXT[kind].format(path)}")


def template(file: str, name: str) -> str:
    """Return a template with the user's name in it."""
    return (_TEMPLATES / file).read_text(encoding="utf-8").replace("my_name", name)


@contextmanager
def _valid_or_taken_back(path: Path) -> Iterator[None]:
    """Validate what the block writes; remove it if that fails."""
    from blendbench.cli.validate import described

    try:
        yield
        print(f"{path}: {described(path)}")
    except BaseException:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        raise
