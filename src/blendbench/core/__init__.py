"""Shared types, configuration reading, hashing, errors and files: nothing here imports another layer."""
