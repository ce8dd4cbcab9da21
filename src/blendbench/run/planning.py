"""Turn an experiment and the user's options into a plan."""

import atexit
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from blendbench.core.depths import is_relative
from blendbench.core.errors import Problems, UsageError
from blendbench.core.shipped import shipped
from blendbench.core.suites import Split
from blendbench.run.experiments import Experiment, Grid, Value, experiment_path, sound_part

if TYPE_CHECKING:
    from blendbench.models.sets import ModelSet
    from blendbench.run.cluster import Cluster
    from blendbench.run.plan import Plan

# Development items of a check; with the baseline and the canary generated before, half a minute on two cores.
CHECK_ITEMS = 36


def load_plugins(paths: list[Path]) -> list[str]:
    """Import files of strategies; return what they add. Errors: UsageError."""
    from blendbench.registry.loading import load_plugin

    return [name for path in paths for name in load_plugin(path)]


def single_grid(text: str) -> Grid:
    """Parse `NAME[:param=value,...]` as a grid of one configuration.

    `dose=grid` among the parameters makes it one of the strategy's doses. Depths may be percentages.
    Errors: UsageError.
    """
    from blendbench.registry.strategies import parse_configuration

    name, _, settings = text.partition(":")
    given = [setting.strip() for setting in settings.split(",")]
    own = [setting for setting in given if setting != "dose=grid"]
    # Percentages of the depth wait for the models.
    relative = dict(setting.partition("=")[::2] for setting in own if is_relative(setting))
    configuration = parse_configuration(f"{name}:{','.join(setting for setting in own if not is_relative(setting))}")
    values: tuple[tuple[str, tuple[Value, ...]], ...] = tuple(
        (key, (value,)) for key, value in (configuration.params | relative).items()
    )
    if len(own) < len(given):
        dose = configuration.strategy.dose
        if any(setting.partition("=")[0].strip() == dose for setting in own):
            raise UsageError(f"{text}: dose=grid and {dose} are both given; leave one out")
        values = (("dose", ("grid",)), *(pair for pair in values if pair[0] != dose))
    return Grid(configuration.strategy.name, values)


def checked_experiment(name_or_path: str | Path, with_suite: bool = False) -> tuple[Experiment, int]:
    """Expand an experiment whose models, strategies, values and metrics exist.

    Returns it with the number of its configurations on its own model set. `with_suite` checks the suite that it names
    too, which a run on other models may not use. Plug-ins that it names have to be loaded before. Errors: UsageError
    with everything that is wrong.
    """
    from blendbench.core.suites import load_suite
    from blendbench.metrics import get_metric
    from blendbench.models.sets import load_model_set
    from blendbench.registry.strategies import get_strategy
    from blendbench.run.plan import configurations

    problems, own = Problems(), Problems()
    experiment = sound_part(experiment_path(name_or_path), problems)
    for name in experiment.metrics:
        with own.collected():
            get_metric(name)
    with own.collected():
        get_strategy(experiment.baseline)
    depth = load_model_set("miniature").facts.depth
    with own.collected():
        depth = load_model_set(experiment.model_set).facts.depth
    for grid in experiment.strategies:
        with own.collected():
            configurations(replace(experiment, baseline="text_only", strategies=(grid,), controls=False), depth)
    problems.add(*(f"{name_or_path}: {line}" for line in own))
    if with_suite:
        with problems.collected():
            load_suite(experiment.suite)
    problems.check()
    try:
        return experiment, len(configurations(experiment, depth)[1])
    except UsageError as error:  # two of the same label
        raise UsageError(f"{name_or_path}: {error}") from None


def selected(
    experiment: Experiment,
    items: int | None = None,
    seeds: str | None = None,
    split: Split = "",
    fresh: int | None = None,
) -> Experiment:
    """Return an experiment on the items and seeds of the options.

    `items`: the first ones, of `split` if it is given; `seeds`: numbers with commas; `fresh`: as many new items of the
    suite's world, under a name of its own, so that they never take the place of the suite. Errors: UsageError.
    """
    if items is not None and fresh is not None:
        raise UsageError("--items and --fresh: both give a number of items; leave one out")
    if fresh is not None:
        experiment = replace(experiment, name=f"{experiment.name}-fresh", items=fresh, fresh=True)
    return replace(
        experiment,
        items=experiment.items if items is None else items,
        seeds=experiment.seeds if seeds is None else _seeds(seeds),
        split=split,
    )


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--seeds {text}: write whole numbers with commas, as in 0,1") from None
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text}: a seed occurs twice")
    return seeds


def plan_on_models(
    experiment: Experiment,
    models: str,
    device: str,
    prompt: str | None = None,
    image: Path | None = None,
    memory_budget: float | None = None,
    hash_weights: bool = True,
    cluster: "Cluster | None" = None,
) -> tuple["Plan", "ModelSet"]:
    """Load what an experiment names and expand it.

    `prompt` or `image` make it a private trial of one item. `memory_budget` and `hash_weights` as `load_model_set`
    takes them; `cluster`: where the networks will be. Errors: UsageError, before anything is loaded or written.
    """
    from blendbench.core.suites import load_suite, trial
    from blendbench.models.sets import load_model_set
    from blendbench.run.plan import configurations, make_plan, metrics_of

    metrics_of(experiment)
    model_set = load_model_set(models, device, dict(experiment.sampler), memory_budget, hash_weights)
    if cluster is not None:
        model_set.place(cluster.device)
    model_set.check()
    configurations(experiment, model_set.facts.depth)  # a wrong value is found before weights are hashed
    suite = load_suite(suite_on(experiment, model_set))
    if prompt is not None or image is not None:
        if experiment.split or experiment.fresh:
            raise UsageError("--prompt and --image are a trial of one item; leave out --split and --fresh")
        suite = trial(suite, prompt, image)
        experiment = replace(experiment, name=f"{experiment.name}-trial", items=None)
    elif experiment.fresh:
        if suite.folder != shipped("prompts").absolute() / "miniature":
            raise UsageError(f"--fresh: only the world of the suite miniature is known, not that of {suite.name}")
        from blendbench.models.miniature.suite import fresh

        # The references live as long as this process.
        folder = Path(tempfile.mkdtemp(prefix="blendbench-fresh-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        suite = fresh(suite, experiment.items or 0, experiment.split, folder)
    return make_plan(experiment, suite, model_set), model_set


def suite_on(experiment: Experiment, model_set: "ModelSet") -> str:
    """Return the suite of an experiment on a model set.

    On other models than the experiment is written for, the model set's own suite takes the place of the experiment's.
    Models are other if their content is: a set that was renamed or moved is the same one.
    """
    from blendbench.models.sets import load_model_set

    own = load_model_set(experiment.model_set)
    elsewhere = own.folder != model_set.folder and own.sha256 != model_set.sha256
    return (elsewhere and model_set.suite) or experiment.suite
