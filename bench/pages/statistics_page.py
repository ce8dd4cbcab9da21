"""Write reports/statistics.md: how often the statistics are right where the truth is known.

Use `python bench/pages/statistics_page.py [--out reports/statistics.md] [--data reports/data] [--quick]`.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import interval_coverage as coverage
import truths
from interval_coverage import Coverage
from samples import SIZES, kinds, read_real
from scipy.special import betaincinv
from truths import Change, Simulation

from blendbench.reports.formats import markdown_table
from blendbench.stats.lost import items_needed

LEAST_COVERAGE = 0.93
MOST_WRONG = 0.05


@dataclass(frozen=True)
class Trials:
    """Numbers of samples: of intervals, ranks, outcomes by items, power, and optional stopping."""

    intervals: int
    ranks: int
    outcomes: dict[int, int]
    skewed: dict[int, int]
    power: int
    looks: int


FULL = Trials(1000, 600, {24: 300, 72: 300, 288: 150}, {24: 300, 72: 300, 288: 100}, 300, 300)
QUICK = Trials(100, 40, {24: 40, 72: 40, 288: 15}, {24: 40}, 60, 40)


@dataclass(frozen=True)
class Promise:
    """A promise and what was measured: a rate over so many trials, and the limit it must keep."""

    text: str
    rate: float
    trials: int
    limit: float
    least: bool = False

    @property
    def kept(self) -> bool:
        """Return whether the measured rate does not contradict the promise.

        It does where its exact one-sided 97.5 % bound lies beyond the limit.
        """
        count = round(self.rate * self.trials)
        if self.least:
            return self.rate >= self.limit or _upper(count, self.trials) >= self.limit
        return self.rate <= self.limit or 1 - _upper(self.trials - count, self.trials) <= self.limit

    @property
    def row(self) -> tuple[str, ...]:
        """Return the row of the table: three columns, which a narrow screen has room for."""
        sign = "at least" if self.least else "at most"
        return (
            self.text,
            f"{_percent(self.rate)}<br>{sign} {_percent(self.limit)}",
            f"{_word(self.kept)}<br>{self.trials}",
        )


def _upper(count: int, trials: int) -> float:
    return 1.0 if count == trials else float(betaincinv(count + 1, trials - count, 0.975))


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _word(kept: bool) -> str:
    return "yes" if kept else "**NO**"


def write_page(out: Path, data: Path, trials: Trials) -> list[Promise]:
    """Measure everything and write the page; return its promises.

    Errors: UsageError if the published data are missing.
    """
    began = time.process_time()
    parts = [_intervals(data, trials), *(part(trials) for part in (_ranks, _outcomes, _lost, _looks, _power))]
    promises = [promise for _, found in parts for promise in found]
    broken = [promise.text for promise in promises if not promise.kept]
    said = f"{len(broken)} do not hold: {'; '.join(broken)}" if broken else "all hold"
    lines = [
        "# Statistics, measured where the truth is known",
        "",
        f"Of {len(promises)} promises about intervals, ranks and outcomes {said}.",
        "",
        *markdown_table(("promise", "measured, limit", "holds, samples"), [p.row for p in promises], (1, 2)),
        "",
        "A promise fails where the measured rate contradicts it, by the exact one-sided 97.5 % bound.",
        "",
        *(line for lines, _ in parts for line in lines),
        "## Method",
        "",
        f"Written by `make statistics` in {time.process_time() - began:.0f} s of one core; seeds are fixed.",
        "What is measured: [the gate](../docs/gate.md).",
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
    return promises


def _intervals(data: Path, trials: Trials) -> tuple[list[str], list[Promise]]:
    found = kinds(read_real(data))
    promised = [kind.name for kind in found if kind.promised]
    measured = coverage.covers(found, trials.intervals)
    least = {kind.name: min((r for r in measured if r.kind == kind.name), key=lambda r: r.covered) for kind in found}
    worst = min((least[name] for name in promised), key=lambda row: row.covered)
    blind = min((row for name, row in least.items() if name not in promised), key=lambda row: row.covered)
    widest = max(row.width / row.t_width for row in measured if row.kind == "normal")
    losses = coverage.loss_covers(trials.ranks)
    bounds = coverage.lost_bound_covers(20 * trials.intervals)
    lines = [
        "## Intervals",
        "",
        f"95 % intervals cover the true mean in {_percent(worst.covered)} or more of the samples of {len(promised)}"
        f" kinds of data at {SIZES[0]} to {SIZES[-1]} items (least: {worst.kind}, {worst.items} items); on normal data"
        f" they are at most {100 * (widest - 1):.0f} % wider than Student's t.",
        "",
        f"Percent covered, and in brackets by Student's t alone; {trials.intervals} samples each. Zero-inflated: one"
        " item in ten changes. Lost items: one in twenty falls by .5 to 1, the others by nothing that matters. Real"
        " scores: the published differences to text_only on the primary metrics, their items resampled.",
        "",
        *_coverage_table(measured),
        "",
        f"Not promised are the last kinds (least: {blind.kind}, {blind.items} items, {_percent(blind.covered)}):"
        " no interval of few items can know rare changes that were not seen, where the others vary too or the metric"
        " has no greatest value. The bound of the items lost is for these. It holds the true fraction (2.5, 5 and 10 %)"
        f" in {_percent(min(bounds.values()))} or more of the samples.",
        "",
        "The relative loss of the headline, where a tenth is lost: "
        + ", ".join(f"{items} items {_percent(rate)}" for items, rate in losses.items())
        + ".",
        "",
    ]
    promises = [
        Promise(f"95 % interval covers: {name}", least[name].covered, trials.intervals, LEAST_COVERAGE, least=True)
        for name in promised
    ]
    promises += [
        Promise("95 % interval covers: relative loss", min(losses.values()), trials.ranks, LEAST_COVERAGE, least=True),
        Promise("bound of the items lost holds", min(bounds.values()), 20 * trials.intervals, 0.95, least=True),
    ]
    return lines, promises


def _coverage_table(measured: list[Coverage]) -> list[str]:
    by = {(row.kind, row.items): row for row in measured}
    rows = [
        (kind, *(f"{100 * by[kind, n].covered:.1f} ({100 * by[kind, n].t_covered:.0f})" for n in SIZES))
        for kind in dict.fromkeys(row.kind for row in measured)
    ]
    return markdown_table(("data", *(f"{n} items" for n in SIZES)), rows, tuple(range(1, len(SIZES) + 1)))


def _ranks(trials: Trials) -> tuple[list[str], list[Promise]]:
    found = coverage.rank_rates(trials.ranks)
    held = min(row.held for row in found)
    rows = [(row.case, str(row.items), _percent(row.held), _percent(row.tied)) for row in found]
    lines = [
        "## Ranks and ties",
        "",
        f"All true ranks of {found[0].configurations} configurations are held at once in {_percent(held)} or more of"
        " the samples: no two equal ones are separated, and no order is wrong.",
        "",
        *markdown_table(("configurations", "items", "all ranks held", "the best tied with the best"), rows, (1, 2, 3)),
        "",
    ]
    return lines, [Promise("all true ranks are held at once", held, trials.ranks, 0.95, least=True)]


def _outcomes(trials: Trials) -> tuple[list[str], list[Promise]]:
    normal = _Outcomes({items: Simulation(count, items) for items, count in trials.outcomes.items()})
    skewed = _Outcomes({items: Simulation(count, items, skewed=True) for items, count in trials.skewed.items()})
    worst, tails = max(normal.wrong.values()), max(skewed.wrong.items(), key=lambda entry: entry[1])
    most = max(trials.outcomes)
    undecided = normal.counts[truths.POWER, most]["undecided"] / trials.outcomes[most]
    lines = [
        "## Outcomes of the gate",
        "",
        f"No wrong outcome is given in more than {_percent(worst)} of the samples with normal changes, and a gain of"
        f" .10 with an SD of .3 is undecided in {_percent(undecided)} at {most} items. Long tails raise the commonest"
        f" error to {_percent(tails[1])} ({tails[0][0]}, {tails[0][1]} items).",
        "",
        "Artifacts and drift do not change, and the other roles vary by .1, unless stated. In percent: the commonest"
        " wrong outcome / the one that is hoped for / undecided.",
        "",
        *normal.table(),
        "",
        "The same where changes have a long tail on the bad side (skewness 2.3), which sign flips are not exact for:",
        "",
        *skewed.table(),
        "",
    ]
    promises = []
    for truth in truths.TRUTHS:
        rates = {items: normal.wrong[truth.name, items] for items in trials.outcomes}
        items = max(rates, key=lambda n: rates[n])
        promises.append(
            Promise(f"commonest wrong outcome: {truth.name}", rates[items], trials.outcomes[items], MOST_WRONG)
        )
    promises.append(Promise(f"undecided at {most} items: {truths.POWER}", undecided, trials.outcomes[most], 0.20))
    return lines, promises


class _Outcomes:
    """The outcomes of every truth, by its name and the number of items."""

    def __init__(self, simulations: dict[int, Simulation]) -> None:
        self.trials = {items: simulation.trials for items, simulation in simulations.items()}
        self.counts = {
            (truth.name, items): simulation.outcomes(truth)
            for items, simulation in simulations.items()
            for truth in truths.TRUTHS
        }
        self.wrong = {
            (truth.name, items): max(self.counts[truth.name, items][word] for word in truth.wrong) / count
            for items, count in self.trials.items()
            for truth in truths.TRUTHS
        }

    def table(self) -> list[str]:
        """Return a row for each truth."""
        rows = []
        for truth in truths.TRUTHS:
            cells = []
            for items, count in self.trials.items():
                counts = self.counts[truth.name, items]
                right, open_ = (100 * counts[word] / count for word in (truth.right, "undecided"))
                cells.append(f"{100 * self.wrong[truth.name, items]:.1f} / {right:.0f} / {open_:.0f}")
            rows.append((truth.name, truth.right, *cells))
        return markdown_table(
            ("truth", "hoped for", *(f"{items} items" for items in self.trials)),
            rows,
            tuple(range(2, 2 + len(self.trials))),
        )


def _lost(trials: Trials) -> tuple[list[str], list[Promise]]:
    rows, promises = [], []
    rates: dict[tuple[int, float], float] = {}
    for items, count in trials.outcomes.items():
        found = truths.pass_rates(Simulation(count, items), Change(0.2))
        rates |= {(items, probability): rate for probability, rate in found.items()}
        rows.append((str(items), *(_percent(rate) for rate in found.values())))
        if items >= 72:
            promises.append(
                Promise(f"passes though 10 % of items are lost, {items} items", found[0.10], count, MOST_WRONG)
            )
            promises.append(Promise(f"passes if none is lost, {items} items", found[0.0], count, 0.90, True))
    lines = [
        "## Items lost",
        "",
        f"A candidate that loses 10 % of the items passes in {_percent(rates[72, 0.1])} of the samples of 72 items and"
        f" in {_percent(rates[288, 0.1])} of 288; one that loses none in {_percent(rates[72, 0.0])} and"
        f" {_percent(rates[288, 0.0])}. With 24 items nothing passes: {items_needed()} are needed.",
        "",
        "It gains .2. Passing means better, cheaper or no effect; a trade states its loss and is none of these.",
        "",
        *markdown_table(
            ("items", *(f"{100 * p:g} % lost" for p in truths.LOSSES)), rows, tuple(range(len(truths.LOSSES) + 1))
        ),
        "",
    ]
    return lines, promises


def _looks(trials: Trials) -> tuple[list[str], list[Promise]]:
    ideas, items = 10, 72
    paid, free = (truths.ideas_at_margin(trials.looks, items, ideas, paid) for paid in (True, False))
    halves = truths.half_looks_at_margin(trials.looks, items)
    lines = [
        "## Optional stopping",
        "",
        f"Of {ideas} ideas tried in turn, each worse by just the margin, any passes in {_percent(paid)} of the samples"
        f" where looks are paid for, and in {_percent(free)} where they are not ({items} items).",
        "",
        f"A look after half of the items and one after all (`check`) pass one in {_percent(halves)}.",
        "",
    ]
    return lines, [
        Promise(f"any of {ideas} ideas at the margin passes", paid, trials.looks, MOST_WRONG),
        Promise("an idea at the margin passes in one of two looks", halves, trials.looks, MOST_WRONG),
    ]


def _power(trials: Trials) -> tuple[list[str], list[Promise]]:
    power = coverage.power_at_detectable(trials.power)
    settled = coverage.settled_at_needed(trials.power)
    least, most = min(power.values()), max(power.values())
    lines = [
        "## Power",
        "",
        f"The difference called detectable is found in {_percent(least)} to {_percent(most)} of the samples, where"
        f" .8 is meant, and the number of items called needed settles a metric in {_percent(min(settled.values()))} to"
        f" {_percent(max(settled.values()))}.",
        "",
        *markdown_table(
            ("metrics in the family", "items", "power at detectable"),
            [(str(tests), str(items), _percent(rate)) for (tests, items), rate in power.items()],
            (0, 1, 2),
        ),
        "",
        *markdown_table(
            ("true mean (SD .08, margin .02)", "items needed", "settled"),
            [(f"{mean:g}", str(items), _percent(rate)) for (mean, items), rate in settled.items()],
            (0, 1, 2),
        ),
        "",
    ]
    return lines, [
        Promise("power at the detectable difference, least", least, trials.power, 0.75, least=True),
        Promise("power at the detectable difference, most", most, trials.power, 0.85),
        Promise("settled by the items needed", min(settled.values()), trials.power, 0.75, least=True),
    ]


def main() -> None:
    """Write the page and name what is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/statistics.md"))
    parser.add_argument("--data", type=Path, default=Path("reports/data"), help="folder of the published parquet files")
    parser.add_argument("--quick", action="store_true", help="few samples: a look at the page in under a minute")
    options = parser.parse_args()
    promises = write_page(options.out, options.data, QUICK if options.quick else FULL)
    print(f"written: {options.out}; {sum(p.kept for p in promises)} of {len(promises)} promises hold")


if __name__ == "__main__":
    main()
