"""A verdict for the terminal, for pull requests, as JSON and as JUnit XML."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from blendbench.core.numbers import counted, fixed, number
from blendbench.reports.formats import blocks, markdown_table
from blendbench.reports.gallery.links import Gallery
from blendbench.verdict.decide import Effect
from blendbench.verdict.sentence import sentence
from blendbench.verdict.verdict import Verdict, WorstItem

JSON_SCHEMA = 3
COLOURS = {
    "better": "green",
    "cheaper": "green",
    "trade": "cyan",
    "no effect": "dim",
    "no-op": "dim",
    "equivalent": "dim",
    "dominated": "red",
    "regression": "red",
    "worse": "red",
    "undecided": "yellow",
}
HEADER = ("metric", "role", "baseline", "change", "95 % interval", "margin", "decision")
_WORST_HEADER = ("item", "prompt", "seed", "change", "candidate", "baseline")
LEGEND = (
    "change: candidate minus baseline, mean over items. equivalent: within the margin on both sides. better, worse:"
    " p at most {:.3g} after Holm's correction within the role. undecided: neither."
)


def with_links(verdict: Verdict, gallery: Gallery | None) -> Verdict:
    """Link a verdict's worst items into a gallery that shows them."""
    if gallery is None:
        return verdict

    def linked(entry: WorstItem) -> WorstItem:
        pair = ((verdict.baseline, entry.baseline_image), (verdict.candidate, entry.candidate_image))
        return replace(entry, link=gallery.comparison(entry.item, entry.seed, *pair))

    return replace(verdict, worst=tuple(map(linked, verdict.worst)))


def as_terminal(verdict: Verdict, every: bool = False) -> RenderableType:
    """Render the effects that decide, or `every` one, for any terminal width."""
    shown = list(verdict.effects) if every else deciding(verdict)
    parts: list[RenderableType] = [
        headline(verdict),
        Text(f"against {verdict.baseline}: {_extent(verdict)}", style="dim"),
    ]
    if shown:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("metric", "role", "change", "95 % interval", "decision"):
            table.add_column(name, overflow="fold")
        for effect in shown:
            name, role, _, change, interval, _, word = metric_row(effect)
            table.add_row(name, role, change, interval, Text(word, style=COLOURS.get(word, "")))
        hidden = len(verdict.effects) - len(shown)
        parts += [Text(""), table, Text(LEGEND.format(verdict.alpha), style="dim")]
        if hidden:
            parts.append(Text(f"{counted(hidden, 'more metric')}: --all", style="dim"))
    if verdict.worst:
        parts += [Text(""), Text("worst items:")]
        for entry in verdict.worst:
            # A link that is printed out would be broken by every narrow terminal.
            linked = (f"{entry.item}, seed {entry.seed}", f"link {entry.link}" if entry.link else "")
            parts.append(Text.assemble("  ", linked, f": {_change_words(verdict, entry)}"))
            parts.append(Text(f"  {entry.candidate_image}", style="dim"))  # 80 columns
    lines = [
        *_lost_words(verdict),
        *(f"note: {note}" for note in verdict.notes),
        *(f"failed: {line}" for line in verdict.failed[:5]),
        *(f"not measured: {name}: {reason}" for name, reason in verdict.left_out.items()),
        canary_words(verdict),
    ]
    return Group(*parts, Text(""), *map(Text, lines))


def headline(verdict: Verdict) -> Text:
    """Render the outcome and the sentence for a terminal."""
    colour = COLOURS.get(verdict.outcome, "red")
    return Text.assemble((verdict.outcome.upper(), f"bold {colour}"), " ", sentence(verdict))


