"""Replay a transformer's calls as CUDA graphs, recorded once per shape.

Launching the kernels of one call takes a CPU 15 to 30 ms: about as long as they run at 512 pixels, where encoding,
scoring and storing need the CPU too. A replay gives the same bits.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from blendbench.core.errors import first_line

_MAX_GRAPHS = 64  # a benchmark has few lengths of captions at a time

Velocities = tuple[list[Tensor]]
Call = Callable[[list[Tensor]], list[Tensor]]


class Recording:
    """One call as a CUDA graph, with inputs of its own.

    Recordings never run at the same time and share the memory `pool`. Errors: torch.OutOfMemoryError.
    """

    def __init__(self, call: Call, given: list[Tensor], pool: Any, stream: torch.cuda.Stream) -> None:
        self.inputs = [tensor.clone() for tensor in given]
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(stream):  # the default stream cannot be recorded
            # Other threads keep using the GPU while this one records.
            self.graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                self.outputs = call(self.inputs)
            except BaseException:
                with suppress(RuntimeError):  # the capture is invalid already
                    self.graph.capture_end()
                raise
            self.graph.capture_end()

    def replay(self, given: list[Tensor]) -> list[Tensor]:
        """Return the call's results for inputs of the recorded shapes."""
        for kept, tensor in zip(self.inputs, given, strict=True):
            kept.copy_(tensor)
        self.graph.replay()
        return [tensor.clone() for tensor in self.outputs]

    def finish(self) -> None:
        """Wait until the GPU has finished with it."""
        torch.cuda.current_stream().synchronize()


class Recorder:
    """Make recordings on a GPU; those that live at the same time share a pool of memory."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()
        self._pool: Any = None
        self._alive: WeakSet[Recording] = WeakSet()

    def __call__(self, call: Call, given: list[Tensor]) -> Recording:
        """Record `call` with inputs like `given`."""
        if not self._alive:
            self._pool = torch.cuda.graph_pool_handle()  # torch takes no pool whose graphs are all gone
        made = Recording(call, given, self._pool, self.stream)
        self._alive.add(made)
        return made


class Replays:
    """Replay the forward of a ZImageTransformer2DModel on a GPU.

    The first call with some shapes runs as it is, the second is recorded, later ones are replayed. A CUDA graph freezes
    shape-dependent Python and hook side effects: use `paused()` while hooks are active. Graphs of another number of
    images are dropped, and none is made once one could not be, for want of memory or another reason.
    """

    def __init__(self, forward: Callable[..., Velocities], record: Callable[[Call, list[Tensor]], Any]) -> None:
        self.forward, self.record = forward, record
        self.active = True
        self._kept: dict[Any, Any] = {}
        self._images = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Run every call as it is within the context."""
        before, self.active = self.active, False
        try:
            yield
        finally:
            self.active = before

    def __call__(self, latents: list[Tensor], time: Tensor, captions: list[Tensor], **settings: Any) -> Velocities:
        """Run the forward on lists of latents and captions, and time (n,).

        Latents are [(channels, 1, height, width)], captions [(tokens, dim)].
        """
        if not self.active or settings.get("return_dict", True):
            return self.forward(latents, time, captions, **settings)
        count = len(latents)
        if count != self._images or len(self._kept) >= _MAX_GRAPHS:
            self.forget()
            self._images = count
        given = [*latents, time, *captions]
        key = (tuple(settings.items()), *((tensor.shape, tensor.dtype) for tensor in given))
        if key not in self._kept:
            self._kept[key] = None
            return self.forward(latents, time, captions, **settings)

        def call(inputs: list[Tensor]) -> list[Tensor]:
            return self.forward(inputs[:count], inputs[count], inputs[count + 1 :], **settings)[0]

        if self._kept[key] is None:
            try:
                self._kept[key] = self.record(call, given)
            except RuntimeError as error:
                self.stop()
                made = self.forward(latents, time, captions, **settings)
                if not isinstance(error, torch.OutOfMemoryError):  # and the call itself is sound
                    sys.stderr.write(f"generating without CUDA graphs, slower: {first_line(error)}\n")
                return made
        return (self._kept[key].replay(given),)

    def stop(self) -> None:
        """Run every call as it is from here on."""
        self.forget()
        self.active = False

    def forget(self) -> None:
        """Drop all graphs, once the GPU has finished with them."""
        for recording in filter(None, self._kept.values()):
            recording.finish()
        self._kept.clear()
