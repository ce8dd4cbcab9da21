"""A run whose database another process holds open: nothing is lost, and the one line says so."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from synthetic_results import write_results

from blendbench.core.errors import UsageError
from blendbench.results import database as database_module
from blendbench.results.store import DATABASE, DatabaseHeldError, ingest, open_results
from blendbench.run.loop import _bring_in as bring_in

HOLDER = "import duckdb, sys, time; kept = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(60)"


@contextmanager
def held(database: Path) -> Iterator[int]:
    """Within, another process has the database open for writing; its process id."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(database)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_complete_run_says_that_it_is_and_how_it_gets_into_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT", 0.3)
    write_results(tmp_path, images=False)
    with held(tmp_path / DATABASE) as process:
        with pytest.raises(UsageError) as caught:
            bring_in(tmp_path, "core")
        message = str(caught.value)
        assert f"the run is complete and safe in {tmp_path / 'shards'}" in message
        assert f"another process (PID {process}) holds it open" in message
        assert f"`blendbench leaderboard core --results {tmp_path}`" in message
        assert "\n" not in message
        # A reader meanwhile is shown who holds it, and not that a run is complete.
        with pytest.raises(DatabaseHeldError, match=f"PID {process}") as refused:
            ingest(tmp_path)
        assert "the run is complete" not in str(refused.value)
    found = open_results(tmp_path).query("SELECT count(*) AS n FROM cells WHERE experiment = 'core'")
    assert found["n"][0] > 0
