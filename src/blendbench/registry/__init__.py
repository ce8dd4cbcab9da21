"""Registries, plug-in loading, and the identity of registered code."""
