"""Stage `transformer`: train the diffusion transformer.

Flow matching on the trained text encoder and VAE.
"""

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ZImageTransformer2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.normalization import RMSNorm
from torch import Tensor, nn
from torch.nn.functional import mse_loss, rms_norm
from transformers import Qwen3ForCausalLM

from blendbench.models.families.z_image.fast import RealRotaryAttention, real_rotations
from blendbench.models.miniature import captions, world
from miniature import architecture
from miniature.tokenizer import prompt
from miniature.train.data import pad_ids, render_images, to_unit, training_scenes
from miniature.train.loop import Batch, Recipe, Training

SHIFT = 3.0  # the sampler's own: training spends its time at the noise levels that sampling visits
VERBOSE = 0.12  # fraction of captions that say everything twice: they fill the second bucket of 32 tokens
TEXT_LAYER = -2
_PATCH = 2


def patches(latents: Tensor) -> Tensor:
    """Convert latents (n, c, h, w) to tokens (n, h/2 * w/2, 4c).

    Channels are innermost, as in the model.
    """
    n, c, h, w = latents.shape
    tiles = latents.view(n, c, h // _PATCH, _PATCH, w // _PATCH, _PATCH)
    return tiles.permute(0, 2, 4, 3, 5, 1).reshape(n, h * w // _PATCH**2, c * _PATCH**2)


class BatchedForward(nn.Module):
    """Run the transformer on batches of equal shape, without Python loops.

    The modules are the same.

    Equal to `ZImageTransformer2DModel.forward` (tests/miniature pins it), which takes lists of single images.
    """

    def __init__(self, model: ZImageTransformer2DModel) -> None:
        super().__init__()
        self.model = model
        self.side = architecture.LATENT[1] // _PATCH

    def rotations(self, caption_tokens: int, device: torch.device) -> Tensor:
        """Return `real_rotations`; image tokens come first.

        They are (1, images + caption tokens, 2 * head_dim).
        """
        grid = torch.cartesian_prod(
            torch.tensor([caption_tokens + 1]), torch.arange(self.side), torch.arange(self.side)
        )
        line = torch.cartesian_prod(torch.arange(1, caption_tokens + 1), torch.tensor([0]), torch.tensor([0]))
        return real_rotations(self.model.rope_embedder(torch.cat([grid, line]).to(device)))[None]

    def forward(self, tokens: Tensor, time: Tensor, caption: Tensor, is_pad: Tensor, rotations: Tensor) -> Tensor:
        """Map tokens, time, captions and padding to velocities (n, 64, 64).

        Tokens (n, 64, 64), time (n,) in 0..1, caption (n, t, dim), is_pad (n, t).
        """
        model, key = self.model, f"{_PATCH}-1"
        count = tokens.shape[1]
        condition = model.t_embedder(time * model.t_scale).to(tokens.dtype)
        x = model.all_x_embedder[key](tokens)
        # Inductor (torch 2.11) compiles wrong gradients for 128 tokens, a thousand times too large: only the short
        # sequences go through compiled blocks, the long ones call the same blocks' forward as it is written.
        short = caption.shape[1] == 32
        for layer in _callables(model.noise_refiner, short):
            x = layer(x, None, rotations[:, :count], condition)
        text = torch.where(is_pad[..., None], model.cap_pad_token, model.cap_embedder(caption))
        for layer in _callables(model.context_refiner, short):
            text = layer(text, None, rotations[:, count:])
        x = torch.cat((x, text.to(x.dtype)), 1)
        for layer in _callables(model.layers, short):
            x = layer(x, None, rotations, condition)
        velocity: Tensor = model.all_final_layer[key](x[:, :count], condition)
        return velocity


def _callables(blocks: nn.ModuleList, compiled: bool) -> list[Callable[..., Tensor]]:
    return list(blocks) if compiled else [block.forward for block in blocks]


def fuse_norms(model: nn.Module) -> None:
    """Replace diffusers' RMSNorm by torch's fused kernel.

    It gives the same numbers with a fifth of the kernels.
    """
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.forward = functools.partial(_fused_norm, module)


def _fused_norm(module: RMSNorm, x: Tensor) -> Tensor:
    return rms_norm(x, x.shape[-1:], module.weight.to(x.dtype), module.eps)


@dataclass(frozen=True)
class Examples:
    """Training inputs on their device, by padded length.

    They are scene rows, caption states and their lengths.
    """

    latents: Tensor
    captions: dict[int, tuple[Tensor, Tensor, Tensor]]


def prepare(out: Path, device: str, scenes: int, workers: int) -> Examples:
    """Encode captions and images with `out`/pipeline/{text_encoder,vae}."""
    chosen, texts = training_scenes(scenes, seed=13, workers=workers)
    return Examples(_latents(out, chosen, device), _conditions(out, chosen, texts, device))


def train(
    out: Path, recipe: Recipe, device: str, scenes: int, workers: int, heads: int = 4, layers: int = 8
) -> tuple[ZImageTransformer2DModel, float]:
    """Train the transformer on the trained text encoder and VAE in `out`."""
    return fit(out, prepare(out, device, scenes, workers), recipe, device, architecture.transformer(heads, layers))


def fit(
    out: Path, examples: Examples, recipe: Recipe, device: str, model: ZImageTransformer2DModel
) -> tuple[ZImageTransformer2DModel, float]:
    """Compute the flow-matching loss.

    The target is clean - noise from (1 - sigma) clean + sigma noise, the pipeline's sign convention.
    """
    torch.manual_seed(13)
    model = model.to(device)
    network = BatchedForward(model)
    rotations = {length: network.rotations(length, torch.device(device)) for length in (32, 64)}
    for module in model.modules():
        if isinstance(module, Attention):
            module.set_processor(RealRotaryAttention())
    if device != "cpu":
        for block in (*model.noise_refiner, *model.context_refiner, *model.layers):
            block.compile(dynamic=False)
    else:
        fuse_norms(model)

    def loss(batch: Batch) -> Tensor:
        clean, noise = batch["clean"].float(), torch.randn_like(batch["clean"], dtype=torch.float32)
        u = torch.rand(len(clean), device=clean.device)
        sigma = (SHIFT * u / (1 + (SHIFT - 1) * u))[:, None, None]
        noisy = (1 - sigma) * clean + sigma * noise
        caption = batch["caption"].float()
        is_pad = torch.arange(caption.shape[1], device=clean.device) >= batch["length"][:, None]
        predicted = network(noisy, 1 - sigma[:, 0, 0], caption, is_pad, rotations[caption.shape[1]])
        return mse_loss(predicted.float(), clean - noise)

    def batches(step: int) -> Batch:
        rows, caption, length = examples.captions[64 if step % round(1 / VERBOSE) == 0 else 32]
        chosen = torch.randint(len(rows), (recipe.batch,), device=device)
        return {"clean": examples.latents[rows[chosen]], "caption": caption[chosen], "length": length[chosen]}

    blocks = ("model.layers", "model.noise_refiner", "model.context_refiner")
    matrices = blocks if recipe.muon else ()
    training = Training(nn.ModuleDict({"model": model}), recipe, out / "checkpoints" / "transformer.pt", matrices)
    final = training.run(loss, batches)
    training.use_average()
    return model, final


@torch.inference_mode()
def _conditions(
    out: Path, scenes: world.Scenes, texts: list[str], device: str
) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    encoder = Qwen3ForCausalLM.from_pretrained(out / "pipeline" / "text_encoder", dtype=torch.float32).to(device)
    rng = random.Random(13)
    verbose = [rng.random() < VERBOSE for _ in texts]
    full = captions.canonical(scenes)
    results = {}
    for wanted, length in ((False, 32), (True, 64)):
        rows = torch.tensor([i for i, is_verbose in enumerate(verbose) if is_verbose == wanted])
        lines = [prompt(f"{texts[i]}. {full[i]}" if wanted else texts[i]) for i in rows.tolist()]
        ids, lengths = pad_ids(lines, length)
        hidden = torch.empty(len(ids), length, architecture.HIDDEN, dtype=torch.bfloat16, device=device)
        for i in range(0, len(ids), 2048):
            states = encoder(ids[i : i + 2048].to(device), output_hidden_states=True, use_cache=False).hidden_states
            hidden[i : i + 2048] = states[TEXT_LAYER]
        results[length] = (rows.to(device), hidden, lengths.to(device))
    return results


@torch.inference_mode()
def _latents(out: Path, scenes: world.Scenes, device: str) -> Tensor:
    """Normalised latents of all scenes as tokens (n, 64, 64) bfloat16."""
    vae = AutoencoderKL.from_pretrained(out / "pipeline" / "vae", dtype=torch.float32).to(device)
    tokens = torch.empty(len(scenes), 64, 64, dtype=torch.bfloat16, device=device)
    for i in range(0, len(scenes), 1024):
        images = render_images(scenes[i : i + 1024], device)
        with torch.autocast(device, torch.bfloat16):
            mean = vae.encode(to_unit(images)).latent_dist.mean.float()
        tokens[i : i + 1024] = patches((mean - vae.config.shift_factor) * vae.config.scaling_factor)
    return tokens
