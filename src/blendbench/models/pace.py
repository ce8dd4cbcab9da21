"""How far the thread that launches work for a GPU may be ahead of it."""

from collections import deque

import torch

# Far enough that a batch of pictures is scored meanwhile. The queue of launches, with the length that
# `blendbench.models` gives it, held 11 calls on an H200.
_AHEAD = 10


class Pace:
    """Holds the calling thread back after each transformer call, until at most `_AHEAD` of them are not through.

    Without it the thread waits all the same, for room in the queue of launches, but inside the driver, and holds up
    what other threads launch: on an H200, passes of the two encoders beside drawing at 512 pixels took 0.25 and 0.85 s
    so, 0.09 and 0.60 s with it.
    """

    def __init__(self) -> None:
        self._ends: deque[torch.cuda.Event] = deque()

    def step(self) -> None:
        """A call has been launched."""
        end = torch.cuda.Event(blocking=True)
        end.record()
        self._ends.append(end)
        if len(self._ends) > _AHEAD:
            self._ends.popleft().synchronize()
