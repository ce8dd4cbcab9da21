"""`blendbench import`: take in images that were made elsewhere."""

import math
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from blendbench.core.config import NAME
from blendbench.core.errors import UsageError

_LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
_SHOWN = 5
_INCOMPLETE = 5


def import_(
    folder: Annotated[Path, typer.Argument(help="folder of images that were made elsewhere")],
    label: Annotated[str, typer.Option(help="name of the configuration that made them")],
    suite: Annotated[str, typer.Option(help="suite whose prompts they show: a shipped name or a folder")],
    baseline: Annotated[Path, typer.Option(help="folder of images of the same prompts without the blend")],
    dose: Annotated[float | None, typer.Option(help="how much of the image there is in them")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="file names without suffix, as in {item}_{seed} or {any}-{item}")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="table with the columns file, item or prompt, and seed; for both folders")
    ] = None,
    experiment: Annotated[str, typer.Option(help="experiment that they become part of")] = "imported",
    models: Annotated[
        str | None, typer.Option(help="model set whose networks judge them; without it no metric needs a network")
    ] = None,
    results: Annotated[Path, typer.Option(help="results folder")] = Path("results"),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, for the networks that judge")] = "auto",
) -> int:
    """Store and score images that were made elsewhere, beside a baseline's.

    Prompt and seed come from the files (ComfyUI, AUTOMATIC1111, InvokeAI, PNG texts), from their names (--pattern) or
    from a table (--csv). Images of an item are paired by seed; where seeds differ or are not known, in their order.

    Exit code 5 if files were left out or scores failed.
    """
    if not re.match(_LABEL, label) or label == "text_only":
        raise UsageError(
            f"--label {label!r}: write letters, digits, _, . and -, and not text_only, the baseline's name"
        )
    if not re.fullmatch(NAME, experiment):
        raise UsageError(f"--experiment {experiment!r}: write lower-case letters, digits, _ and -")
    if pattern is not None and csv is not None:
        raise UsageError("--pattern and --csv: both say what the files are; leave one out")
    if dose is not None and not math.isfinite(dose):
        raise UsageError(f"--dose {dose}: write a number")
    from blendbench.core.suites import load_suite
    from blendbench.models.sets import load_model_set
    from blendbench.registry.strategies import all_strategies
    from blendbench.run.importing import import_images
    from blendbench.run.matching import Naming, file_pattern, match, pair, read_table
    from blendbench.run.progress import Reporter

    if (known := all_strategies().get(label)) is not None and known.control:
        raise UsageError(f"--label {label}: is a control, which other configurations are judged by; name it otherwise")
    naming = Naming(read_table(csv) if csv else None, file_pattern(pattern) if pattern else None)
    loaded = load_suite(suite)
    found = match(folder, loaded, naming), match(baseline, loaded, naming)
    pairing = pair(found[0].images, found[1].images)
    judges = load_model_set(models or "miniature", device)
    done = import_images(
        pairing,
        loaded,
        judges,
        results,
        Reporter(),
        experiment=experiment,
        label=label,
        dose=dose,
        judged=models is not None,
    )
    left_out = [*found[0].left_out, *found[1].left_out, *pairing.left_out]
    if left_out:
        more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
        print(f"blendbench: left out {len(left_out)}: {'; '.join(left_out[:_SHOWN])}{more}", file=sys.stderr)
    print(
        f"{done.experiment}: {done.pairs} images of {done.items} of {len(loaded.items)} items as {done.label}, beside"
        f" text_only; the same noise in {done.same_noise} of {done.pairs} pairs; {done.scored} scores measured,"
        f" {done.scores_failed} failed"
    )
    if done.hidden:
        print(
            f"no longer shown: {', '.join(done.hidden)}, compared with other images of the baseline; import them again,"
            " or keep them apart with --experiment"
        )
    if models is None:
        print("metrics that need a network were left out; add --models to judge the prompt and the style")
    print(f"next: blendbench gate --candidate {done.label} --experiment {done.experiment} --results {results}")
    return _INCOMPLETE if left_out or done.scores_failed else 0
