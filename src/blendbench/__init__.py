"""blendbench: measure how vision embeddings blended into text conditioning change what Z-Image draws."""

__version__ = "0.1.0"
