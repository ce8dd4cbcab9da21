"""The gallery: a static folder of an experiment's images for file://.

It also collects blind votes.
"""

from blendbench.reports.gallery.links import Gallery, comparison_link, find_gallery, grid_link, named_gallery
from blendbench.reports.gallery.write import write_gallery

__all__ = ["Gallery", "comparison_link", "find_gallery", "grid_link", "named_gallery", "write_gallery"]
