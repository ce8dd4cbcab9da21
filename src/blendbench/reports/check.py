"""The page of `blendbench check`: the verdicts, and every item side by side."""

from collections.abc import Collection
from pathlib import Path

from blendbench.reports.contact_sheet import draw_tiles
from blendbench.reports.folders import made
from blendbench.reports.gallery.links import FOLDER, find_gallery
from blendbench.reports.gate_formats import as_markdown, with_links
from blendbench.results.store import Results
from blendbench.verdict.verdict import CANARY, Verdict

PAGE, SHEET = "check.md", "check.png"


def write_check(
    results: Results, results_dir: Path, verdicts: list[Verdict], cell_ids: Collection[str], out: Path
) -> Path:
    """Write `out`/check.md with its image: reference, baseline, candidates and canary of each item's first seed.

    The worst items link into the gallery of the experiment where it shows the images that were judged.
    """
    made(out)
    labels = [verdicts[0].baseline, *(verdict.candidate for verdict in verdicts), CANARY]
    _draw(results, results_dir, verdicts[0].experiment, labels, cell_ids, out / SHEET)
    lines = ["# Side by side", "", f"![reference, {', '.join(labels)}]({SHEET})", ""]
    lines += ["Rows are items, all at their first seed; columns share the initial noise.", ""]
    gallery = find_gallery(results_dir / FOLDER / verdicts[0].experiment, seen_from=out)
    if gallery is not None:
        lines += [f"[Every image]({gallery.grid()}) can be looked at and compared in the gallery.", ""]
    for verdict in verdicts:
        lines += [as_markdown(with_links(verdict, gallery)), ""]
    page = out / PAGE
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def _draw(
    results: Results, results_dir: Path, experiment: str, labels: list[str], cell_ids: Collection[str], path: Path
) -> None:
    rows = results.query(
        """
        SELECT c.label, c.item, c.image_sha256, i.prompt, i.reference_image
        FROM cells c LEFT JOIN items i USING (suite_sha256, item)
        WHERE c.experiment = ? AND list_contains(?, c.cell_id) AND list_contains(?, c.label)
        QUALIFY c.seed = min(c.seed) OVER () ORDER BY c.item
        """,
        [experiment, list(cell_ids), labels],
    )
    prompts, tiles = [], []
    for _, cells in rows.groupby("item", sort=True):
        first = cells.iloc[0]
        images = dict(zip(cells["label"], cells["image_sha256"], strict=True))
        reference = first["reference_image"]
        prompts.append(str(first["prompt"]))
        tiles.append(
            [results_dir / reference if isinstance(reference, str) else None]
            + [_path(results_dir, images.get(label)) for label in labels]
        )
    draw_tiles(["reference", *labels], prompts, tiles).save(path, "PNG")


def _path(results_dir: Path, sha256: object) -> Path | None:
    return results_dir / "images" / sha256[:2] / f"{sha256}.png" if isinstance(sha256, str) else None
