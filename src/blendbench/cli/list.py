"""`blendbench list`: what there is."""

import json
import sys
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

Kind = Literal["strategies", "metrics", "experiments", "suites", "models"]


def list_(
    kind: Annotated[Kind, typer.Argument(help="what to list")],
    json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List strategies, metrics, experiments, suites or models."""
    rows = _LISTS[kind]()
    if json_:
        print(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold")
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    # Into a file or a log, rows are better long than folded.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(f"{p['name']}={p['default']}" for p in value)
    return str(value)


def _strategies() -> list[dict[str, Any]]:
    from blendbench.cli.strategy_index import strategy_rows

    return strategy_rows()


def _metrics() -> list[dict[str, Any]]:
    from blendbench.scoring.cards import all_cards

    shown = ("name", "version", "kind", "direction", "unit", "title")
    return [{key: getattr(card, key) for key in shown} for card in all_cards().values()]


def _experiments() -> list[dict[str, Any]]:
    from blendbench.experiments import list_experiments, load_experiment

    loaded = (load_experiment(name) for name in list_experiments())
    return [{"name": e.name, "suite": e.suite, "seeds": len(e.seeds), "title": e.title} for e in loaded]


def _suites() -> list[dict[str, Any]]:
    from blendbench.suites import list_suites, load_suite

    loaded = (load_suite(name) for name in list_suites())
    return [
        {"name": s.name, "version": s.version, "items": len(s.items), "title": s.title, "sha256": s.sha256[:12]}
        for s in loaded
    ]


def _models() -> list[dict[str, Any]]:
    from blendbench.models.sets import list_model_sets, load_model_set

    loaded = (load_model_set(name) for name in list_model_sets())
    return [{"name": m.name, "dtype": m.dtype, "title": m.file.title, "folder": str(m.folder)} for m in loaded]


_LISTS = {
    "strategies": _strategies, "metrics": _metrics, "experiments": _experiments, "suites": _suites, "models": _models,
}  # fmt: skip
