"""The pages: pure functions of the database, and of the images that it names."""
