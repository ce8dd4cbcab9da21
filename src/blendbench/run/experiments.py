"""Experiments: bench/<name>.toml, with strategies, suite and settings."""

import itertools
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from blendbench.core.config import NAME, Strict, checked, placed, suggest, toml_content
from blendbench.core.errors import Problems, UsageError
from blendbench.core.files import printable
from blendbench.core.shipped import shipped
from blendbench.core.suites import Split, list_suites
from blendbench.models.sets import list_model_sets
from blendbench.registry.strategies import get_strategy

Value = str | int | float | bool
_DOSE = "dose"  # in a row of strategies: over the strategy's own grid of doses


@dataclass(frozen=True)
class Grid:
    """A strategy with lists of parameter values.

    `cells` expands them to every combination, in the order written. `dose = "grid"` stands for the strategy's doses.
    """

    name: str
    values: tuple[tuple[str, tuple[Value, ...]], ...]

    def cells(self) -> list[dict[str, Value]]:
        """List the parameters of every combination of the grid's values."""
        values = self.over_doses().values
        names = [name for name, _ in values]
        return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*(v for _, v in values))]

    def over_doses(self) -> "Grid":
        """Replace `dose = "grid"` by the strategy's doses. Errors: UsageError."""
        if (_DOSE, ("grid",)) not in self.values:
            return self
        strategy = get_strategy(self.name)
        if strategy.dose is None:
            raise UsageError(f"{self.name}: dose = 'grid', but the strategy has no dose; leave it out")
        if strategy.dose in dict(self.values):
            raise UsageError(f"{self.name}: dose = 'grid' and {strategy.dose} are both given; leave one out")
        doses = (strategy.dose, strategy.dose_grid)
        return Grid(self.name, tuple(doses if name == _DOSE else (name, values) for name, values in self.values))


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed occurs twice")
    return seeds


Seeds = Annotated[list[int], Field(min_length=1), AfterValidator(_different)]


class Quick(Strict):
    """The scope of `--quick`: the first `items` items and these seeds."""

    items: int = Field(default=4, ge=1)
    seeds: Seeds = Field(default_factory=lambda: [0])


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file.

    `model_set` is what it runs on if nothing else is asked for; `sampler` overrides its sampler; `items` is the number
    of the suite's first items, of one `split` if it is given; `fresh` takes new ones in their place. Depths in its
    strategies may be percentages, which a plan resolves.
    """

    name: str
    title: str
    suite: str
    seeds: tuple[int, ...]
    baseline: str
    strategies: tuple[Grid, ...] = ()
    controls: bool = False
    metrics: tuple[str, ...] = ()
    sampler: tuple[tuple[str, float | str], ...] = ()
    items: int | None = None
    quick_part: Quick = field(default_factory=Quick)
    model_set: str = "miniature"
    split: Split = ""
    fresh: bool = False

    def quick(self) -> "Experiment":
        """Return the quick form, for a first look."""
        part = self.quick_part
        return replace(self, items=min(self.items or part.items, part.items), seeds=tuple(part.seeds))

    def with_overrides(
        self, values: dict[str, tuple[Value, ...]] | None = None, strategies: list[Grid] | None = None
    ) -> "Experiment":
        """Replace strategies, and values of parameters. Errors: UsageError."""
        grids = tuple(grid.over_doses() for grid in strategies or self.strategies)
        for name, chosen in (values or {}).items():
            known = sorted({key for grid in grids for key, _ in grid.values})
            if name not in known:
                raise UsageError(f"--set {name}: no strategy of {self.name} has this parameter{suggest(name, known)}")
            grids = tuple(
                Grid(grid.name, tuple((key, chosen if key == name else old) for key, old in grid.values))
                for grid in grids
            )
        return replace(self, strategies=grids)


class _Sampler(Strict):
    steps: int | None = Field(default=None, ge=1, le=200)
    height: int | None = Field(default=None, ge=16)
    width: int | None = Field(default=None, ge=16)
    shift: float | None = Field(default=None, gt=0)
    precision: Literal["fp8"] | None = None


class ExperimentFile(Strict):
    """The fields of an experiment file; docs/experiments.md explains them."""

    name: str = Field(pattern=NAME)
    title: str
    description: str = ""
    suite: str = "miniature"
    model_set: str = "miniature"
    seeds: Seeds
    baseline: str = "text_only"
    strategies: list[dict[str, Any]] = Field(min_length=1)
    controls: bool = True
    metrics: list[str] = Field(default_factory=list)
    items: int | None = Field(default=None, ge=1)
    sampler: _Sampler = _Sampler()
    quick: Quick = Quick()


_STAND_IN: dict[str, Any] = {"name": "x", "title": "", "seeds": [0], "strategies": [{"name": "text_only"}]}


def list_experiments() -> list[str]:
    """Return the names of the shipped experiments."""
    return sorted(path.stem for path in shipped("bench").glob("*.toml") if path.stem != "hypotheses")


def load_experiment(name_or_path: str | Path) -> Experiment:
    """Load a shipped experiment by name or any by path. Errors: UsageError."""
    problems = Problems()
    experiment = sound_part(experiment_path(name_or_path), problems)
    problems.check()
    return experiment


def sound_part(path: Path, problems: Problems) -> Experiment:
    """Read what is right in an experiment file, and add what is wrong to `problems`.

    A field that is wrong or missing has a stand-in. Errors: UsageError (not TOML).
    """
    content = toml_content(path)
    with problems.collected():
        checked(content, ExperimentFile, printable(path))
    file = ExperimentFile.model_validate(_STAND_IN)
    for key, value in content.items():
        with suppress(ValidationError):
            file = ExperimentFile.model_validate(file.model_dump(exclude_unset=True) | {key: value})
    strategies = []
    for row in file.strategies:
        with problems.collected():
            strategies.append(_grid(path, row))
    return Experiment(
        name=file.name,
        title=file.title,
        suite=placed(path, file.suite, list_suites()),
        seeds=tuple(file.seeds),
        baseline=file.baseline,
        strategies=tuple(strategies),
        controls=file.controls,
        metrics=tuple(file.metrics),
        sampler=tuple((k, v) for k, v in file.sampler.model_dump().items() if v is not None),
        items=file.items,
        quick_part=file.quick,
        model_set=placed(path, file.model_set, list_model_sets()),
    )


def experiment_path(name_or_path: str | Path) -> Path:
    """Return the file of an experiment. Errors: UsageError (unknown name)."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        return path
    path = shipped("bench") / f"{name_or_path}.toml"
    if not path.is_file():
        raise UsageError(f"unknown experiment {str(name_or_path)!r}{suggest(str(name_or_path), list_experiments())}")
    return path


def _grid(path: Path, row: dict[str, Any]) -> Grid:
    if not isinstance(row.get("name"), str):
        raise UsageError(f"{path}: strategies: each needs a name, as in {{name = 'lerp', alpha = [0.1, 0.3]}}")
    values = {key: value for key, value in row.items() if key != "name"}
    return Grid(row["name"], _values(path, f"strategies.{row['name']}", values))


def _values(path: Path, where: str, row: dict[str, Any]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    values = {key: value if isinstance(value, list) else [value] for key, value in row.items()}
    for key, chosen in values.items():
        if not chosen or not all(isinstance(v, Value) for v in chosen):
            raise UsageError(f"{path}: {where}.{key}: give a value or a non-empty list of values")
    return tuple((key, tuple(chosen)) for key, chosen in values.items())
