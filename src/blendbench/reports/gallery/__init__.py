"""The gallery: a static folder of images for file://, and its blind votes."""
