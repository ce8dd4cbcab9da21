"""Choose which networks share the device's memory, before loading.

The groups of a model set are the text encoder, the vision-language model, the generator (transformer and VAE), the
scorers, and the judge, which scores too but is as large as the vision-language model. A group that a plan keeps apart
is freed, not only moved, before another one is loaded, and the other way round.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass

GIB = 1024**3
GROUPS = ("text", "vision", "generate", "score", "judge")
# Groups that are kept apart: from the plan that loads nothing twice to the one that needs the least memory.
PLANS: dict[str, tuple[str, ...]] = {"resident": (), "vision_apart": ("vision", "judge"), "staged": GROUPS}
DESCRIPTIONS = {
    "resident": "everything stays on the device",
    "vision_apart": "the vision-language models apart, all others together",
    "staged": "one group of networks after the other",
}
# Fraction of the free memory that a plan may count on: the rest is lost to fragmentation.
_USABLE = 0.92
# Working memory of generation, in values per image and pixel: decoding peaks at the last level of the VAE.
_GENERATING = 900
# What guidance adds, in the same values: the second half of the transformer's batch. A block's widest point, computed
# from Z-Image's sizes: a token for 256 pixels, 2 x 10,240 gated values, their product, and four rows of 3,840.
_NEGATIVE = 200
# Working memory of encoders and scorers in bytes: they see one prompt, one image or one chunk of images.
_OTHERS = {"text": GIB // 2, "vision": GIB, "score": GIB, "judge": GIB}


@dataclass(frozen=True)
class Residency:
    """A plan (one of `PLANS`) and its memory in bytes.

    `needs`: at its peak. `budget`: that it was given; None: no limit. `roomy`: whether everything that is together also
    has memory to work at the same time.
    """

    name: str
    needs: int
    budget: int | None
    roomy: bool = False

    def together(self, one: str, other: str) -> bool:
        """Report whether two groups may be on the device at once."""
        alone = PLANS[self.name]
        return one == other or (one not in alone and other not in alone)

    def at_once(self, *groups: str) -> bool:
        """Report whether groups may also work on the device at once."""
        if unknown := set(groups) - set(GROUPS):
            raise ValueError(f"unknown groups {sorted(unknown)}")
        return self.roomy and not set(groups) & set(PLANS[self.name])

    def __str__(self) -> str:
        """Describe the plan for people."""
        limit = "" if self.budget is None else f" of {self.budget / GIB:.1f} GiB"
        return f"{self.name}: {DESCRIPTIONS[self.name]}, about {self.needs / GIB:.1f} GiB{limit}"


@dataclass(frozen=True)
class Sizes:
    """Bytes of each group's weights on the device, and of its working memory."""

    weights: Mapping[str, int]
    working: Mapping[str, int]

    def needs(self, plan: str, at_once: bool = False) -> int:
        """Return a plan's memory at its peak, groups of `at_once` working together."""
        alone = PLANS[plan]
        shared = [group for group in GROUPS if group not in alone]
        peaks = [self.weights[group] + self.working[group] for group in alone]
        if shared:
            working = [self.working[group] for group in shared]
            peaks.append(sum(self.weights[g] for g in shared) + (sum(working) if at_once else max(working)))
        return max(peaks)


def working_memory(images: int, pixels: int, value_bytes: int, guided: bool = False) -> dict[str, int]:
    """Return each group's working memory for batches of `images`.

    `pixels` is their size; the memory is in values of `value_bytes`; `guided`: with classifier-free guidance.
    """
    values = _GENERATING + (_NEGATIVE if guided else 0)
    return {**_OTHERS, "generate": values * images * pixels * value_bytes}


def choose(sizes: Sizes, budget: int | None) -> Residency:
    """Return the plan within `budget` bytes that loads least, or the smallest."""
    fitting = (name for name in PLANS if budget is None or sizes.needs(name) <= budget)
    name = next(fitting, list(PLANS)[-1])
    return Residency(name, sizes.needs(name), budget, budget is None or sizes.needs(name, at_once=True) <= budget)


def free_memory(device: str) -> int | None:
    """Return a device's memory for a run in bytes; None for the CPU."""
    if device == "cpu":
        return None
    import torch

    return int(torch.cuda.mem_get_info()[0] * _USABLE)


def free_cache(device: str) -> None:
    """Return unreferenced memory to the device."""
    gc.collect()
    if device != "cpu":
        import torch

        torch.cuda.empty_cache()


def settle(device: str, group: str) -> None:
    """Wait until a group's weights are on the device; free what loading took.

    Afterwards any stream may read them. Scorers may be loaded while images are generated, which nothing here waits for.
    """
    if device == "cpu":
        return
    import torch

    if group == "score":
        torch.cuda.current_stream().synchronize()
    else:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def limit(device: str, budget: int) -> None:
    """Make allocations beyond `budget` bytes fail as on a device of that size."""
    if device != "cpu":
        import torch

        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, budget / total))


def peak(device: str) -> int | None:
    """Return the most bytes allocated since the last call; None for the CPU."""
    if device == "cpu":
        return None
    import torch

    found = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return found