def as_markdown(verdict: Verdict) -> str:
    """Render for a pull request."""
    rows = [list(metric_row(effect)) for effect in verdict.effects]
    for row, effect in zip(rows, verdict.effects, strict=True):
        if effect.judged and effect.decision in ("worse", "better"):
            row[-1] = f"**{row[-1]}**"
    table = [markdown_table(HEADER, rows, right=(2, 3, 5)), _capital(LEGEND.format(verdict.alpha))] if rows else []
    notes = [
        *_lost_words(verdict),
        *verdict.notes,
        *(f"failed: {line}" for line in verdict.failed[:5]),
        *(f"not measured: {name} ({reason})" for name, reason in verdict.left_out.items()),
        canary_words(verdict),
    ]
    worst = [
        "<details><summary>Worst items</summary>",
        markdown_table(_WORST_HEADER, [_worst_row(verdict, entry) for entry in verdict.worst]),
        ["Paths are relative to the results folder.", "</details>"],
    ]
    lines = blocks(
        f"### {verdict.outcome}",
        sentence(verdict),
        f"Against `{verdict.baseline}`: {_extent(verdict)}.",
        *table,
        [f"- {note}" for note in notes],
        *(worst if verdict.worst else []),
    )
    return "\n".join([*lines, f"<sub>{provenance_words(verdict)}</sub>"])


def as_json(verdict: Verdict) -> str:
    """Render the stable form that docs/gate.md describes."""
    return json.dumps(verdict_record(verdict), indent=1, allow_nan=False)


