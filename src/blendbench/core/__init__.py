"""Types, configuration, hashing, errors and files shared by all layers."""
