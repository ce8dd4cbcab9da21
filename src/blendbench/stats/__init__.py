"""Paired statistics with items as clusters.

Seeds of one item are not independent, so items are averaged to, resampled and counted. Resamples come from a generator
with a fixed seed; no decision uses one.
"""
