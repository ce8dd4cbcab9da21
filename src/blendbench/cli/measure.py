"""`blendbench measure`: score any images from anywhere."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blendbench.core.errors import UsageError

if TYPE_CHECKING:
    from blendbench.metrics.files import Opened
    from blendbench.models.sets import ModelSet

_INCOMPLETE = 5
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


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
    json_: Annotated[bool, typer.Option("--json", help="print one JSON array instead of one object a line")] = False,
) -> int:
    """Score images with every metric whose inputs are given; no results folder is needed.

    Exit code 5 if some image could not be read or scored.
    """
    for path in [path for path in (reference, baseline) if path is not None]:
        if not path.is_file():
            raise UsageError(f"{path}: {'a folder; name an image file' if path.is_dir() else 'no such image'}")
    files = [file for path in images for file in _files(path)]
    judges = _judges(models)
    period = patch_grid or (judges.patch_grid if judges else 16)
    if prompt is not None and judges is None:
        print("blendbench: --prompt is judged by the networks of a model set; add --models", file=sys.stderr)
    given = _Inputs(period, prompt, _opened(reference, "--reference"), _opened(baseline, "--baseline"), judges)
    records = []
    for path in files:
        records.append(_record(path, given))
        if not json_:
            print(json.dumps(records[-1]), flush=True)
    if json_:
        print(json.dumps(records, indent=1))
    return 0 if all(record["status"] == "ok" for record in records) else _INCOMPLETE


@dataclass(frozen=True)
class _Inputs:
    """What is known about all the images."""

    patch_grid: int
    prompt: str | None
    reference: "Opened | None"
    baseline: "Opened | None"
    judges: "ModelSet | None"

    @property
    def generated(self) -> tuple[int, int] | None:
        """(height, width) that the generator made: the baseline's, or the model set's own."""
        if self.baseline is not None:
            height, width = self.baseline.pixels.shape[-2:]
            return height, width
        return (self.judges.file.sampler.height, self.judges.file.sampler.width) if self.judges else None


def _files(path: Path) -> list[Path]:
    """A file itself, or the files directly in a folder whose name is an image's, by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"{path}: no such image")
    files = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix.lower() in _SUFFIXES]
    if not files:
        raise UsageError(f"{path}: no images in this folder ({', '.join(_SUFFIXES)})")
    return files


def _judges(models: str | None) -> "ModelSet | None":
    if models is None:
        return None
    from blendbench.models.sets import load_model_set

    return load_model_set(models)


def _opened(path: Path | None, option: str) -> "Opened | None":
    if path is None:
        return None
    from blendbench.metrics.files import ImageError, open_image

    try:
        return open_image(path)
    except ImageError as error:
        raise UsageError(f"{option} {path}: {error}") from error


def _record(path: Path, given: _Inputs) -> dict[str, Any]:
    from blendbench.metrics.files import ImageError, open_image

    try:
        opened = open_image(path)
    except ImageError as error:
        return {"path": str(path), "values": {}, "flags": [], "status": "unreadable", "error": str(error)}
    from blendbench.metrics import Batch, all_metrics
    from blendbench.metrics import measure as score
    from blendbench.metrics.flags import pixel_flags

    device = given.judges.device if given.judges else "cpu"
    batch = Batch(
        opened.pixels[None].to(device),
        baselines=None if given.baseline is None else given.baseline.pixels[None].to(device),
        references=None if given.reference is None else [given.reference.pixels.to(device)],
        prompts=None if given.prompt is None else [given.prompt],
        patch_grid=given.patch_grid,
        scorers=given.judges,
    )
    scores = {name: rows[0] for name, rows in score(batch, list(all_metrics())).items() if rows[0].status != "skipped"}
    cut = any(scores[name].value for name in ("clip_cut_tokens", "siglip_cut_tokens") if name in scores)
    flags = [*opened.flags, *pixel_flags(batch, given.generated)[0], *(["prompt_cut"] if cut else [])]
    failed = {name: found.error for name, found in scores.items() if found.status == "failed"}
    record: dict[str, Any] = {"path": str(path), "values": {name: found.value for name, found in scores.items()}}
    record |= {"flags": flags, "status": "failed" if failed else "ok"}
    if failed:
        record["error"] = "; ".join(f"{name}: {error}" for name, error in failed.items())
    if reasons := {name: found.error for name, found in scores.items() if found.status == "unscorable"}:
        record["unscorable"] = reasons
    return record
