"""Write random weights: `python -m miniature.untrained --out DIR`.

The model set folder is smaller than the shipped one.

For tests and for work on whatever needs the layout but not the images.
"""

import argparse
from pathlib import Path

import torch

from blendbench.models.miniature import probe
from miniature import architecture, folder, recognition


def write_untrained(out: Path, seed: int = 0) -> None:
    """Write a complete model set folder with seeded random weights."""
    torch.manual_seed(seed)
    folder.write_scaffold(out)
    text = architecture.text_encoder()
    folder.save_component(out, "vision_language", architecture.vision_language_from(text))
    folder.save_component(out, "judge", architecture.vision_language_from(text))
    folder.save_component(out, "text_encoder", text)
    # Narrow: at the shipped widths, noise takes most of the time of a test that generates.
    folder.save_component(out, "vae", architecture.vae(widths=(8, 8, 16, 16)))
    folder.save_component(out, "transformer", architecture.transformer(heads=1))
    for name in ("clip", "siglip"):
        recognition.save_weights(out, name, recognition.network(name))
    probe.save_probe(out / "probe", probe.Probe())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    write_untrained(parser.parse_args().out)
