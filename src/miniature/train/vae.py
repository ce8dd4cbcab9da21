"""Stage `vae`: train an autoencoder with a compact latent space.

The latent space forgives small errors.

The Kullback-Leibler term is strong enough that channels which an image does not need collapse to the prior, and that
the decoder is used to noisy latents: a small transformer then has less to learn, and its errors are decoded cleanly.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, mse_loss

from miniature import architecture
from miniature.train.data import render_images, to_unit, training_scenes
from miniature.train.loop import Batch, Recipe, Training

KL_WEIGHT = 2e-3


def train(out: Path, recipe: Recipe, device: str, scenes: int, workers: int) -> tuple[AutoencoderKL, float]:
    """Train the VAE; set scaling and shift from its training images' latents."""
    torch.manual_seed(12)
    torch.backends.cudnn.benchmark = True
    model = architecture.vae().to(device, memory_format=torch.channels_last)
    images = render_images(training_scenes(scenes, seed=12, workers=workers)[0], device)

    def loss(batch: Batch) -> Tensor:
        target = to_unit(batch["images"]).contiguous(memory_format=torch.channels_last)
        posterior = model.encode(target).latent_dist
        decoded = model.decode(posterior.sample()).sample.float()
        divergence = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
        edges = sum(l1_loss(decoded.diff(dim=axis), target.diff(dim=axis)) for axis in (2, 3))
        coarse = l1_loss(avg_pool2d(decoded, 4), avg_pool2d(target, 4))
        total: Tensor = l1_loss(decoded, target) + mse_loss(decoded, target)
        total = total + 0.5 * edges + 0.5 * coarse + KL_WEIGHT * divergence
        return total

    def batches(_step: int) -> Batch:
        return {"images": images[torch.randint(len(images), (recipe.batch,), device=device)]}

    training = Training(nn.ModuleDict({"vae": model}), recipe, out / "checkpoints" / "vae.pt")
    final = training.run(loss, batches)
    training.use_average()
    with torch.inference_mode():
        latents = model.encode(to_unit(images[:2048])).latent_dist.mean
    model.register_to_config(scaling_factor=1 / latents.std().item(), shift_factor=latents.mean().item())
    return model, final


@torch.inference_mode()
def round_trip(model: AutoencoderKL, images: Tensor) -> Tensor:
    """Encode and decode uint8 images (n, 3, 128, 128).

    The result is uint8 again.
    """
    decoded: Tensor = model.decode(model.encode(to_unit(images)).latent_dist.mean).sample
    return ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def psnr(a: Tensor, b: Tensor) -> float:
    """Return the peak signal-to-noise ratio of uint8 images in dB.

    It comes from the mean squared error over all of them.
    """
    return float(10 * torch.log10(255**2 / mse_loss(a.float(), b.float())))
