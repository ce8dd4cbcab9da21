"""The miniature model set: world, captions, ground truth and weights."""
