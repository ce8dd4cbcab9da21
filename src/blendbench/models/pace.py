"""How far the thread that launches work for a GPU may be ahead of it."""

from collections import deque

import torch

# Far enough that a batch of pictures is scored meanwhile, and less than the queue of launches holds
# (`blendbench.models` sets its length).
_AHEAD = 6


class Pace:
    """Holds the calling thread back after each transformer call, until at most `_AHEAD` of them are not through.

    Without it the thread would wait all the same, for room in the queue of launches, but inside the driver, where
    nothing that another thread launches gets past it.
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
