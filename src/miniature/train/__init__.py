"""Training of the miniature model set: `python -m miniature.train STAGE --out DIR`."""
