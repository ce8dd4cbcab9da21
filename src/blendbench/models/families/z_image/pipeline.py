"""The networks of a pipeline's folder in the official layout."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blendbench.models.families.z_image.transformer import Transformer
from blendbench.models.families.z_image.vae import Autoencoder
from blendbench.models.loading import load_complete, load_network, quiet_loading


@dataclass
class Pipeline:
    """What generates images: transformer and autoencoder."""

    transformer: Transformer
    vae: Autoencoder

    @property
    def vae_scale_factor(self) -> int:
        """Return the pixels of a latent, along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))


def load_pipeline(folder: Path, dtype: torch.dtype, device: str) -> Pipeline:
    """Load transformer and autoencoder. Errors: ValueError if weights are missing."""
    transformer = load_network(Transformer, folder / "transformer", dtype, device)
    return Pipeline(transformer, load_network(Autoencoder, folder / "vae", dtype, device))


def load_text_encoder(folder: Path, dtype: torch.dtype, device: str) -> tuple[Any, Any]:
    """Load the text encoder that the pipeline's index names, and tokenizer.

    Errors: ValueError if weights are missing.
    """
    import transformers

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    with quiet_loading():
        encoder = load_complete(getattr(transformers, index["text_encoder"][1]), folder / "text_encoder", dtype, device)
        tokenizer = getattr(transformers, index["tokenizer"][1]).from_pretrained(
            str(folder / "tokenizer"), trust_remote_code=False, local_files_only=True
        )
    return encoder, tokenizer
