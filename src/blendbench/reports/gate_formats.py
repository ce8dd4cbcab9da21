"""A verdict as text, as markdown for a pull request, as JSON and as JUnit XML."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

from blendbench.reports.board import MetricInfo
from blendbench.reports.formats import counted, markdown_table, number, p_text
from blendbench.reports.gallery.links import Gallery
from blendbench.verdict.decide import Effect, MetricVerdict
from blendbench.verdict.verdict import Verdict, WorstItem

JSON_SCHEMA = 1
HEADER = (
    "metric",
    "decision",
    "baseline",
    "change",
    "one-sided 95 % bounds",
    "margin",
    "p",
    "detectable",
    "to settle it",
)
_WORST_HEADER = ("item", "prompt", "seed", "change", "candidate", "baseline")
_EXPLANATION = (
    "Change: candidate minus baseline, mean over items. Pass: the worse bound is within the margin. Regression: worse,"
    " p (sign flips, one-sided, Holm) at most {:.3g}. Detectable: the true change that is found with power .8."
)


def with_links(verdict: Verdict, gallery: Gallery | None) -> Verdict:
    """The verdict with links from its worst items into a gallery that shows their images."""
    if gallery is None:
        return verdict

    def linked(entry: WorstItem) -> WorstItem:
        pair = ((verdict.candidate, entry.candidate_image), (verdict.baseline, entry.baseline_image))
        return replace(entry, link=gallery.comparison(entry.item, entry.seed, *pair))

    return replace(verdict, worst=tuple(map(linked, verdict.worst)))


def render(verdict: Verdict, form: str) -> str:
    """The verdict in one of the forms text, markdown, json, junit; ends without a newline."""
    return FORMS[form](verdict)


def as_text(verdict: Verdict) -> str:
    """For the terminal: the verdict, a table of the metrics, notes, canary and worst items."""
    table = text_table(_header(verdict), [metric_row(entry) for entry in verdict.metrics]) if verdict.metrics else []
    worst = [
        line
        for entry in verdict.worst
        for line in (
            f"  {_worst_words(verdict, entry)}: {entry.candidate_image}",
            *([f"    {entry.link}"] if entry.link else []),
        )
    ]
    return "\n".join(
        [
            f"{verdict.candidate} against {verdict.baseline} ({_extent(verdict)})",
            f"{verdict.verdict.upper()}: {verdict.reason}",
            *(["", *table] if table else []),
            *(["", "worst items:", *worst] if worst else []),
            "",
            *(f"note: {note}" for note in verdict.notes),
            *(f"failed: {line}" for line in verdict.failed[:5]),
            *(f"not measured: {name}: {reason}" for name, reason in verdict.left_out.items()),
            canary_words(verdict),
        ]
    )


def as_markdown(verdict: Verdict) -> str:
    """Ready to paste into a pull request."""
    rows = [list(metric_row(entry)) for entry in verdict.metrics]
    for row, entry in zip(rows, verdict.metrics, strict=True):
        if entry.decision == "regression":
            row[1] = "**regression**"
    lines = [
        f"### blendbench gate: {verdict.verdict}",
        "",
        f"`{verdict.candidate}` against `{verdict.baseline}`, {_extent(verdict)}: {verdict.reason}.",
        "",
    ]
    if rows:
        lines += [
            *markdown_table(_header(verdict), rows, right=(2, 3, 5, 6, 7)),
            "",
            _EXPLANATION.format(verdict.alpha),
            "",
        ]
    lines += [f"- {note}" for note in verdict.notes]
    lines += [f"- failed: {line}" for line in verdict.failed[:5]]
    lines += [f"- not measured: {name} ({reason})" for name, reason in verdict.left_out.items()]
    lines += [f"- {canary_words(verdict)}", ""]
    if verdict.worst:
        lines += ["<details><summary>Worst items</summary>", ""]
        lines += markdown_table(_WORST_HEADER, [_worst_row(verdict, entry) for entry in verdict.worst])
        lines += ["", "Paths are relative to the results folder.", "</details>", ""]
    return "\n".join([*lines, f"<sub>{provenance_words(verdict)}</sub>"])


def as_json(verdict: Verdict) -> str:
    """The stable form that docs/gate.md describes; numbers that do not exist are null."""
    return json.dumps(verdict_record(verdict), indent=1, allow_nan=False)


def as_junit(verdict: Verdict) -> str:
    """JUnit XML: a case for the pairs, the canary and each gated metric; inconclusive is an error, not a failure."""
    gated = [entry for entry in verdict.metrics if entry.decision is not None]
    name = f"blendbench gate: {verdict.candidate} against {verdict.baseline}"
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(gated) + 2))
    _case(suite, verdict, "pairs", ("error", "cells failed", "\n".join(verdict.failed)) if verdict.failed else None)
    unseen = ("error", "canary not detected", verdict.canary.evidence) if not verdict.canary.detected else None
    _case(suite, verdict, "canary", unseen)
    for entry in gated:
        told = ", ".join(
            f"{head} {cell}" for head, cell in zip(_header(verdict)[2:], metric_row(entry)[2:], strict=True) if cell
        )
        bad = {"regression": ("failure", "regression", told), "inconclusive": ("error", "inconclusive", told)}
        _case(suite, verdict, entry.effect.metric.name, bad.get(str(entry.decision)))
    for tag, count in (("failures", "failure"), ("errors", "error")):
        suite.set(tag, str(len(suite.findall(f"testcase/{count}"))))
    suite.set("skipped", "0")
    out = ElementTree.SubElement(suite, "system-out")
    out.text = f"{verdict.verdict}: {verdict.reason}\n{provenance_words(verdict)}"
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


FORMS: dict[str, Callable[[Verdict], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "json": as_json,
    "junit": as_junit,
}


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON values."""
    return {
        "schema": JSON_SCHEMA,
        "verdict": verdict.verdict,
        "exit_code": verdict.exit_code,
        "reason": verdict.reason,
        "experiment": verdict.experiment,
        "candidate": verdict.candidate,
        "baseline": verdict.baseline,
        "items": verdict.items,
        "pairs": verdict.units,
        "alpha": verdict.alpha,
        "canary": asdict(verdict.canary),
        "metrics": [_metric_record(entry) for entry in verdict.metrics],
        "not_measured": verdict.left_out,
        "worst_items": [asdict(entry) for entry in verdict.worst],
        "failed": list(verdict.failed),
        "notes": list(verdict.notes),
        "provenance": verdict.provenance,
    }


