"""Registries, plug-in loading, and the identity of registered code; torch is loaded only where it is used."""
