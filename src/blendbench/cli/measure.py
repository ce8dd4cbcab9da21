"""`blendbench measure`: score image files from anywhere."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from blendbench.core.images import LoadedImage
    from blendbench.metrics import Batch
    from blendbench.models.sets import ModelSet

_INCOMPLETE = 5
_SHOWN = 5


def measure(
    images: Annotated[list[Path], typer.Argument(help="image files, or folders of them", show_default=False)],
    patch_grid: Annotated[
        int | None, typer.Option(min=2, help="patch period in pixels, VAE stride x patch; 16, or that of --models")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="what the images should show; judged by --models")] = None,
    reference: Annotated[Path | None, typer.Option(help="the image that the conditioning was blended with")] = None,
    baseline: Annotated[Path | None, typer.Option(help="the same prompt and seed without blending")] = None,
    models: Annotated[
        str | None, typer.Option(help="model set with the judging networks: a shipped name or a folder")
    ] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(help="Python file that registers metrics; may be repeated", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="print a JSON array with every value and flag")] = False,
) -> int:
    """Score images with every metric whose inputs are given.

    No results folder is needed. One image gets a sentence ("no grid visible") and a table of its values, several a line
    each. Where an image alone cannot say it, the sentence names what would.

    Files of a folder that are not images are named on stderr. Exit code 5 if an image could not be read or scored.
    """
    for file in plugin or ():
        from blendbench.registry.plugins import load_plugin_file

        load_plugin_file(file)
    for option, path in (("--reference", reference), ("--baseline", baseline)):
        if path is not None and path.is_dir():
            raise UsageError(f"{option} {path}: a folder; name an image file")
    files = [file for path in images for file in _files(path)]
    judges = _judges(models)
    period = patch_grid or (judges.facts.patch_grid if judges else 16)
    if prompt is not None and judges is None:
        print("blendbench: --prompt is judged by the networks of a model set; add --models", file=sys.stderr)
    given = _Inputs(period, prompt, _loaded(reference, "--reference"), _loaded(baseline, "--baseline"), judges)
    records = [_record(path, given) for path in files]
    if json_:
        print(json.dumps(records, indent=1))
    else:
        _print(records, given)
    return 0 if all(record["status"] == "ok" for record in records) else _INCOMPLETE


def _print(records: list[dict[str, Any]], given: "_Inputs") -> None:

    from blendbench.cli.sql import print_whole
    from blendbench.core.files import printable
    from blendbench.metrics import all_metrics
    from blendbench.reports.measured import image_table, sentence, value_table

    units = {name: (str(m.info.role), m.info.unit, m.info.decimals) for name, m in all_metrics().items()}
    console = Console(highlight=False)
    if len(records) == 1:
        (record,) = records
        console.print(f"{printable(record['path'])}: {sentence(record)}", markup=False, soft_wrap=True)
        if record["values"]:
            print_whole(value_table(record, units))
        if record["flags"]:
            console.print(f"flags: {', '.join(record['flags'])}")
    else:
        print_whole(image_table(records, units))
    more = [
        *(["--baseline measures drift"] if given.baseline is None else []),
        *(["--reference with it what came of the reference"] if given.reference is None else []),
        *(["--prompt with --models the prompt"] if given.prompt is None else []),
    ]
    if more:
        console.print(f"{'; '.join(more)}; --json has every value and flag", soft_wrap=True)


@dataclass(frozen=True)
class _Inputs:
    patch_grid: int
    prompt: str | None
    reference: "LoadedImage | None"
    baseline: "LoadedImage | None"
    judges: "ModelSet | None"

    @property
    def generated(self) -> tuple[int, int] | None:
        """Return (height, width) as generated, by the baseline or model set."""
        if self.baseline is not None:
            height, width = self.baseline.pixels.shape[:2]
            return height, width
        return (self.judges.file.sampler.height, self.judges.file.sampler.width) if self.judges else None

    def batch(self, image: "LoadedImage") -> "Batch":
        """Return a batch of one image."""
        from blendbench.metrics import Batch

        return Batch(
            self._tensor(image)[None],
            baselines=None if self.baseline is None else self._tensor(self.baseline)[None],
            references=None if self.reference is None else [self._tensor(self.reference)],
            prompts=None if self.prompt is None else [self.prompt],
            patch_grid=self.patch_grid,
            scorers=self.judges,
        )

    def _tensor(self, image: "LoadedImage") -> "Tensor":
        from blendbench.core.lazy import torch

        return torch.from_numpy(image.pixels).permute(2, 0, 1).to(self.judges.device if self.judges else "cpu")


def _files(path: Path) -> list[Path]:
    """Return a file, or a folder's image files and broken links, by name."""
    from blendbench.core.files import printable
    from blendbench.core.images import image_files, image_suffixes
    from blendbench.core.numbers import listed

    if not path.is_dir():
        return [path]
    found = image_files(path)
    entries = {name: path / name for name in found.left_out}
    broken = [
        entry
        for name, entry in entries.items()
        if entry.suffix.lower() in image_suffixes() and not name.startswith(".") and not entry.is_dir()
    ]
    others = [f"{name}/" if entry.is_dir() else name for name, entry in entries.items() if entry not in broken]
    if not found.images and not broken:
        raise UsageError(f"{path}: no images in this folder ({', '.join(image_suffixes())})")
    if others:
        names = listed([*map(printable, others)], _SHOWN)
        print(f"blendbench: {path}: left out {len(others)} that are not images: {names}", file=sys.stderr)
    return sorted([*found.images, *broken])


def _judges(models: str | None) -> "ModelSet | None":
    if models is None:
        return None
    from blendbench.models.sets import load_model_set

    return load_model_set(models)


def _loaded(path: Path | None, option: str) -> "LoadedImage | None":
    if path is None:
        return None
    from blendbench.core.images import ImageError, load_image

    try:
        return load_image(path)
    except ImageError as error:
        raise UsageError(f"{option} {error}") from error


def _record(path: Path, given: _Inputs) -> dict[str, Any]:
    from blendbench.core.images import ImageError, load_image

    try:
        image = load_image(path)
    except ImageError as error:
        return {"path": str(path), "values": {}, "flags": [], "status": "unreadable", "error": str(error)}
    from blendbench.metrics import all_metrics
    from blendbench.metrics import measure as score
    from blendbench.metrics.flags import pixel_flags

    batch = given.batch(image)
    scores = {name: rows[0] for name, rows in score(batch, list(all_metrics())).items() if rows[0].status != "skipped"}
    cut = any(scores[name].value for name in ("clip_cut_tokens", "siglip_cut_tokens") if name in scores)
    flags = [*image.flags, *pixel_flags(batch, given.generated)[0], *(["prompt_cut"] if cut else [])]
    failed = {name: found.error for name, found in scores.items() if found.status == "failed"}
    record: dict[str, Any] = {"path": str(path), "values": {name: found.value for name, found in scores.items()}}
    record |= {"flags": flags, "status": "failed" if failed else "ok"}
    if failed:
        record["error"] = "; ".join(f"{name}: {error}" for name, error in failed.items())
    if reasons := {name: found.error for name, found in scores.items() if found.status == "unscorable"}:
        record["unscorable"] = reasons
    return record
