"""`python bench/speed/sampled.py FILE ARGUMENTS`: `blendbench ARGUMENTS`, with the seconds of sampling written to FILE.

Sampling is the time between the first and the last kernel of each batch, warm-up left out. Nothing is imported before
the command would import it.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blendbench.cli import main
from blendbench.cli.process import ending_at_once
from blendbench.models.families.z_image import ZImage


class Sampling:
    """Seconds of `generate`, and of what came before the first of it."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.first: float | None = None
        self.warm_up = self.seconds = self.load = 0.0
        self.batches = 0
        self.events: list[Any] = []
        self.warming = False

    def loading(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Watch every denoiser that `load` loads."""

        def loaded(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            denoiser = load(*given, **named)
            self.load += time.perf_counter() - began
            denoiser.generate = self.around(denoiser.generate)
            denoiser.warm_up = self.without(denoiser.warm_up)
            return denoiser

        return loaded

    def without(self, warm_up: Callable[..., None]) -> Callable[..., None]:
        """Leave out what `warm_up` generates."""

        def warmed(*given: Any) -> None:
            began, self.warming = time.perf_counter(), True
            warm_up(*given)
            self.warming = False
            self.warm_up += time.perf_counter() - began

        return warmed

    def around(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """Time a batch: on a GPU by two events, which cost microseconds and wait for nothing."""

        def timed(*given: Any, **named: Any) -> Any:
            if self.warming:
                return generate(*given, **named)
            import torch

            began = time.perf_counter()
            self.first = self.first or began - self.began
            self.batches += 1
            if not torch.cuda.is_available():
                made = generate(*given, **named)
                self.seconds += time.perf_counter() - began
                return made
            pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            pair[0].record()
            made = generate(*given, **named)
            pair[1].record()
            self.events.append(pair)
            return made

        return timed

    def reading(self) -> dict[str, Any]:
        """Return what was measured, in seconds."""
        if self.events:
            self.events[-1][1].synchronize()
        sampling = self.seconds + sum(first.elapsed_time(last) for first, last in self.events) / 1000
        return {
            "sampling_s": sampling,
            "batches": self.batches,
            "load_s": self.load,
            "warm_up_s": self.warm_up,
            "until_first_batch_s": self.first,
        }


if __name__ == "__main__":
    sampling = Sampling()
    ZImage.load_denoiser = sampling.loading(ZImage.load_denoiser)  # type: ignore[method-assign]
    out = Path(sys.argv.pop(1))
    with ending_at_once():
        try:
            main()
        finally:
            out.write_text(json.dumps(sampling.reading()))
