"""Training of the miniature model set: `python -m blendbench.models.miniature.train STAGE --out DIR`."""
