"""A verdict as text, markdown for pull requests, JSON and JUnit XML."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

from blendbench.reports.formats import counted, markdown_table, number, p_text, text_table
from blendbench.reports.gallery.links import Gallery
from blendbench.verdict.decide import Effect
from blendbench.verdict.verdict import Verdict, WorstItem

JSON_SCHEMA = 2
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
    "Change: candidate minus baseline, mean over items. Pass: better, or equivalent (both one-sided tests against the"
    " margin, p at most {0:.3g}). Regression: worse, p (sign flips, two-sided, Holm within the metric's role) at most"
    " {0:.3g}. Detectable: the true change that is found with power .8."
)


def with_links(verdict: Verdict, gallery: Gallery | None) -> Verdict:
    """Link a verdict's worst items into a gallery that shows them."""
    if gallery is None:
        return verdict

    def linked(entry: WorstItem) -> WorstItem:
        pair = ((verdict.baseline, entry.baseline_image), (verdict.candidate, entry.candidate_image))
        return replace(entry, link=gallery.comparison(entry.item, entry.seed, *pair))

    return replace(verdict, worst=tuple(map(linked, verdict.worst)))


def render(verdict: Verdict, form: str) -> str:
    """Render the verdict as text, markdown, json or junit.

    Ends without a newline.
    """
    return FORMS[form](verdict)


def as_text(verdict: Verdict) -> str:
    """Render a verdict for the terminal.

    It has the metrics, notes, canary and worst items.
    """
    table = (
        text_table(_header(verdict), [metric_row(verdict, effect) for effect in verdict.effects])
        if verdict.effects
        else []
    )
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
    """Render for a pull request."""
    rows = [list(metric_row(verdict, effect)) for effect in verdict.effects]
    for row, effect in zip(rows, verdict.effects, strict=True):
        if effect.outcome == "regression":
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
    """Render the stable form that docs/gate.md describes.

    Numbers that do not exist are null.
    """
    return json.dumps(verdict_record(verdict), indent=1, allow_nan=False)


def as_junit(verdict: Verdict) -> str:
    """Render JUnit XML: a case for pairs, canary and each gated metric.

    Inconclusive is an error, not a failure.
    """
    gated = [effect for effect in verdict.effects if effect.outcome is not None]
    name = f"blendbench gate: {verdict.candidate} against {verdict.baseline}"
    suite = ElementTree.Element("testsuite", name=name, tests=str(len(gated) + 2))
    _case(suite, verdict, "pairs", ("error", "cells failed", "\n".join(verdict.failed)) if verdict.failed else None)
    unseen = ("error", "canary not detected", verdict.canary.evidence) if not verdict.canary.detected else None
    _case(suite, verdict, "canary", unseen)
    for effect in gated:
        columns = zip(_header(verdict)[2:], metric_row(verdict, effect)[2:], strict=True)
        text = ", ".join(f"{head} {cell}" for head, cell in columns if cell)
        bad = {"regression": ("failure", "regression", text), "inconclusive": ("error", "inconclusive", text)}
        _case(suite, verdict, effect.metric.name, bad.get(str(effect.outcome)))
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
    """Return the verdict as JSON values."""
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
        "metrics": [_metric_record(verdict, effect) for effect in verdict.effects],
        "not_measured": verdict.left_out,
        "worst_items": [asdict(entry) for entry in verdict.worst],
        "failed": list(verdict.failed),
        "notes": list(verdict.notes),
        "provenance": verdict.provenance,
    }


def metric_row(verdict: Verdict, effect: Effect) -> tuple[str, ...]:
    """Return one row of the table, in the order of HEADER."""
    metric = effect.metric
    return (
        metric.name,
        effect.outcome or ("withheld" if effect.gated else "not gated"),
        number(effect.baseline_mean, metric),
        number(effect.mean, metric, signed=True),
        f"{number(effect.low, metric, signed=True)} .. {number(effect.high, metric, signed=True)}",
        number(metric.margin, metric),
        p_text(effect.p_adjusted) if effect.outcome and effect.p_adjusted is not None else "",
        number(effect.detectable(verdict.alpha), metric),
        _needed_words(verdict, effect),
    )


def _needed_words(verdict: Verdict, effect: Effect) -> str:
    """Return how many items would settle an inconclusive metric."""
    if effect.outcome != "inconclusive":
        return ""
    needed = effect.needed_items(verdict.alpha)
    return "more items" if needed is None else f"{needed} items"


def canary_words(verdict: Verdict) -> str:
    """Return whether the canary was detected, and by what."""
    return f"canary {'detected' if verdict.canary.detected else 'NOT detected'}: {verdict.canary.evidence}"


def provenance_words(verdict: Verdict) -> str:
    """Return where the numbers come from, in one line."""
    where = verdict.provenance
    versions = ", ".join(f"{effect.metric.name} v{effect.metric.version}" for effect in verdict.effects)
    return (
        f"{verdict.experiment}; suite {where['suite']} {where['suite_sha256'][:12]}; model set {where['model_set']}"
        f" {where['model_set_sha256'][:12]}; sampler {where['sampler_sha256'][:12]}; {where['dtype']}; {versions};"
        f" run of {where['date'][:19]}, blendbench {where['blendbench_version']}"
    )


def _metric_record(verdict: Verdict, effect: Effect) -> dict[str, Any]:
    metric, test, decided = effect.metric, effect.test, effect.outcome is not None
    values = {
        "baseline_mean": effect.baseline_mean,
        "candidate_mean": effect.candidate_mean,
        "change": effect.mean,
        "change_low": effect.low,
        "change_high": effect.high,
        "change_median": effect.median,
        "worse": effect.worse,
        "margin": metric.margin,
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
        "direction": metric.direction,
        "unit": metric.unit,
        "decision": effect.outcome,
        **{key: value if value is None or math.isfinite(value) else None for key, value in values.items()},
        "items": effect.items,
        "pairs": effect.units,
        "unscorable_pairs": effect.unscorable,
        "needed_items": effect.needed_items(verdict.alpha) if effect.outcome == "inconclusive" else None,
    }


def _case(suite: ElementTree.Element, verdict: Verdict, name: str, bad: tuple[str, str, str] | None) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=f"gate.{verdict.experiment}", name=name, time="0")
    if bad is not None:
        tag, kind, text = bad
        ElementTree.SubElement(case, tag, type=kind, message=text.splitlines()[0]).text = text


def _header(verdict: Verdict) -> tuple[str, ...]:
    return tuple(head.format(round(100 * (1 - verdict.alpha), 1)) for head in HEADER)


def _extent(verdict: Verdict) -> str:
    return f"{verdict.experiment}, {counted(verdict.items, 'item')}, {counted(verdict.units, 'pair')}"


def _change_words(verdict: Verdict, entry: WorstItem) -> str:
    metric = next(effect.metric for effect in verdict.effects if effect.metric.name == entry.metric)
    return f"{entry.metric} {number(entry.change, metric, signed=True)}"


def _worst_row(verdict: Verdict, entry: WorstItem) -> list[str]:
    images = [f"`{path}`" for path in (entry.candidate_image, entry.baseline_image)]
    item = f"[{entry.item}]({entry.link})" if entry.link else entry.item
    return [item, entry.prompt, str(entry.seed), _change_words(verdict, entry), *images]


def _worst_words(verdict: Verdict, entry: WorstItem) -> str:
    return f"{entry.item}, seed {entry.seed}: {_change_words(verdict, entry)}"
