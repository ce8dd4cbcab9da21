"""Registries, plug-in loading, and the identity of registered code.

Torch is loaded only where it is used.
"""
