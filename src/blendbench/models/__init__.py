"""Everything with weights: model sets, encoders, the diffusion pipeline and the scorers."""
