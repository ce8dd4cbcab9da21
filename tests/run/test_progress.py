"""What a user, a log and a machine see of a run under way, and how it ends on Ctrl-C."""

import io
import json
import os
import pty
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_results import shard_rows

from blendbench.cli import main
from blendbench.results.images import ImageStore
from blendbench.run import loop as engine
from blendbench.run import progress
from blendbench.run.plan import Plan
from blendbench.run.progress import Reporter, duration

SLOW = """\
import time

from blendbench.registry.strategies import strategy


@strategy("slow", version=1, source="test")
def slow(text, *, alpha: float = 0.5):
    time.sleep(0.3)
    return text.hidden * alpha
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds that the stages see; tests move it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_at_the_start_every_ten_seconds_and_at_the_end(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter() as reporter:
        stage = reporter.stage("images", 40)
        for second in range(1, 41):
            clock[0] = 100.0 + second
            stage.advance(1, failed=second == 5)
    assert capsys.readouterr().err.splitlines() == [
        "images: 0/40",
        "images: 11/40, 1.0/s, 1 failed, about 29 s left",
        "images: 22/40, 1.0/s, 1 failed, about 18 s left",
        "images: 33/40, 1.0/s, 1 failed, about 7 s left",
        "images: 40/40, 1.0/s, 1 failed",
    ]


def test_events_are_one_object_a_line_and_say_what_a_machine_needs(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Reporter(events=True) as reporter:
        stage = reporter.stage("scores", 8)
        for half in range(1, 9):
            clock[0] = 100.0 + half / 2
            stage.advance(1, failed=half == 2)
    captured = capsys.readouterr()
    events = [json.loads(line) for line in captured.err.splitlines()]
    assert captured.out == ""
    assert [event["done"] for event in events] == [0, 3, 6, 8]
    assert events[0]["seconds_left"] is None
    assert events[1] == {
        "event": "progress",
        "stage": "scores",
        "done": 3,
        "total": 8,
        "failed": 1,
        "per_second": 2.0,
        "seconds_left": 2.5,
    }


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(quiet=True) as reporter:
        reporter.stage("scores", 2).advance(2, failed=1)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars_with_rate_remaining_time_and_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=100, color_system=None)
    )
    with Reporter() as reporter:
        stage = reporter.stage("images", 10)
        time.sleep(0.05)
        stage.advance(4, failed=2)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    last = shown.strip().splitlines()[-1]
    assert last.startswith("images") and "4/10" in last and "2 failed" in last
    assert re.search(r"\d\.\d/s", last) and re.search(r"\d:\d\d|-:--", last)
    assert "about" not in shown  # lines are for logs


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (12000, "3 h 20 min")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.fixture
def arguments(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A run of three batches that take their time."""
    folder = tmp_path_factory.mktemp("slow")
    (folder / "slow.py").write_text(SLOW)
    (folder / "slow.toml").write_text(
        'name = "slow"\ntitle = "x"\nseeds = [0]\nitems = 3\nmetrics = ["blockiness"]\nsampler = {steps = 1}\n'
        'controls = false\nstrategies = [{name = "slow", alpha = [0.1, 0.2, 0.3]}]\n'
    )
    models = folder / "models"
    models.mkdir()
    for part in untrained.iterdir():
        if part.is_dir():
            (models / part.name).symlink_to(part)
    text = (untrained / "model_set.toml").read_text()
    (models / "model_set.toml").write_text(
        re.sub(r"\nbatch_size = \d+", "", text).replace("[sampler]", "[sampler]\nbatch_size = 4")
    )
    return [
        sys.executable,
        "-m",
        "blendbench",
        "run",
        str(folder / "slow.toml"),
        "--plugin",
        str(folder / "slow.py"),
        "--models",
        str(models),
        "--results",
        str(folder / "results"),
    ]


def run_until(command: list[str], seen: str, number: int = signal.SIGINT) -> tuple[int, str]:
    """Run in a terminal of its own; once `seen` is on the screen press Ctrl-C, or send another signal.

    The exit code and all that was shown.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"}
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what runs in the background of a shell is born deaf to it
        os.execvpe(command[0], command, environment)
    shown, pressed, deadline = "", False, time.monotonic() + 120
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.5)
        if ready:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # Linux says so when the other side has closed
                break
            if not data:
                break
            shown += data.decode(errors="replace")
        if not pressed and re.search(seen, shown):
            pressed = True
            if number == signal.SIGINT:
                os.write(terminal, b"\x03")
            else:
                os.kill(process, number)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_says_how_to_go_on_and_loses_nothing(arguments: list[str], number: int) -> None:
    code, shown = run_until(arguments, r"images.*?[1-9]\d*/15", number)
    assert code == 128 + number, shown
    assert "stopped; the same command goes on where it was" in shown
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is back
    results = Path(arguments[-1])
    kept = [record for record in shard_rows(results) if record.table == "cells"]
    assert 0 < len(kept) < 15
    assert all(ImageStore(results).path(str(cell.image_sha256)).is_file() for cell in kept)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("default_signals")
def test_every_signal_that_ends_a_command_is_in_its_exit_code(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(name: str, arguments: list[str]) -> int:
        os.kill(os.getpid(), number)
        time.sleep(60)
        return 0

    monkeypatch.setattr("blendbench.cli._verb", killed)
    monkeypatch.setattr(sys, "argv", ["blendbench", "run", "smoke"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize(("options", "lines"), [([], 1), (["--json"], 0)])
def test_what_is_said_of_an_interruption_is_an_event_where_events_are_wanted(
    options: list[str], lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str, arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("blendbench.cli._verb", interrupted)
    monkeypatch.setattr(sys, "argv", ["blendbench", "run", "smoke", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_json_of_the_verb_is_events_and_one_summary(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def generated_at_once(
        plan: Plan, models: object, results: Path, reporter: Reporter, keep: bool, cluster: object, repeat: float
    ) -> engine.RunReport:
        with reporter:
            reporter.stage("images", len(plan.cells)).advance(len(plan.cells))
        count = len(plan.cells)
        name = plan.experiment.name
        return engine.RunReport(name, expected=count, ok=count, reused=0, run_id="r", generated=count)

    monkeypatch.setattr(engine, "run", generated_at_once)
    experiment = Path(arguments[4]).read_text().replace('"slow", alpha', '"lerp", alpha')
    (tmp_path / "quick.toml").write_text(experiment)
    models = arguments[arguments.index("--models") + 1]
    command = ["run", tmp_path / "quick.toml", "--models", models, "--results", tmp_path / "results", "--json"]
    monkeypatch.setattr(sys, "argv", ["blendbench", *map(str, command)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    captured = capsys.readouterr()
    assert [json.loads(line)["event"] for line in captured.err.splitlines()] == ["progress", "progress"]
    assert json.loads(captured.out)["ok"] == 12
