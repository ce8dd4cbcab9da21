"""Look-up of strategies, steps and metrics by name, their parameters and their source identity."""
