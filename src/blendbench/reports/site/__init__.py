"""One static folder of the published pages, for any web server and for the disk."""

from blendbench.reports.site.write import write_site

__all__ = ["write_site"]
