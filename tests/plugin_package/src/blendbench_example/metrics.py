"""A third-party metric; its card is the file `example_sharpness.md` beside this one."""

from torch import Tensor

from blendbench.metrics import Batch, metric, shared_input


@shared_input("example_edges", needs=("luma",))
def edges(batch: Batch) -> Tensor:
    """Return (n, h, w - 1) absolute differences of neighbours along a row."""
    luma: Tensor = batch["luma"]
    return luma.diff(dim=-1).abs()


@metric("example_sharpness", needs=("example_edges",))
def example_sharpness(batch: Batch) -> Tensor:
    """Return (n,) mean differences of neighbours along a row."""
    return edges(batch).mean((-2, -1))
