"""Check ideas in one process, with models that stay loaded."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from blendbench.core.errors import UsageError
from blendbench.core.files import write_atomically
from blendbench.core.hashing import sha256_json
from blendbench.core.suites import Split, load_suite
from blendbench.models.sets import load_model_set
from blendbench.registry.loading import load_plugin
from blendbench.registry.parameters import plain_function
from blendbench.registry.strategies import all_strategies, parse_configuration
from blendbench.reports.gallery.links import DATA
from blendbench.reports.gallery.links import FOLDER as GALLERIES
from blendbench.results.shards import shard_paths
from blendbench.results.store import open_results
from blendbench.run.experiments import Grid, load_experiment
from blendbench.run.loop import run
from blendbench.run.plan import Plan, configurations, make_plan
from blendbench.run.planning import CHECK_ITEMS, single_grid, suite_on
from blendbench.run.progress import Reporter
from blendbench.run.resume import is_finished
from blendbench.stats.decide import ALPHA
from blendbench.verdict import Effect, Verdict, gate
from blendbench.verdict.canary import CANARY
from blendbench.verdict.outcome import Word, gravest
from blendbench.verdict.sentence import sentence
from blendbench.verdict.sequential import Look, looks, settled

if TYPE_CHECKING:
    from blendbench.run.cluster import Cluster

_PAGES = ".pages.json"  # in the folder of the page: what it and the gallery were written for
EXPERIMENT = "check"
Idea = str | Path | Callable[..., Any]


@dataclass(frozen=True, repr=False)
class CheckResult:
    """The verdicts of a check, and where to look at the images.

    `page` has the verdicts and the items side by side, `gallery` all images. `items` is the number of items that were
    asked for, `most` of those that the suite has; a verdict may need fewer (`Verdict.items`). `generated` counts the
    cells that this check generated.
    """

    verdicts: tuple[Verdict, ...]
    page: Path
    gallery: Path
    items: int
    most: int
    generated: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Return the verdict, of several the gravest."""
        return next(verdict for verdict in self.verdicts if verdict.exit_code == self.exit_code)

    @property
    def exit_code(self) -> int:
        """Return the exit code of `blendbench check`."""
        return gravest([verdict.exit_code for verdict in self.verdicts])

    @property
    def outcome(self) -> Word:
        """Return the outcome in one word, of several the gravest."""
        return self.verdict.outcome

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence, of several the gravest."""
        return sentence(self.verdict)

    @property
    def gain(self) -> Effect | None:
        """Return the effect on the primary gain metric."""
        return self.verdict.gain

    @property
    def costs(self) -> list[Effect]:
        """Return the effects on prompt, artifacts and drift."""
        return self.verdict.costs

    def __repr__(self) -> str:
        lines = [f"{verdict.outcome.upper()} {sentence(verdict)}" for verdict in self.verdicts]
        done = f"{self.generated} cells generated in {self.seconds:.1f} s; exit code {self.exit_code}"
        return "\n".join([*lines, done, f"side by side: {self.page}", f"to compare: {self.gallery.resolve().as_uri()}"])


class Session:
    """Check ideas against a model set that is loaded once.

    Args:
        models: A shipped model set, or a folder with a model_set.toml.
        results: The results folder; finished cells are reused.
        device: Where the models run.
        memory_budget: GiB of GPU memory to use; default: what is free.
        quiet: Whether no progress is shown.
        cluster: Workers that load the models in place of this process; whoever made it closes it.

    Errors: UsageError, for a model set that cannot be used.
    """

    def __init__(
        self,
        models: str | Path = "miniature",
        results: str | Path = "results",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        *,
        memory_budget: float | None = None,
        quiet: bool = False,
        cluster: "Cluster | None" = None,
    ) -> None:
        core = load_experiment("core")
        # An experiment of its own: a candidate must not stand in the leaderboard of core. Of the controls it needs one.
        self.experiment = replace(core, name=EXPERIMENT, controls=False, items=None)
        self.models = load_model_set(models, device, dict(core.sampler), memory_budget)
        self.results = Path(results)
        self.quiet = quiet
        self.cluster = cluster
        if cluster is not None:
            self.models.place(cluster.device)
        self._suite: str | None = None
        self._last: tuple[object, object, CheckResult] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the models; a later check loads them again."""
        self.models.unload()
        self._last = None

    def check(
        self,
        idea: Idea,
        *,
        baseline: str = "text_only",
        items: int = CHECK_ITEMS,
        sequential: bool = True,
        out: str | Path | None = None,
    ) -> CheckResult:
        """Generate what is missing of an idea, and judge it.

        Args:
            idea: A function that is registered as a strategy, a configuration such as "lerp:alpha=0.3", or a Python
                file that registers strategies. A file that was changed is loaded again.
            baseline: The configuration to compare with.
            items: How many development items to generate.
            sequential: Whether to judge after half of the items, and to generate the rest only if need be.
            out: The folder of the page; default: RESULTS/check.

        Errors: UsageError, in one line.
        """
        began = time.perf_counter()
        if items < 1:
            raise UsageError(f"items={items}: a check needs at least one item")
        strategies = _strategies(idea)  # first: the baseline may stand in the file
        reference = parse_configuration(baseline).label
        if [parse_configuration(text).label for text in strategies] == [reference]:
            raise UsageError(f"{idea}: its only strategy is the baseline, {reference}; name another baseline")
        grids = tuple(single_grid(text) for text in (baseline, *strategies, CANARY))
        plan, most = self._plan(grids, items)
        names = {grid.name for grid in grids[1:-1]}
        candidates = [c.label for c in plan.configurations if c.strategy.name in names and c.label != reference]
        folder = Path(out) if out is not None else self.results / EXPERIMENT
        cells = [(cell.cell_id, cell.configuration.label) for cell in plan.cells]
        measured = [(metric.name, metric.version, metric.scorer_sha256) for metric in plan.metrics]
        asked = (plan.suite.sha256, cells, measured, candidates, reference, sequential, folder)
        if self._last is not None and self._last[:2] == (asked, self._written(folder)):
            return replace(self._last[2], generated=0, seconds=time.perf_counter() - began)
        verdicts, generated = self._judge(plan, candidates, reference, sequential)
        page, gallery = self._write_pages(verdicts, sha256_json(repr(asked)), folder)
        seconds = time.perf_counter() - began
        result = CheckResult(verdicts, page, gallery, len(plan.items), most, generated, seconds)
        self._last = (asked, self._written(folder), result)
        return result

    def _plan(self, strategies: tuple[Grid, ...], items: int) -> tuple[Plan, int]:
        """Plan the first development items, or the first items of a suite without any; and count these."""
        self.models.check()
        experiment = replace(self.experiment, strategies=strategies)
        configurations(experiment, self.models.facts.depth)  # a wrong value is found before weights are hashed
        self._suite = self._suite or suite_on(experiment, self.models)
        suite = load_suite(self._suite)
        split: Split = "dev" if any(item.split == "dev" for item in suite.items) else ""
        most = len(suite.of_split(split))
        return make_plan(replace(experiment, split=split, items=min(items, most)), suite, self.models), most

    def _judge(
        self, plan: Plan, candidates: list[str], reference: str, sequential: bool
    ) -> tuple[tuple[Verdict, ...], int]:
        """Generate and judge, in one look or two; the verdicts and the number of generated cells."""
        verdicts: dict[str, Verdict] = {}
        generated = 0
        # Looked at in parts, what is finished would be planned anew for each.
        finished = is_finished(plan, self.models, self.results)
        for look in self._looks(len(plan.items), sequential):
            pending = [label for label in candidates if label not in verdicts or not settled(verdicts[label].outcome)]
            if not pending:
                break
            part = _part(plan, look.items, leaving_out=set(candidates) - set(pending))
            if not finished:
                reporter = Reporter(quiet=self.quiet)
                done = run(part, self.models, self.results, reporter, wanted=pending, cluster=self.cluster)
                if done.stopped:
                    raise UsageError(f"stopped early, {done.untried} cells were not tried: {done.stopped}")
                generated += done.generated
            names = [item.id for item in part.items]
            with open_results(self.results).held() as opened:
                for label in pending:
                    # What an idea loses in single items is reported; only the gate requires that it is little.
                    verdicts[label] = gate(opened, label, reference, EXPERIMENT, names, look.alpha, tolerated=None)
        return tuple(verdicts.values()), generated

    def _looks(self, items: int, sequential: bool) -> tuple[Look, ...]:
        return looks(items, self.models.file.sampler.batch_size) if sequential else (Look(items, ALPHA),)

    def _write_pages(self, verdicts: tuple[Verdict, ...], asked: str, folder: Path) -> tuple[Path, Path]:
        """Write the page and the gallery, unless they are there for these results by this program; their paths."""
        stamp = folder / _PAGES
        with suppress(OSError, ValueError, TypeError, KeyError):
            found = json.loads(stamp.read_text(encoding="utf-8"))
            if found["for"] == [asked, self._state(folder)]:
                return Path(found["page"]), Path(found["gallery"])
        from blendbench.reports.check import write_check
        from blendbench.reports.gallery.write import write_gallery

        with open_results(self.results).held() as opened:
            gallery, *_ = write_gallery(opened, self.results, experiment=EXPERIMENT)
            page = write_check(opened, self.results, verdicts, folder)
        written = {"for": [asked, self._state(folder)], "page": str(page), "gallery": str(gallery)}
        write_atomically(stamp, json.dumps(written).encode())
        return page, gallery

    def _state(self, folder: Path) -> str:
        own = Path(__file__).parent.rglob("*.*")
        code = [(str(path), path.stat().st_mtime_ns) for path in sorted(own) if path.suffix != ".pyc"]
        return sha256_json(repr([self._written(folder), code]))

    def _written(self, folder: Path) -> tuple[object, ...]:
        """Return what changes when results or pages do."""
        pages = [path for kind in ("*.md", "*.webp") for path in sorted(folder.glob(kind))]
        paths = [*shard_paths(self.results), *pages, self.results / GALLERIES / EXPERIMENT / DATA]
        return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.exists())


