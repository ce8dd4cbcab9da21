"""One static folder of the published pages, for any web server and for the disk."""
