"""Conditionings: caption rows, their schedule, and where else they act."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from blendbench.core.lazy import Tensor, torch


class BlendError(ValueError):
    """A strategy gave no usable conditioning; the cell fails with this message."""


@dataclass(frozen=True)
class Denoising:
    """Hold what a strategy may know of the sampling.

    `sigmas`: the noise level in (0, 1] before each transformer call, from high to low. `blocks`: the number of blocks
    in the transformer's main stream.
    """

    sigmas: tuple[float, ...]
    blocks: int


@dataclass(frozen=True)
class Conditioning:
    """Hold what the transformer reads.

    `steps`: arrays (tokens, dim) of one shape, one for each transformer call, or a single one for all of them.
    `injected`: an array of that shape, which the main stream's `blocks` (from 0) read in place of `steps`; all other
    blocks do not see it. `strength`: the noise level in (0, 1] at which denoising starts from the item's reference
    image; 1 starts from noise alone.
    """

    steps: tuple[Tensor, ...]
    injected: Tensor | None = None
    blocks: tuple[int, ...] = ()
    strength: float = 1.0

    @property
    def rows(self) -> Tensor:
        """Return what the first transformer call reads."""
        return self.steps[0]

    def checked(self, name: str, dim: int, denoising: Denoising | None) -> "Conditioning":
        """Check the parts and return them in one canonical form.

        Float32 on the CPU, in memory of its own; equal steps become one, and an injection that changes nothing is
        dropped, so that conditionings that do the same are equal. Errors: BlendError (no steps, a wrong shape, a value
        that is not real and finite, a schedule of another length than the sampling).
        """
        if not self.steps:
            raise BlendError(f"{name} gave a conditioning without steps")
        steps = tuple(_checked(name, rows, dim) for rows in self.steps)
        calls = len(denoising.sigmas) if denoising else len(steps)
        if len(steps) not in (1, calls):
            raise BlendError(f"{name} gave {len(steps)} steps; the transformer is called {calls} times")
        if any(rows.shape != steps[0].shape for rows in steps):
            raise BlendError(f"{name}: all steps of a schedule must have one shape")
        if all(torch.equal(rows, steps[0]) for rows in steps):
            steps = steps[:1]
        if not 0 < self.strength <= 1:
            raise BlendError(f"{name}: strength = {self.strength} is outside (0, 1]")
        injected = None if self.injected is None or not self.blocks else _checked(name, self.injected, dim)
        if injected is not None and torch.equal(injected, steps[0]):
            injected = None
        if injected is not None:
            self._check_injection(name, injected, steps, denoising)
        if len(steps) > 1 and self.strength < 1:
            raise BlendError(f"{name}: a schedule and a starting image cannot be combined")
        blocks = tuple(sorted({int(block) for block in self.blocks})) if injected is not None else ()
        return Conditioning(steps, injected, blocks, float(self.strength))

    def _check_injection(
        self, name: str, injected: Tensor, steps: tuple[Tensor, ...], denoising: Denoising | None
    ) -> None:
        if injected.shape != steps[0].shape or len(steps) > 1:
            raise BlendError(f"{name}: an injection needs one array of the shape of the rows, and no schedule")
        if denoising and not set(self.blocks) <= set(range(denoising.blocks)):
            raise BlendError(
                f"{name}: blocks {self.blocks} are not all among the {denoising.blocks} of the transformer"
            )

    def sha256(self, start: str = "") -> str:
        """Hash all that acts.

        `start` identifies the starting image, and counts below strength 1 only.
        """
        digest = hashlib.sha256(f"{tuple(self.rows.shape)}".encode())
        for part in self._parts():
            digest.update(part)
        if self.strength < 1:
            digest.update(f"{self.strength!r} {start}".encode())
        return digest.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        for rows in self.steps:
            yield rows.numpy().tobytes()
        if self.injected is not None:
            yield repr(self.blocks).encode()
            yield self.injected.numpy().tobytes()


def _checked(name: str, rows: object, dim: int) -> Tensor:
    if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.shape[1] != dim or len(rows) == 0:
        found = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise BlendError(f"{name} must return a tensor (tokens, {dim}), not {found}")
    if not rows.is_floating_point():
        raise BlendError(f"{name} must return real numbers, not {rows.dtype}")
    # A copy: the strategy may keep what it returned and write into it later.
    conditioning = rows.detach().to("cpu", torch.float32, copy=True).contiguous()
    wrong = int((~torch.isfinite(conditioning)).sum())
    if wrong:
        raise BlendError(f"{name} gave {wrong} values that are not finite")
    return conditioning