def _strategies(idea: Idea) -> list[str]:
    """Return the strategies of an idea, loading its file. Errors: UsageError."""
    if callable(idea):
        found = [s for s in all_strategies().values() if plain_function(s.function) is plain_function(idea)]
        if not found:
            raise UsageError(f"{idea!r}: not registered; decorate it with blendbench.blending.strategy")
        if changed := [strategy.name for strategy in found if strategy.is_outdated]:
            raise UsageError(f"{changed[0]}: its files have changed since it was loaded; check its file instead")
        return [strategy.name for strategy in found]
    if isinstance(idea, str) and not idea.endswith(".py"):
        return [idea]
    added = load_plugin(Path(idea))
    if not added:
        trial = f"blendbench run core --plugin {idea} --strategy lerp:align=STEP"
        raise UsageError(f"{idea}: registers no strategy, only steps of strategies; try one with `{trial}`")
    return added


def _part(plan: Plan, items: int, leaving_out: set[str]) -> Plan:
    """Return the plan on its first items, without some configurations."""
    chosen = plan.items[:items]
    ids = {item.id for item in chosen}
    configurations = tuple(c for c in plan.configurations if c.label not in leaving_out)
    cells = tuple(cell for cell in plan.cells if cell.item.id in ids and cell.configuration in configurations)
    return replace(plan, items=chosen, configurations=configurations, cells=cells)
