"""Pages: pure functions of the database and the images that it names."""
