"""Train the miniature: `python -m miniature.train STAGE --out DIR`."""
