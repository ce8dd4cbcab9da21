"""Types, configuration, hashing, errors and files shared by all layers.

Nothing here imports another layer.
"""