def as_junit(verdict: Verdict) -> str:
    """Render JUnit XML: a case for pairs, canary, outcome and each judged metric.

    A case fails only if the outcome does: what a trade costs is no failure. Undecided is an error, not a failure.
    """
    judged = [effect for effect in verdict.effects if effect.judged and effect.decision is not None]
    name = f"blendbench gate: {verdict.candidate} against {verdict.baseline}"
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(judged) + 3))
    _case(suite, verdict, "pairs", ("error", "cells failed", "\n".join(verdict.failed)) if verdict.failed else None)
    unseen = ("error", "canary not detected", verdict.canary.evidence) if verdict.canary.detected is False else None
    _case(suite, verdict, "canary", unseen)
    tags = {1: "failure", 3: "error"}
    tag = tags.get(verdict.exit_code)
    _case(suite, verdict, "outcome", (tag, verdict.outcome, sentence(verdict)) if tag else None)
    for effect in judged:
        text = ", ".join(f"{head} {cell}" for head, cell in zip(HEADER[2:], metric_row(effect)[2:], strict=True))
        bad = {(1, "worse"): "failure", (3, "undecided"): "error"}.get((verdict.exit_code, str(effect.decision)))
        _case(suite, verdict, effect.metric.name, (bad, str(effect.decision), text) if bad else None)
    for attribute, element in (("failures", "failure"), ("errors", "error")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{element}"))))
    suite.set("skipped", "0")
    out = ElementTree.SubElement(suite, "system-out")
    out.text = f"{verdict.outcome}: {sentence(verdict)}\n{provenance_words(verdict)}"
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


FORMS: dict[str, Callable[[Verdict], str]] = {"markdown": as_markdown, "json": as_json, "junit": as_junit}


def deciding(verdict: Verdict) -> list[Effect]:
    """Return the effects that a reader needs: primaries, and all that differ or are open."""
    names = set(verdict.primaries.values())
    return [
        effect
        for effect in verdict.effects
        if effect.judged and (effect.metric.name in names or effect.decision not in ("equivalent", None))
    ]


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as JSON values."""
    gain = verdict.gain
    return {
        "schema": JSON_SCHEMA,
        "outcome": verdict.outcome,
        "exit_code": verdict.exit_code,
        "sentence": sentence(verdict),
        "gain": None if gain is None else _metric_record(verdict, gain),
        "costs": [_metric_record(verdict, effect) for effect in verdict.costs],
        "dominated_by": verdict.rivals.dominating,
        "known": verdict.rivals.known,
        "lost_items": None
        if verdict.lost is None
        else {"lost": verdict.lost.lost, "items": verdict.lost.items, "upper_bound": verdict.lost.bound},
        "needed_items": verdict.needed,
        "form": verdict.form,
        "experiment": verdict.experiment,
        "candidate": verdict.candidate,
        "baseline": verdict.baseline,
        "split": verdict.split,
        "items": verdict.items,
        "pairs": verdict.units,
        "alpha": verdict.alpha,
        "look": None if verdict.look is None else verdict.look.number,
        "canary": asdict(verdict.canary),
        "metrics": [_metric_record(verdict, effect) for effect in verdict.effects],
        "not_measured": verdict.left_out,
        "worst_items": [asdict(entry) for entry in verdict.worst],
        "failed": list(verdict.failed),
        "notes": list(verdict.notes),
        "provenance": verdict.provenance,
    }


def metric_row(effect: Effect) -> tuple[str, ...]:
    """Return one row of the table, in the order of HEADER."""
    metric = effect.metric
    return (
        metric.name,
        metric.role,
        number(effect.baseline_mean, metric),
        number(effect.mean, metric, signed=True),
        f"{number(effect.low, metric, signed=True)} .. {number(effect.high, metric, signed=True)}",
        number(effect.test.margin, metric),
        (effect.decision or "withheld") if effect.judged else "",
    )


def canary_words(verdict: Verdict) -> str:
    """Return whether the canary was detected, and by what."""
    word = {True: "detected", False: "NOT detected", None: "not generated"}[verdict.canary.detected]
    return f"canary {word}: {verdict.canary.evidence}"


def provenance_words(verdict: Verdict) -> str:
    """Return where the numbers come from, in one line."""
    where = verdict.provenance
    versions = ", ".join(f"{effect.metric.name} v{effect.metric.version}" for effect in verdict.effects)
    return (
        f"{verdict.experiment}; suite {where['suite']} {where['suite_sha256'][:12]}; model set {where['model_set']}"
        f" {where['model_set_sha256'][:12]}; sampler {where['sampler_sha256'][:12]}; {where['dtype']}; {versions};"
        f" run of {where['date'][:19]}, blendbench {where['blendbench_version']}"
    )


def _lost_words(verdict: Verdict) -> list[str]:
    if verdict.lost is None or verdict.outcome == "no-op":
        return []
    lost = verdict.lost
    return [
        f"items lost (prompt fell by .5 or more): {lost.lost} of {lost.items}; with 95 % confidence at most"
        f" {fixed(100 * lost.bound, 1)} % of all"
    ]


def _metric_record(verdict: Verdict, effect: Effect) -> dict[str, Any]:
    metric, test, decided = effect.metric, effect.test, effect.decision is not None
    values = {
        "baseline_mean": effect.baseline_mean,
        "candidate_mean": effect.candidate_mean,
        "change": effect.mean,
        "change_low": effect.low,
        "change_high": effect.high,
        "change_median": effect.median,
        "worse": effect.worse,
        "margin": test.margin,
        "floor": test.floor,
        "p": test.p,
        "p_adjusted": effect.p_adjusted if decided else None,
        "p_margin": test.p_within_margin,
        "detectable": effect.detectable(verdict.alpha),
    }
    return {
        "metric": metric.name,
        "version": metric.version,
        "role": metric.role,
        "primary": metric.name in verdict.primaries.values(),
        "direction": metric.direction,
        "unit": metric.unit,
        "decision": effect.decision,
        **{key: value if value is None or math.isfinite(value) else None for key, value in values.items()},
        "items": effect.items,
        "pairs": effect.units,
        "unscorable_pairs": effect.unscorable,
        "needed_items": effect.needed_items(verdict.alpha) if effect.decision == "undecided" else None,
    }


def _case(suite: ElementTree.Element, verdict: Verdict, name: str, bad: tuple[str, str, str] | None) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=f"gate.{verdict.experiment}", name=name, time="0")
    if bad is not None:
        tag, kind, text = bad
        ElementTree.SubElement(case, tag, type=kind, message=text.splitlines()[0]).text = text


def _extent(verdict: Verdict) -> str:
    items = f"{verdict.items} {verdict.split} item{'' if verdict.items == 1 else 's'}".replace("  ", " ")
    look = verdict.look
    paid = f", look {look.number} at level {fixed(look.alpha, 4)}" if look is not None and look.number > 1 else ""
    return f"{verdict.experiment}, {items}, {counted(verdict.units, 'pair')}{paid}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _change_words(verdict: Verdict, entry: WorstItem) -> str:
    metric = next(effect.metric for effect in verdict.effects if effect.metric.name == entry.metric)
    return f"{entry.metric} {number(entry.change, metric, signed=True)}"


def _worst_row(verdict: Verdict, entry: WorstItem) -> list[str]:
    images = [f"`{path}`" for path in (entry.candidate_image, entry.baseline_image)]
    item = f"[{entry.item}]({entry.link})" if entry.link else entry.item
    return [item, entry.prompt, str(entry.seed), _change_words(verdict, entry), *images]
