"""The gallery: a static folder that shows the pictures of an experiment, opens by file://, and collects blind votes."""

from blendbench.reports.gallery.links import comparison_link, grid_link
from blendbench.reports.gallery.write import write_gallery

__all__ = ["comparison_link", "grid_link", "write_gallery"]
