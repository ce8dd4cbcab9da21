"""Images that were made elsewhere, and what is not known of them."""

from blendbench.results.store import Results

MODEL_SET = "imported"  # what runs name in place of models
_LABELS = """
    SELECT c.label, count(*), count(*) FILTER (c.noise_seed = b.noise_seed)
    FROM current_cells c JOIN current_sets s USING (experiment)
    JOIN current_cells b ON b.experiment = c.experiment AND b.label = s.baseline AND b.item = c.item AND b.seed = c.seed
    WHERE c.experiment = ? AND c.imported IS NOT NULL AND c.label <> s.baseline GROUP BY ALL ORDER BY ALL
"""


def are_imported(results: Results, experiment: str) -> bool:
    """Return whether images of an experiment were made elsewhere."""
    return bool(imported_labels(results, experiment))


def imported_labels(results: Results, experiment: str) -> dict[str, tuple[int, int]]:
    """Return pairs, and those that begin from the same noise, by label of imported images."""
    return {str(label): (pairs, same) for label, pairs, same in results.rows(_LABELS, [experiment])}


def noise_notes(results: Results, experiment: str, label: str | None = None) -> list[str]:
    """Say of which labels (default: all) images are imported, and how many pairs have different or unknown noise."""
    return [
        f"{name}: imported images; the noise is text_only's in {same} of {pairs} pairs"
        + ("" if same == pairs else ", so differences hold the noise too")
        for name, (pairs, same) in imported_labels(results, experiment).items()
        if label in (None, name)
    ]
