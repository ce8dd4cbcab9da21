"""The miniature model set: its world, captions and ground truth, and its trained weights."""
