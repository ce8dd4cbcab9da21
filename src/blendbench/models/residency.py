"""Which networks share the device's memory: chosen from their sizes before anything is loaded.

The groups of a model set are the text encoder, the vision-language model, what draws (transformer and VAE) and what
scores. A group that is alone is freed, not only moved, before another is loaded, and the others before it is.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1024**3
GROUPS = ("text", "vision", "draw", "score")
# From the one that loads nothing twice to the one that needs the least memory.
PLANS: dict[str, tuple[str, ...]] = {"resident": (), "vision_apart": ("vision",), "staged": GROUPS}
TOLD = {
    "resident": "everything stays on the device",
    "vision_apart": "the vision-language model apart, all others together",
    "staged": "one group of networks after the other",
}
# Of the memory that is free, the part that a plan may count on: the rest is lost between blocks of the allocator.
_USABLE = 0.92
# Working memory of drawing, in values a pixel: decoding peaks at the last level of the VAE. To be multiplied
# with images, pixels and bytes a value.
_DRAWING = 900
# Working memory of the encoders and scorers in bytes: they see one prompt, one image or one chunk of images.
_OTHERS = {"text": GIB // 2, "vision": GIB, "score": GIB}


@dataclass(frozen=True)
class Residency:
    """A plan: its name, the memory that it needs at its peak, and what it was given, in bytes; None: no limit.

    `roomy`: there is memory for all that is together to work at the same time.
    """

    name: str
    needs: int
    budget: int | None
    roomy: bool = False

    def together(self, one: str, other: str) -> bool:
        """Whether two groups may be on the device at once."""
        alone = PLANS[self.name]
        return one == other or (one not in alone and other not in alone)

    def at_once(self, *groups: str) -> bool:
        """Whether groups may not only be on the device but work there at once."""
        return self.roomy and not set(groups) & set(PLANS[self.name])

    def __str__(self) -> str:
        limit = "" if self.budget is None else f" of {self.budget / GIB:.1f} GiB"
        return f"{self.name}: {TOLD[self.name]}, about {self.needs / GIB:.1f} GiB{limit}"


@dataclass(frozen=True)
class Sizes:
    """Bytes of each group's weights on the device, and of its working memory."""

    weights: Mapping[str, int]
    working: Mapping[str, int]

    def needs(self, plan: str, at_once: bool = False) -> int:
        """Memory of a plan at its peak; `at_once`: with all that is together at work, not one after the other."""
        alone = PLANS[plan]
        shared = [group for group in GROUPS if group not in alone]
        peaks = [self.weights[group] + self.working[group] for group in alone]
        if shared:
            working = [self.working[group] for group in shared]
            peaks.append(sum(self.weights[g] for g in shared) + (sum(working) if at_once else max(working)))
        return max(peaks)


def working_memory(images: int, pixels: int, value_bytes: int) -> dict[str, int]:
    """Working memory of each group when `images` of `pixels` are drawn at once in values of `value_bytes`."""
    return {**_OTHERS, "draw": _DRAWING * images * pixels * value_bytes}


def choose(sizes: Sizes, budget: int | None) -> Residency:
    """The plan that loads the least often within `budget` bytes; the smallest where none fits."""
    fitting = (name for name in PLANS if budget is None or sizes.needs(name) <= budget)
    name = next(fitting, list(PLANS)[-1])
    return Residency(name, sizes.needs(name), budget, budget is None or sizes.needs(name, at_once=True) <= budget)


def free_memory(device: str) -> int | None:
    """Bytes of a device's memory that a run may use; None for the CPU, where the system has its own ways."""
    if device == "cpu":
        return None
    import torch

    return int(torch.cuda.mem_get_info()[0] * _USABLE)


def give_back(device: str) -> None:
    """Return the memory of what nothing refers to any more to the device."""
    gc.collect()
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()


def settle(device: str) -> None:
    """Wait until the device has all that was loaded, so that any stream may read it, and return what loading took in
    passing."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def limit(device: str, budget: int) -> None:
    """Let allocations beyond `budget` bytes fail as they would on a device of that size."""
    if device != "cpu":
        import torch

        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total))


def peak(device: str) -> int | None:
    """Most bytes that were allocated on a device since the last call; None for the CPU."""
    if device == "cpu":
        return None
    import torch

    found = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return found
