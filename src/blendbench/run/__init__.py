"""Runs: plan, encode, blend, denoise, measure; resumable by content."""
