"""`blendbench list`: strategies, metrics, experiments, suites or models."""

import json
import sys
from collections import Counter
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

Kind = Literal["strategies", "metrics", "experiments", "suites", "models"]
# Settings of every strategy that reads images: printed once for people, not fifty times.
_READING = ("reference", "layer", "text_layer", "tokens")


def list_(
    kind: Annotated[Kind, typer.Argument(help="what to list")],
    json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List strategies, metrics, experiments, suites or models."""
    rows = _LISTS[kind]()
    if json_:
        print(json.dumps(rows, indent=1))
        return
    rows, note = _for_people(rows) if kind == "strategies" else (rows, "")
    table = Table(box=None, header_style="bold")
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row.values()))
    # Rows in a file or a log are better long than folded.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    if note:
        console.print(f"\n{note}", highlight=False)


def _for_people(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """Print a strategy's own settings in a cell, and shared ones below."""
    found = Counter((p["name"], p["default"]) for row in rows for p in row["parameters"] if p["name"] in _READING)
    # The commonest default of each name: the last one written wins.
    shared = {name: default for (name, default), _ in reversed(found.most_common())}
    shown = [
        {
            "name": row["name"],
            "settings": " ".join(
                f"{p['name']}={p['default']}" for p in row["parameters"] if shared.get(p["name"], ...) != p["default"]
            ),
            "equation": row["equation"],
            "source": row["source"],
        }
        for row in rows
    ]
    settings = " ".join(f"{name}={shared[name]}" for name in _READING if name in shared)
    return shown, f"Those that read images also have {settings}. --json has the ranges, choices and versions too."


def _strategies() -> list[dict[str, Any]]:
    from blendbench.registry.strategies import all_strategies

    return [
        {
            "name": s.name,
            "version": s.version,
            "control": s.control,
            "dose": s.dose,
            "dose_grid": list(s.dose_grid),
            "parameters": [
                {
                    "name": p.name,
                    "type": p.type.__name__,
                    "default": p.default,
                    "range": [p.range.low, p.range.high] if p.range else None,
                    "choices": list(p.options) or None,
                }
                for p in s.parameters.values()
            ],
            "equation": s.equation,
            "source": s.source,
        }
        for s in all_strategies().values()
    ]


def _metrics() -> list[dict[str, Any]]:
    from blendbench.metrics import all_metrics

    shown = ("name", "version", "role", "direction", "unit", "title")
    return [{key: getattr(metric.info, key) for key in shown} for metric in all_metrics().values()]


def _experiments() -> list[dict[str, Any]]:
    from blendbench.run.experiments import list_experiments, load_experiment

    loaded = (load_experiment(name) for name in list_experiments())
    return [{"name": e.name, "suite": e.suite, "seeds": len(e.seeds), "title": e.title} for e in loaded]


def _suites() -> list[dict[str, Any]]:
    from blendbench.core.suites import list_suites, load_suite

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
    "strategies": _strategies,
    "metrics": _metrics,
    "experiments": _experiments,
    "suites": _suites,
    "models": _models,
}
