"""All configurations of one setting, by item, and which of them dominates another.

A setting is suite, models, dtype and sampler. Every experiment of a setting counts: what is known does not depend on
where it was measured.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from blendbench.core.metric_info import MetricInfo, Role
from blendbench.results.store import Results
from blendbench.stats.clusters import Array
from blendbench.stats.decide import ALPHA
from blendbench.stats.sign_flip import sign_flip_p
from blendbench.verdict.decide import COSTS, badness
from blendbench.verdict.primaries import read_primaries

BASELINE = "text_only"
# A gain that is lower by less than this counts as no less.
GAIN_SLACK = 0.05


@dataclass(frozen=True)
class Point:
    """A configuration: `family` is its label without the dose.

    `dose` is None for a strategy without one. `upper_bound`: it was trained on data, and bounds what others can reach.
    """

    label: str
    strategy: str
    family: str
    dose: float | None
    control: bool
    upper_bound: bool


@dataclass(frozen=True, eq=False)
class Known:
    """Configurations and their primary values by item.

    `values` has (points, items) by role, NaN where one is missing; `splits` and `strata` have one entry an item.
    """

    metrics: Mapping[Role, MetricInfo]
    points: tuple[Point, ...]
    items: tuple[str, ...]
    splits: tuple[str, ...]
    strata: tuple[str, ...]
    values: Mapping[Role, Array]

    @cached_property
    def index(self) -> dict[str, int]:
        """Return the row of each label."""
        return {point.label: row for row, point in enumerate(self.points)}

    def on(self, split: str) -> "Known":
        """Return the same on the items of one split only."""
        return self._only([own == split for own in self.splits])

    def of_items(self, items: Collection[str]) -> "Known":
        """Return the same on some items only."""
        return self._only([item in items for item in self.items])

    def _only(self, keep: list[bool]) -> "Known":
        kept = np.array(keep, dtype=np.bool_)
        chosen = [index for index, one in enumerate(keep) if one]
        return Known(
            self.metrics,
            self.points,
            tuple(self.items[i] for i in chosen),
            tuple(self.splits[i] for i in chosen),
            tuple(self.strata[i] for i in chosen),
            {role: values[:, kept] for role, values in self.values.items()},
        )

    def differences(self, role: Role, first: int, second: int) -> tuple[Array, NDArray[np.bool_]]:
        """Return first minus second on the items that both have, and which those are."""
        values = self.values[role]
        both = np.isfinite(values[first]) & np.isfinite(values[second])
        return (values[first] - values[second])[both], both

    def rivals(self, label: str) -> list[int]:
        """Return the rows to compare with: of other families, no controls or bounds."""
        family = self.points[self.index[label]].family
        return [
            row
            for row, point in enumerate(self.points)
            if point.family != family and point.label != BASELINE and not point.control and not point.upper_bound
        ]

    def dominating(self, label: str, alpha: float = ALPHA) -> str | None:
        """Return a rival that is shown to dominate a configuration.

        It gains no less (by more than .05), no cost of it is higher by the margin, and one is lower by more than that:
        each shown at `alpha` over the number of rivals, without sampling. Of several it is the one that gains most.
        """
        if "gain" not in self.metrics or label not in self.index:
            return None
        own, rivals = self.index[label], self.rivals(label)
        costs = [role for role in COSTS if role in self.metrics]
        likely = []
        for other in rivals:
            # Means first: where they are not in order no test can be.
            gain = self.mean("gain", other, own)
            worse = {role: self.mean(role, other, own) for role in costs}
            margins = {role: self.metrics[role].margin for role in costs}
            if (
                gain > -GAIN_SLACK
                and all(worse[role] < margins[role] for role in costs)
                and any(worse[role] < -margins[role] for role in costs)
            ):
                likely.append((-gain, self.points[other].label, other))
        for _, name, other in sorted(likely):
            if self._dominance_p(other, own, costs) <= alpha / len(rivals):
                return name
        return None

    def means_against_baseline(self, label: str) -> dict[Role, float]:
        """Return the mean difference to the baseline of each role's primary metric."""
        return {role: self.mean(role, self.index[label], self.index[BASELINE]) for role in self.metrics}

    def _worse(self, role: Role, first: int, second: int) -> Array:
        """Return how much more the first gains, or costs, by item."""
        differences, _ = self.differences(role, first, second)
        if role != "gain":
            return badness(self.metrics[role], differences)
        return differences if self.metrics[role].direction == "higher" else -differences

    def mean(self, role: Role, first: int, second: int) -> float:
        """Return how much more the first gains, or costs, on the items that both have; NaN without any."""
        rows = self._worse(role, first, second)
        return float(rows.mean()) if rows.size else np.nan

    def _dominance_p(self, first: int, second: int, costs: Sequence[Role]) -> float:
        # All parts must hold at once, so the greatest p counts; of the costs any one may be lower.
        p = sign_flip_p(self._worse("gain", first, second) + GAIN_SLACK, "greater")
        rows = {role: self._worse(role, first, second) for role in costs}
        for role, row in rows.items():
            p = max(p, sign_flip_p(self.metrics[role].margin - row, "greater"))
        lower = min(sign_flip_p(-row - self.metrics[role].margin, "greater") for role, row in rows.items())
        return max(p, min(1.0, lower * len(costs)))


