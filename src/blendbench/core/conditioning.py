"""What a strategy gives to the transformer: caption rows, a schedule of them, and where else they act."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


class BlendError(ValueError):
    """A strategy gave no usable conditioning; the cell fails with this message."""


@dataclass(frozen=True)
class Denoising:
    """What a strategy may know of the sampling: the noise level in (0, 1] before each transformer call, from high to
    low, and the number of blocks of the transformer's main stream."""

    sigmas: tuple[float, ...]
    blocks: int


@dataclass(frozen=True)
class Conditioning:
    """What the transformer reads.

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
        """What the first transformer call reads."""
        return self.steps[0]

    def checked(self, name: str, dim: int, denoising: Denoising | None) -> "Conditioning":
        """The same in float32 on the CPU, and in its plainest form: equal steps are one, an injection of what is there
        anyway is none. So conditionings that do the same are equal.

        Errors: BlendError (no steps, a wrong shape, a value that is not real and finite, a schedule of another length
        than the sampling).
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
            self._check_injection(name, injected, len(steps), denoising)
        if len(steps) > 1 and self.strength < 1:
            raise BlendError(f"{name}: a schedule and a starting image cannot be combined")
        return Conditioning(
            steps, injected, tuple(sorted(set(self.blocks))) if injected is not None else (), self.strength
        )

    def _check_injection(self, name: str, injected: Tensor, steps: int, denoising: Denoising | None) -> None:
        if injected.shape != self.rows.shape or steps > 1:
            raise BlendError(f"{name}: an injection needs one array of the shape of the rows, and no schedule")
        if denoising and not set(self.blocks) <= set(range(denoising.blocks)):
            raise BlendError(
                f"{name}: blocks {self.blocks} are not all among the {denoising.blocks} of the transformer"
            )

    def sha256(self, start: str = "") -> str:
        """Hex sha256 of all that acts; `start` identifies the starting image, and counts below strength 1 only."""
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
        shape = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise BlendError(f"{name} must return (tokens, {dim}), not {shape}")
    if rows.is_complex():
        raise BlendError(f"{name} must return real numbers, not {rows.dtype}")
    conditioning = rows.detach().to("cpu", torch.float32).contiguous()
    wrong = int((~torch.isfinite(conditioning)).sum())
    if wrong:
        raise BlendError(f"{name} gave {wrong} values that are not finite")
    return conditioning
