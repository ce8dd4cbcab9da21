"""Intervals, tests and the one decision that every report words."""
