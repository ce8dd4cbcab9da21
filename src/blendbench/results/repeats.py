"""Count cells that were generated again, and those whose images differ."""

from typing import NamedTuple

from blendbench.results.store import Results


class Repeats(NamedTuple):
    """How many cells were generated again, and how many of these have other pixels."""

    repeated: int
    differing: int

    @property
    def sentence(self) -> str:
        """Say it in a sentence, without a full stop."""
        if self.differing:
            return (
                f"{self.differing} of {self.repeated} cells generated again have other pixels: images depend on their"
                " batch or on chance here"
            )
        return f"{self.repeated} of {self.repeated} cells generated again have the same pixels"


def read_repeats(results: Results, experiment: str) -> Repeats:
    """Count the current cells of an experiment that `run --repeat` generated again, in any run."""
    ((repeated, differing),) = results.rows(
        """
        SELECT count(DISTINCT cell_id), count(DISTINCT cell_id) FILTER (again_sha256 <> image_sha256)
        FROM repeats SEMI JOIN (FROM current_cells WHERE experiment = ?) USING (cell_id, image_sha256)
        WHERE again_sha256 IS NOT NULL
        """,
        [experiment],
    )
    return Repeats(int(repeated), int(differing))