def metric_row(entry: MetricVerdict) -> tuple[str, ...]:
    """One row of the table, in the order of HEADER."""
    effect = entry.effect
    metric = _info(effect)
    return (
        metric.name,
        entry.decision or ("withheld" if effect.gated else "not gated"),
        number(effect.baseline_mean, metric),
        number(effect.mean, metric, signed=True),
        f"{number(effect.low, metric, signed=True)} .. {number(effect.high, metric, signed=True)}",
        number(metric.margin, metric),
        "" if entry.p_adjusted is None else p_text(entry.p_adjusted),
        number(effect.detectable, metric),
        needed_words(entry),
    )


def needed_words(entry: MetricVerdict) -> str:
    """How many seeds, or items, would settle an inconclusive metric."""
    needed = entry.needed
    if needed is None:
        return "more items" if entry.decision == "inconclusive" else ""
    items = f"{needed.items} items"
    if needed.seeds is None:
        return f"{items} (no number of seeds)"
    return f"{'at least ' if needed.at_least else ''}{needed.seeds} seeds an item, or {items}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Aligned columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def canary_words(verdict: Verdict) -> str:
    """Whether the canary was detected, and by what."""
    return f"canary {'detected' if verdict.canary.detected else 'NOT detected'}: {verdict.canary.evidence}"


def provenance_words(verdict: Verdict) -> str:
    """Where the numbers come from, in one line."""
    where = verdict.provenance
    versions = ", ".join(f"{e.effect.metric.name} v{e.effect.metric.version}" for e in verdict.metrics)
    return (
        f"{verdict.experiment}; suite {where['suite']} {where['suite_sha256'][:12]}; model set {where['model_set']}"
        f" {where['model_set_sha256'][:12]}; sampler {where['sampler_sha256'][:12]}; {where['dtype']}; {versions};"
        f" run of {where['date'][:19]}, blendbench {where['blendbench_version']}"
    )


def _metric_record(entry: MetricVerdict) -> dict[str, Any]:
    effect = entry.effect
    metric = effect.metric
    values = {
        "baseline_mean": effect.baseline_mean,
        "candidate_mean": effect.candidate_mean,
        "change": effect.mean,
        "change_low": effect.low,
        "change_high": effect.high,
        "change_median": effect.median,
        "worse": effect.worse,
        "margin": metric.margin,
        "floor": effect.floor,
        "p": effect.p,
        "p_adjusted": entry.p_adjusted,
        "p_margin": effect.p_margin,
        "detectable": effect.detectable,
    }
    return {
        "metric": metric.name,
        "version": metric.version,
        "kind": metric.kind,
        "direction": metric.direction,
        "unit": metric.unit,
        "decision": entry.decision,
        **{key: value if value is None or math.isfinite(value) else None for key, value in values.items()},
        "items": effect.items,
        "pairs": effect.units,
        "unscorable_pairs": effect.unscorable,
        "needed": None if entry.needed is None else asdict(entry.needed),
    }


def _case(suite: ElementTree.Element, verdict: Verdict, name: str, bad: tuple[str, str, str] | None) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=f"gate.{verdict.experiment}", name=name, time="0")
    if bad is not None:
        tag, kind, told = bad
        ElementTree.SubElement(case, tag, type=kind, message=told.splitlines()[0]).text = told


def _header(verdict: Verdict) -> tuple[str, ...]:
    return tuple(head.format(round(100 * (1 - verdict.alpha), 1)) for head in HEADER)


def _info(effect: Effect) -> MetricInfo:
    return MetricInfo(**asdict(effect.metric))


def _extent(verdict: Verdict) -> str:
    return f"{verdict.experiment}, {counted(verdict.items, 'item')}, {counted(verdict.units, 'pair')}"


def _change_words(verdict: Verdict, entry: WorstItem) -> str:
    effect = next(m.effect for m in verdict.metrics if m.effect.metric.name == entry.metric)
    return f"{entry.metric} {number(entry.change, _info(effect), signed=True)}"


def _worst_row(verdict: Verdict, entry: WorstItem) -> list[str]:
    images = [f"`{path}`" for path in (entry.candidate_image, entry.baseline_image)]
    item = f"[{entry.item}]({entry.link})" if entry.link else entry.item
    return [item, entry.prompt, str(entry.seed), _change_words(verdict, entry), *images]


def _worst_words(verdict: Verdict, entry: WorstItem) -> str:
    return f"{entry.item}, seed {entry.seed}: {_change_words(verdict, entry)}"
