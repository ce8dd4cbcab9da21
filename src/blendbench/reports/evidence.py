"""The results of a database, as the claims of a hypotheses file ask for them."""

import contextlib
import functools
import json
from collections.abc import Collection, Mapping
from typing import Any

from blendbench.core.config import suggest
from blendbench.core.depths import Depth, is_relative
from blendbench.core.errors import UsageError
from blendbench.core.metric_info import MetricInfo
from blendbench.registry.parameters import value_text
from blendbench.results.pairs import Pairs
from blendbench.results.store import Results
from blendbench.verdict.comparison import Comparison, Comparisons
from blendbench.verdict.primaries import PREFERRED, read_primaries

LAYERS, BLOCKS = ("layer", "text_layer"), ("first", "count")  # settings that may be a percentage of the depth
COLLAPSED = "collapsed"  # the metric of images that show nothing


class CannotOccurError(Exception):
    """A claim that cannot be asked on this model set, with the reason."""


class Evidence:
    """Look up what claims compare; each experiment is read once.

    `wanted`: by experiment, the configurations that will be asked for; the others are not read. Errors of its methods:
    UsageError if the results lack what is asked for, in words that say how to get it.
    """

    def __init__(self, results: Results, wanted: Mapping[str, Collection[str]]) -> None:
        self.results = results
        self._wanted = wanted

    def compare(self, experiment: str, candidate: str, baseline: str) -> Comparison:
        """Compare two configurations.

        Errors: UsageError; CannotOccurError if their percentages of the depth give one configuration.
        """
        first, second = (self.label(experiment, text) for text in (candidate, baseline))
        if first == second and candidate != baseline:
            raise CannotOccurError(f"{candidate} and {baseline} are both {first} on these models")
        return self._comparisons(experiment).compare(experiment, first, second)

    def pairs(self, experiment: str, metric: str, candidate: str, baseline: str) -> Pairs:
        """Return the pairs of a metric, or of the primary metric of a role.

        Errors: as `compare`; UsageError if it was not measured, CannotOccurError if it cannot be.
        """
        compared = self.compare(experiment, candidate, baseline)
        name = self.metric(experiment, metric)
        if name in compared.left_out:
            raise CannotOccurError(f"{name} cannot be measured here: {compared.left_out[name]}")
        if name not in compared.pairs:
            raise UsageError(f"{name} was not measured: not in this run{suggest(name, sorted(compared.pairs))}")
        return compared.pairs[name]

    def collapsed(self, experiment: str, metric: str, candidate: str, baseline: str) -> str:
        """Say how many images show nothing, which count as the worst artifacts; '' for none, or another role's metric.

        Errors: as `pairs`.
        """
        compared = self.compare(experiment, candidate, baseline)
        shown = compared.pairs.get(COLLAPSED)
        pairs = compared.pairs.get(self.metric(experiment, metric))
        if shown is None or pairs is None or pairs.metric.role != "artifact" or pairs.metric.name == COLLAPSED:
            return ""
        counts = [int(values.sum()) for values in (shown.values, shown.baseline_values)]
        sides = f"{counts[0]} of the candidate's {len(shown.items)} images and {counts[1]} of the baseline's"
        return f"; {sides} show nothing" if any(counts) else ""

    def metric(self, experiment: str, metric: str) -> str:
        """Return the name of a metric, given by itself or as a role."""
        if metric not in PREFERRED:
            return metric
        primary = self._primaries(experiment).get(metric)
        if primary is None:
            raise UsageError(f"no metric of the role {metric} was measured in {experiment}")
        return primary.name

    def label(self, experiment: str, text: str) -> str:
        """Return the label that a text names in an experiment's results.

        Percentages of the depth become layers and blocks, and settings at their defaults may be written.
        """
        known = self._configurations(experiment)
        if not known:
            raise UsageError(f"no results of {experiment}; run `blendbench run {experiment}`")
        name, _, settings = text.partition(":")
        given = {
            key: self._at_depth(experiment, key, value)
            for key, _, value in (part.partition("=") for part in settings.split(",") if part)
        }
        wanted = f"{name}:{','.join(f'{key}={value}' for key, value in given.items())}" if given else name
        if wanted in known:
            return wanted
        parts = {f"{key}={value}" for key, value in given.items()}
        for label, params in known.items():
            strategy, _, shown = label.partition(":")
            # A label shows what differs from the defaults: all of that must be given, and the rest must agree.
            if strategy != name or not {part for part in shown.split(",") if part} <= parts:
                continue
            if all(key in params and value_text(params[key]) == value for key, value in given.items()):
                return label
        near = [label for label in known if label.partition(":")[0] == name]
        raise UsageError(
            f"{wanted}: no such configuration in the results of {experiment}{suggest(wanted, near or list(known))}"
        )

    def trained_to_show(self, experiment: str) -> frozenset[str]:
        """Return the losses that build a result into the experiment's models."""
        stored = self._current_run(experiment).get("trained_to_show")
        return frozenset(json.loads(stored)) if stored else frozenset()

    def _at_depth(self, experiment: str, key: str, value: str) -> str:
        if not is_relative(value) or key not in LAYERS + BLOCKS:
            return value
        run = self._current_run(experiment)
        if run["hidden_states"] is None or run["blocks"] is None:
            raise UsageError(f"the depth of the models of {experiment} is not stored; run it again")
        depth = Depth(run["hidden_states"], run["blocks"])
        return depth.layers(value) if key in LAYERS else depth.blocks_of(value)

    @functools.cache  # noqa: B019 - lives as long as one page is made
    def _comparisons(self, experiment: str) -> Comparisons:
        labels: dict[str, None] = {}
        for text in self._wanted[experiment]:
            with contextlib.suppress(UsageError):  # it is reported where it is compared
                labels[self.label(experiment, text)] = None
        return Comparisons(self.results, list(labels))

    @functools.cache  # noqa: B019
    def _primaries(self, experiment: str) -> Mapping[str, MetricInfo]:
        return {str(role): metric for role, metric in read_primaries(self.results, experiment).items()}

    @functools.cache  # noqa: B019
    def _configurations(self, experiment: str) -> dict[str, dict[str, Any]]:
        rows = self.results.rows(
            "SELECT label, any_value(params) FROM current_cells WHERE experiment = ? GROUP BY label ORDER BY label",
            [experiment],
        )
        return {label: json.loads(params) for label, params in rows}

    @functools.cache  # noqa: B019
    def _current_run(self, experiment: str) -> dict[str, Any]:
        rows = self.results.rows(
            "SELECT hidden_states, blocks, trained_to_show FROM runs JOIN current_sets USING (run_id)"
            " WHERE runs.experiment = ?",
            [experiment],
        )
        return dict(zip(("hidden_states", "blocks", "trained_to_show"), rows[0], strict=True)) if rows else {}