def read_known(results: Results, experiment: str, everywhere: bool = True) -> Known:
    """Read the configurations of an experiment's setting.

    `everywhere`: those of all its experiments, each with its newest code; else those of this one alone.
    """
    metrics = read_primaries(results, experiment)
    items = results.rows(_ITEMS, [experiment])
    roles = list(metrics)
    names = [metrics[role].name for role in roles]
    with results.connect() as connection:
        connection.execute(_CELLS, [experiment, everywhere, experiment])
        points = tuple(Point(*row) for row in connection.execute(_POINTS).fetchall())
        found = connection.execute(_VALUES, [names, experiment, names, experiment]).fetchnumpy()
    every = np.full((len(roles), len(points), len(items)), np.nan)
    every[found["of_metric"], found["of_label"], found["of_item"]] = found["value"]
    ids, splits, strata = (tuple(str(row[column]) for row in items) for column in range(3))
    return Known(metrics, points, ids, splits, strata, dict(zip(roles, every, strict=True)))


# The current cells of every experiment of the setting, each configuration with the code of its latest run. One pass
# over few columns: the view of current cells sorts all of them.
_CELLS = f"""
    CREATE TEMP TABLE cells_now AS
    WITH own AS (
        SELECT * FROM current_sets WHERE experiment = ?
    ), same AS (
        SELECT s.experiment FROM current_sets s JOIN own USING (suite_sha256, model_set_sha256, dtype, sampler_sha256)
        WHERE (? OR s.experiment = ?) AND s.baseline = '{BASELINE}'
    ), found AS (
        SELECT label, source_sha256, c.item, c.seed, c.sequence,
            {{'experiment': experiment, 'cell_id': c.cell_id, 'image_sha256': c.image_sha256, 'strategy': c.strategy,
            'family': c.family, 'dose': c.dose, 'control': c.control}} AS cell
        FROM comparable_cells c JOIN same USING (experiment) JOIN current_codes USING (experiment, label, source_sha256)
    ), newest AS (
        SELECT label, arg_max(source_sha256, (sequence, source_sha256)) AS source_sha256 FROM found GROUP BY label
    ), latest AS (
        SELECT label, source_sha256, item, seed,
            arg_max(cell, (sequence, cell.experiment, cell.cell_id)) AS cell
        FROM found JOIN newest USING (label, source_sha256) GROUP BY ALL
    )
    SELECT label, source_sha256, item, seed, unnest(cell) FROM latest
"""
_POINTS = """
    SELECT label, any_value(c.strategy), any_value(family), any_value(dose), bool_or(c.control),
        coalesce(bool_or(s.upper_bound), false)
    FROM cells_now c LEFT JOIN strategies s ON s.strategy = c.strategy AND s.source_sha256 = c.source_sha256
    GROUP BY label ORDER BY label
"""
# One value for each configuration, item and metric, with the place of each in the lists above. Scores are looked up by
# their key, because the view of current scores joins every metric of every experiment.
_VALUES = f"""
    WITH wanted AS (
        SELECT metric, metric_version, scorer_sha256, paired, list_position(?, metric) - 1 AS of_metric
        FROM current_metrics WHERE experiment = ? AND list_contains(?, metric)
    ), baselines AS (
        SELECT item, seed, image_sha256 FROM cells_now WHERE label = '{BASELINE}'
    ), labels AS (
        SELECT label, row_number() OVER (ORDER BY label) - 1 AS of_label FROM (SELECT DISTINCT label FROM cells_now)
    ), places AS (
        SELECT item, row_number() OVER (ORDER BY item) - 1 AS of_item
        FROM items JOIN current_sets USING (suite_sha256) WHERE experiment = ?
    )
    SELECT of_metric, of_label, of_item, avg(s.value ORDER BY c.seed) AS value
    FROM scores s
    JOIN wanted m ON s.metric = m.metric AND s.metric_version = m.metric_version AND s.scorer_sha256 = m.scorer_sha256
    JOIN cells_now c ON s.cell_id = c.cell_id AND s.image_sha256 = c.image_sha256
    JOIN labels USING (label) JOIN places USING (item)
    LEFT JOIN baselines b ON b.item = c.item AND b.seed = c.seed
    WHERE s.status = 'ok'
        AND s.baseline_image_sha256 = CASE WHEN m.paired THEN coalesce(b.image_sha256, '') ELSE '' END
    GROUP BY ALL
"""
_ITEMS = """
    SELECT item, CAST(split AS VARCHAR), stratum FROM items JOIN current_sets USING (suite_sha256)
    WHERE experiment = ? ORDER BY item
"""
