"""Paired statistics with items as clusters.

Seeds of one item are not independent, so items are what is averaged to, resampled and counted.

- `clusters`: means of clusters, and resamples of them
- `intervals`: estimates with confidence intervals, for display; `rare`: their ends where few clusters differ
- `sign_flip`: p-values without sampling, for decisions
- `decide`: tests of a paired difference, Holm's correction, and the one decision that follows
- `lost`: items lost, with the exact bound of their fraction
- `ranks`: simultaneous ranks and ties, and rank correlation, for display

Resamples come from a generator with a fixed seed. No decision uses one.
"""
