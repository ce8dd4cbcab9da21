"""Shipped blending strategies, one family a file."""
