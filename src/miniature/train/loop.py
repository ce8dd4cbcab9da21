"""The training loop of every stage.

It has warm-up and cosine decay, clipping, averaged weights and checkpoints.

On a GPU the whole step (forward, backward, clipping, AdamW or Muon, averaging) is captured once in a CUDA graph and
replayed: networks this small are bound by kernel launches, and replaying is up to ten times faster than launching.
Batches are therefore copied into fixed buffers; a stage whose batches come in several shapes has one graph a shape.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from miniature.train.muon import Muon

Batch = dict[str, Tensor]
Loss = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one stage.

    `seconds` is the time it may use, and the decay ends when it does.
    """

    seconds: float
    learning_rate: float
    batch: int
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: int = 200
    average: float = 0.998
    clip: float = 1.0
    muon: float = 0.0
    slow: float = 0.1


class Training:
    """A stage's parameters, optimiser and running average, in one file."""

    def __init__(
        self,
        modules: nn.ModuleDict,
        recipe: Recipe,
        checkpoint: Path,
        matrices: tuple[str, ...] = (),
        slow: tuple[str, ...] = (),
    ) -> None:
        """Prepare the optimisers of a network.

        `matrices`: prefixes of the modules that Muon trains; `slow`: of those at `recipe.slow` of the rate.
        """
        self.recipe, self.checkpoint, self.modules = recipe, checkpoint, modules
        named = {name: p for name, p in modules.named_parameters() if p.requires_grad}
        self.parameters = list(named.values())
        self.device = self.parameters[0].device
        on_gpu = self.device.type == "cuda"
        hidden = {n for n, p in named.items() if n.startswith(matrices) and p.ndim == 2} if matrices else set()
        self.muon = None
        self.rates: list[tuple[Tensor, float]] = []
        if hidden:
            self.muon = Muon([named[n] for n in sorted(hidden)], self._rate(recipe.muon))
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in named.items():
            if name not in hidden:
                decays = parameter.ndim >= 2 and "pad_token" not in name
                groups.setdefault((decays, bool(slow) and name.startswith(slow)), []).append(parameter)
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": self._rate(recipe.learning_rate * (recipe.slow if is_slow else 1.0)),
                    "weight_decay": recipe.weight_decay * decays,
                }
                for (decays, is_slow), parameters in groups.items()
            ],
            betas=recipe.betas,
            fused=on_gpu,
            capturable=on_gpu,
        )
        self.average = [p.detach().clone() for p in self.parameters]
        self.average_rate = torch.ones((), device=self.device)
        self.gradient_norm = torch.zeros((), device=self.device)
        self.graphs: dict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, Batch, Tensor]] = {}
        self.step_number, self.used_seconds = 0, 0.0
        if checkpoint.is_file():
            self._load()

    def run(self, loss: Loss, batches: Callable[[int], Batch]) -> float:
        """Train until the recipe's time is used.

        Returns the mean loss of the last 200 steps.
        """
        started, last_save, last_print = time.monotonic() - self.used_seconds, time.monotonic(), 0.0
        history: list[Tensor] = []
        while (elapsed := time.monotonic() - started) < self.recipe.seconds:
            self._set_rate(elapsed / self.recipe.seconds)
            batch = batches(self.step_number)
            started += self._capture_once(loss, batch)
            value = self._step(loss, batch)
            history = [*history[-199:], value.detach().clone()]
            self.step_number += 1
            if time.monotonic() - last_print > 10:
                last_print = time.monotonic()
                recent = torch.stack(history).mean().item()
                norm = self.gradient_norm.item()
                print(f"step {self.step_number} {elapsed:.0f}s loss {recent:.4f} gradient {norm:.2f}", flush=True)
                if not math.isfinite(recent):
                    raise FloatingPointError(
                        f"the loss diverged at step {self.step_number}; the last checkpoint is good"
                    )
            if time.monotonic() - last_save > 60:
                self.used_seconds, last_save = elapsed, time.monotonic()
                self.save()
        self.used_seconds = self.recipe.seconds
        self.save()
        return torch.stack(history).mean().item() if history else math.nan

    def use_average(self) -> None:
        """Put the averaged weights into the modules, for evaluation and saving."""
        with torch.no_grad():
            torch._foreach_copy_([*self.parameters], self.average)

    def save(self) -> None:
        """Write the checkpoint by write-then-rename."""
        state = {
            "parameters": self.parameters,
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "momenta": self.muon.momenta if self.muon else [],
            "step": self.step_number,
            "seconds": self.used_seconds,
            "buffers": dict(self.modules.named_buffers()),
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def _load(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        with torch.no_grad():
            torch._foreach_copy_([*self.parameters], state["parameters"])
            torch._foreach_copy_(self.average, state["average"])
            for name, buffer in self.modules.named_buffers():
                if name in state["buffers"]:
                    buffer.copy_(state["buffers"][name])
            for mine, saved in zip(self.muon.momenta if self.muon else [], state["momenta"], strict=True):
                torch._foreach_copy_(mine, saved)
        rates = [group["lr"] for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, rate in zip(self.optimiser.param_groups, rates, strict=True):
            group["lr"] = rate
        self.step_number, self.used_seconds = state["step"], state["seconds"]
        print(f"resumed at step {self.step_number}", flush=True)

    def _set_rate(self, progress: float) -> None:
        warm = min(1.0, (self.step_number + 1) / self.recipe.warmup)
        decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        for rate, peak in self.rates:
            rate.fill_(peak * warm * decay)
        # A young average must not remember the initial weights: its memory grows with the run.
        self.average_rate.fill_(max(1 - self.recipe.average, 9 / (self.step_number + 10)))

    def _rate(self, peak: float) -> Tensor:
        rate = torch.zeros((), device=self.device)
        self.rates.append((rate, peak))
        return rate

    def _update(self, loss: Loss, batch: Batch) -> Tensor:
        # Matrices this small are twice as fast in float32 on a CPU.
        narrow = self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=narrow, cache_enabled=False):
            value = loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        value.backward()
        self.gradient_norm.copy_(nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip))
        self.optimiser.step()
        if self.muon:
            self.muon.step()
        for average, parameter in zip(self.average, self.parameters, strict=True):
            average.lerp_(parameter.detach(), self.average_rate)
        return value.detach()

    def _step(self, loss: Loss, batch: Batch) -> Tensor:
        if self.device.type != "cuda":
            return self._update(loss, batch)
        graph, buffers, value = self.graphs[_shapes(batch)]
        for name, buffer in buffers.items():
            buffer.copy_(batch[name])
        graph.replay()
        return value

    def _capture_once(self, loss: Loss, batch: Batch) -> float:
        """Capture the step for a new batch shape.

        Returns the seconds it took, which are not training time.
        """
        if self.device.type != "cuda" or _shapes(batch) in self.graphs:
            return 0.0
        began = time.monotonic()
        buffers = {name: value.clone() for name, value in batch.items()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self._update(loss, buffers)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            value = self._update(loss, buffers)
        self.graphs[_shapes(batch)] = (graph, buffers, value)
        return time.monotonic() - began


def _shapes(batch: Batch) -> tuple[object, ...]:
    return tuple((name, tuple(value.shape)) for name, value in batch.items())
