"""How far the CPU may be ahead of a GPU: so many transformer calls, in a queue that is long enough."""

import os
import subprocess
import sys

import pytest
import torch

from blendbench.models import pace


def test_the_oldest_call_is_waited_for_as_soon_as_too_many_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []

    class Event:
        made = 0

        def __init__(self, blocking: bool) -> None:
            assert blocking  # a thread that polls keeps the others from working
            self.number, Event.made = Event.made, Event.made + 1

        def record(self) -> None:
            pass

        def synchronize(self) -> None:
            waited.append(self.number)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    held = pace.Pace()
    for _ in range(pace._AHEAD):
        held.step()
    assert waited == []
    for _ in range(3):
        held.step()
    assert waited == [0, 1, 2]


@pytest.mark.parametrize(("before", "after"), [(None, "4x"), ("2x", "2x")])
def test_the_queue_of_launches_is_made_longer_unless_the_user_has_set_it(before: str | None, after: str) -> None:
    name = "CUDA_SCALE_LAUNCH_QUEUES"
    given = {key: value for key, value in os.environ.items() if key != name} | ({name: before} if before else {})
    script = f"import os, sys, blendbench.models; assert 'torch' not in sys.modules; print(os.environ['{name}'])"
    said = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == after
