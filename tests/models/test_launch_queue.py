"""The queue of GPU launches is long enough."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("before", "after"), [(None, "4x"), ("2x", "2x")])
def test_the_queue_of_launches_is_made_longer_unless_the_user_has_set_it(before: str | None, after: str) -> None:
    name = "CUDA_SCALE_LAUNCH_QUEUES"
    given = {key: value for key, value in os.environ.items() if key != name} | ({name: before} if before else {})
    script = f"import os, sys, blendbench.models; assert 'torch' not in sys.modules; print(os.environ['{name}'])"
    printed = subprocess.run([sys.executable, "-c", script], env=given, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == after
