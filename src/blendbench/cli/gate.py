"""`blendbench gate`: what a candidate gains and costs, as an exit code too."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from blendbench.core.errors import UsageError


def gate(
    candidate: Annotated[str, typer.Option(help="a label, as lerp:alpha=0.3, or a strategy with one configuration")],
    baseline: Annotated[
        str, typer.Option(help="what it is compared with; `previous`: the candidate's own code before its last change")
    ] = "text_only",
    experiment: Annotated[str | None, typer.Option(help="experiment; default: the latest that has both")] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    allow: Annotated[
        list[str],
        typer.Option(
            help="ROLE=VALUE, repeatable: accept so much. prompt, gain: fraction of the baseline's mean; artifact,"
            " drift: margins; lost: fraction of items that may be lost (default 0.05)"
        ),
    ] = [],  # noqa: B006
    format_: Annotated[Literal["text", "markdown", "json", "junit"], typer.Option("--format", help="output")] = "text",
    all_: Annotated[bool, typer.Option("--all", help="show all metrics, not only those that decide")] = False,
    gallery: Annotated[
        str | None,
        typer.Option(
            help="what the worst items link to: folder or web address of a gallery; default: RESULTS/gallery/EXPERIMENT"
            " if it exists, except in markdown, which others read"
        ),
    ] = None,
) -> None:
    """Judge a configuration of a results folder on the test items.

    Exit codes: 0 better, cheaper, trade, no effect, no-op; 1 regression, dominated; 2 usage; 3 undecided; 4 canary not
    detected; 5 some cells failed.
    """
    from blendbench.reports.gallery.links import find_gallery, named_gallery
    from blendbench.reports.gate_formats import FORMS, as_terminal, with_links
    from blendbench.results.store import open_results
    from blendbench.stats.lost import TOLERATED
    from blendbench.verdict import gate as judge
    from blendbench.verdict.looks import record_look

    accepted = _accepted(allow)
    tolerated = accepted.pop("lost", TOLERATED)
    named = named_gallery(gallery) if gallery else None
    opened = open_results(results)
    verdict = judge(opened, candidate, baseline, experiment, allow=accepted, tolerated=tolerated)
    if verdict.look is not None and (refused := record_look(opened, verdict.look)):
        typer.echo(f"this look at test items could not be recorded: {refused}", err=True)
    if named is None and format_ != "markdown":
        named = find_gallery(results / "gallery" / verdict.experiment)
    linked = with_links(verdict, named)
    if format_ == "text":
        Console(highlight=False).print(as_terminal(linked, all_))
    else:
        typer.echo(FORMS[format_](linked))
    raise typer.Exit(verdict.exit_code)


def _accepted(settings: list[str]) -> dict[str, float]:
    """Read ROLE=VALUE. Errors: UsageError."""
    from blendbench.core.config import suggest
    from blendbench.verdict.decide import JUDGED_ROLES

    roles = [*JUDGED_ROLES, "lost"]
    found = {}
    for setting in settings:
        role, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--allow {setting}: write ROLE=VALUE, as in --allow prompt=0.1")
        if role not in roles:
            raise UsageError(f"--allow {setting}: no role {role!r}; one of {', '.join(roles)}{suggest(role, roles)}")
        if role in found:
            raise UsageError(f"--allow {setting}: {role} is given twice")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        most = 1.0 if role in ("prompt", "gain", "lost") else 1000.0
        if not 0 <= value <= most:
            raise UsageError(f"--allow {setting}: {text!r} is not a number from 0 to {most:g}")
        found[role] = value
    return found
