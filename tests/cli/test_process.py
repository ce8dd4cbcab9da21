"""The command as a process: it ends at once, and loses neither its exit code nor what it printed."""

import subprocess
import sys

import pytest

_SCRIPT = """
import atexit, sys, threading, time
from blendbench.cli.process import ending_at_once

class Slow:
    def __del__(self):
        sys.stderr.write("taken apart")

kept = Slow()
with ending_at_once():
    atexit.register(lambda: print("handler"))
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    print("done", end=" ")
    {end}
"""


@pytest.mark.parametrize(("end", "code"), [("sys.exit(3)", 3), ("sys.exit(0)", 0)])
def test_threads_handlers_and_output_come_before_the_end(end: str, code: int) -> None:
    called = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(end=end)], capture_output=True, text=True, check=False
    )
    assert (called.returncode, called.stdout.split(), called.stderr) == (code, ["done", "thread", "handler"], "")


@pytest.mark.parametrize("end", ["pass", "raise ValueError(kept)", "sys.exit('words')"])
def test_any_other_end_is_left_to_python(end: str) -> None:
    called = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(end=end)], capture_output=True, text=True, check=False
    )
    assert called.returncode == (end != "pass")
    assert called.stderr.endswith("taken apart")
