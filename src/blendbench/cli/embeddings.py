"""`blendbench embeddings`: compare the encoders' hidden states by layer."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blendbench.cli import options
from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    from blendbench.reports.embedding_study import Study


def embeddings(
    models: options.Models = "miniature",
    suite: Annotated[
        str | None,
        typer.Option(help="suite whose prompts and images are encoded: a name or a folder; default: the models' own"),
    ] = None,
    items: Annotated[int | None, typer.Option(min=1, help="only the first so many items")] = None,
    layers: Annotated[str | None, typer.Option(help="layers from the end, as -2,-6; default: those in use")] = None,
    results: Annotated[Path, typer.Option(help="results folder: embeddings, shards and database")] = Path("results"),
    out: Annotated[Path, typer.Option(help="where embeddings.md and its plots are written")] = Path("reports"),
    device: options.Device = "auto",
    save_statistics: Annotated[
        Path | None, typer.Option(help="also write mean and std of each dimension to this .safetensors file")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="print every statistic as JSON")] = False,
) -> None:
    """Compare the text encoder's hidden states with Qwen3-VL's.

    The comparison is by layer and kind of token.
    """
    wanted = _layers(layers)
    if save_statistics is not None and save_statistics.suffix != ".safetensors":
        raise UsageError(f"--save-statistics {save_statistics}: name a .safetensors file")

    from blendbench.core.suites import load_suite
    from blendbench.models.sets import load_model_set
    from blendbench.run.embedding_analysis import plan_analysis, run_analysis

    model_set = load_model_set(models, device)
    analysis = plan_analysis(model_set, load_suite(suite or model_set.suite or "miniature"), items, wanted)

    from blendbench.reports.embeddings import findings, write_embeddings
    from blendbench.results.store import open_results
    from blendbench.run.progress import Reporter

    computed = run_analysis(analysis, results, Reporter(quiet=json_), save_statistics)
    with open_results(results).held() as opened:
        study, page = write_embeddings(opened, out, analysis.analysis_id)
    if json_:
        typer.echo(json.dumps(_summary(study, computed, page)))
        return

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(_table(study))
    for sentence in findings(study):
        console.print(f"- {sentence.replace('**', '')}", highlight=False)
    console.print(f"\nwritten: {page}", highlight=False, soft_wrap=True)


def _layers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--layers {text}: write whole numbers, as -2,-6") from None


def _summary(study: "Study", computed: bool, page: Path) -> dict[str, Any]:
    names = ("layer", "tokens", "position_0", "reference", "statistic")
    return {
        "analysis_id": study.analysis_id,
        "computed": computed,
        "model_set": study.model_set,
        "suite": study.suite,
        "items": study.items,
        "layers": list(study.layers),
        "text_layer": study.text_layer,
        "page": str(page),
        "statistics": [
            dict(zip(names, place, strict=True)) | value._asdict() for place, value in sorted(study.values.items())
        ],
    }


def _table(study: "Study") -> Table:

    from blendbench.reports.embedding_study import NAMES
    from blendbench.reports.embeddings import value_text

    own, against = ("std", "std_median"), ("pearson", "spearman", "log_pearson", "lacking_4", "exceeding_4")
    table = Table(box=None, header_style="bold", title=f"layer {study.shown_layer}, against the text encoder")
    for column in ("tokens", "position 0", *own, *against):
        table.add_column(column, justify="left" if column in ("tokens", "position 0") else "right")
    for tokens in study.kinds:
        for position_0 in (True, False):
            cells = [value_text(study.get(tokens, name, position_0), name, interval=False) for name in own]
            cells += [
                value_text(study.get(tokens, name, position_0, "same_layer"), name, interval=False) for name in against
            ]
            table.add_row(NAMES[tokens], "with" if position_0 else "without", *cells)
    return table
