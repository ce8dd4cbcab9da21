"""Call strategies that are not shipped in a child process.

Such a strategy may exit, crash, hang or fill the memory: only the child ends, and the run goes on. Everything else is
called in this process, as is everything on systems without a safe `fork`, which is all but Linux: there a strategy has
no limits of time and memory. A forked child has the strategies and modules of this process and costs milliseconds; a
new interpreter would take seconds to import torch, and could not call functions of a notebook.
"""

import ctypes
import gc
import io
import math
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from blendbench.core.conditioning import Conditioning
from blendbench.core.errors import UsageError, described
from blendbench.core.lazy import torch
from blendbench.registry.loading import registered
from blendbench.registry.strategies import Configuration, Sources, get_strategy

_LARGEST = 1 << 32  # bytes of an answer
_MEMORY = 8 << 30  # bytes that the child may allocate, or half of what is available
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class StrategyError(Exception):
    """A strategy raised; the message describes what, in one line."""


class EndedError(StrategyError):
    """A strategy ended its process, or did not return in time."""


def call(configuration: Configuration, sources: Sources, seed: int) -> Conditioning:
    """Call a strategy, in a child process unless it is shipped.

    Errors: StrategyError, EndedError; whatever a strategy raises that is called in this process.
    """
    if configuration.is_shipped or sys.platform != "linux":
        return configuration.blend(sources, seed)
    return _Child.current().blend(configuration, sources, seed)


def end_child() -> None:
    """End the child process, if there is one; the next call starts another."""
    if _Child.running is not None:
        _Child.running.end()


class _Child:
    """A forked process that calls the strategies which were registered when it began."""

    running: "_Child | None" = None

    def __init__(self) -> None:
        self.strategies = registered()
        self.pid = self.status = 0
        self._error: OSError | None = None
        self._shared: tuple[object, ...] = (None, None)  # what all cells read, and the child has
        self._socket, theirs = socket.socketpair()
        began = threading.Event()
        # A thread of its own has none of OpenMP's threads, which a child would wait for in vain. It stays until the
        # child has ended: the child dies with the thread that it was forked by.
        options = (theirs, torch.get_num_threads(), began)
        self._keeper = threading.Thread(target=self._keep, args=options, name="strategies", daemon=True)
        self._keeper.start()
        began.wait()
        if self._error is not None:
            raise UsageError(f"no process for strategies can be started: {self._error.strerror}") from self._error

    @classmethod
    def current(cls) -> "_Child":
        """Return the running child, or a new one where strategies have changed since it began."""
        if cls.running is not None and cls.running.strategies != registered():
            cls.running.end()
        if cls.running is None:
            cls.running = cls()
        return cls.running

    def blend(self, configuration: Configuration, sources: Sources, seed: int) -> Conditioning:
        """Call a strategy. Errors: StrategyError, EndedError."""
        name, seconds = configuration.strategy.name, configuration.strategy.seconds
        self._socket.settimeout(seconds)
        shared = (sources.corpus, sources.pairs)
        same = all(part is kept for part, kept in zip(shared, self._shared, strict=True))
        self._shared = shared
        single = replace(sources, corpus=None, pairs=None)
        try:
            _send(self._socket, (name, configuration.params, single, None if same else shared, seed))
            answer = _receive(self._socket, _LARGEST)
        except TimeoutError:
            self.end()
            raise EndedError(
                f"{name} took longer than {seconds:g} s for one call; @strategy(seconds=...) allows more"
            ) from None
        except (EOFError, ConnectionError):
            self._keeper.join(1)  # what has ended by itself keeps its own status
            self.end()
            raise EndedError(f"{name} {self._end()}") from None
        except BaseException:  # Ctrl-C above all: the answer to this call must not become that of the next
            self.end()
            raise
        if isinstance(answer, Conditioning):
            return answer
        raise StrategyError(answer)

    def end(self) -> None:
        """Kill the child, if it still runs, and what it has started."""
        _Child.running = None
        self._socket.close()
        with suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        self._keeper.join()

    def _end(self) -> str:
        code = os.waitstatus_to_exitcode(self.status)
        if code >= 0:
            return f"ended its process with exit code {code}"
        reason = "; most likely memory ran out" if -code == signal.SIGKILL else ""
        return f"crashed: {signal.strsignal(-code)} ({signal.Signals(-code).name}){reason}"

    def _keep(self, theirs: socket.socket, threads: int, began: threading.Event) -> None:
        parent = os.getpid()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
                self.pid = os.fork()
        except OSError as error:
            self._error = error
            began.set()
            return
        if self.pid == 0:
            _serve(theirs, parent, threads)
        theirs.close()
        with suppress(OSError):  # the child does it too: whoever is first
            os.setpgid(self.pid, self.pid)
        began.set()
        with suppress(ChildProcessError):
            self.status = os.waitpid(self.pid, 0)[1]


def _serve(connection: socket.socket, parent: int, threads: int) -> NoReturn:
    try:
        _confine(parent)
        torch.set_num_threads(threads)
        gc.freeze()  # what was inherited is not this process's to finalize
        corpus = pairs = None
        while True:
            name, params, sources, shared, seed = _receive(connection)
            corpus, pairs = shared or (corpus, pairs)
            configuration = Configuration(get_strategy(name), params)
            try:
                answer: Conditioning | str = configuration.blend(replace(sources, corpus=corpus, pairs=pairs), seed)
            except BaseException as error:
                answer = described(error, configuration.strategy.folder)
            _send(connection, answer)
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{described(error)}\n")
    finally:
        os._exit(1)


def _confine(parent: int) -> None:
    """Limit memory; give the process a group, an end with its parent, and no standard input and output."""
    import resource  # not on Windows

    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C is the parent's
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # standard output may be JSON
    sys.stdin = open(0)  # noqa: SIM115
    sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    # What this machine, or this container, has left.
    found = [_kilobytes("/proc/meminfo", "MemAvailable:") * 1024]
    with suppress(OSError, ValueError):
        texts = [_text(f"/sys/fs/cgroup/memory.{part}") for part in ("max", "current")]
        found.append(max(0, int(texts[0]) - int(texts[1])))
    limit = _kilobytes("/proc/self/status", "VmData:") * 1024 + min(_MEMORY, min(found) // 2)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("1000")  # if memory runs out all the same, this process goes first


def _kilobytes(path: str, key: str) -> int:
    return next(int(line.split()[1]) for line in _text(path).splitlines() if line.startswith(key))


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123
        return file.read()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # As arrays, whose memory is sent as it is.
        if isinstance(value, torch.Tensor) and value.dtype != torch.bfloat16:
            return torch.from_numpy, (value.detach().numpy(),)
        return NotImplemented


def _send(connection: socket.socket, value: object) -> None:
    """Send a value: the number and sizes of its parts, and the parts."""
    parts: list[pickle.PickleBuffer] = []
    head = io.BytesIO()
    _Pickler(head, 5, buffer_callback=parts.append).dump(value)
    raw = [head.getbuffer(), *(part.raw() for part in parts)]
    connection.sendall(struct.pack(f"<Q{len(raw)}Q", len(raw), *(part.nbytes for part in raw)))
    for part in raw:
        connection.sendall(part)


def _receive(connection: socket.socket, most: float = math.inf) -> Any:
    """Return a sent value. Errors: EOFError; StrategyError beyond `most` bytes."""
    (count,) = struct.unpack("<Q", _read(connection, 8))
    sizes = struct.unpack(f"<{count}Q", _read(connection, 8 * count))
    if sum(sizes) > most:
        raise StrategyError(f"it gave {sum(sizes):,} bytes, which is more than any model has room for")
    head, *parts = [_read(connection, size) for size in sizes]
    return pickle.loads(head, buffers=parts)


def _read(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        got = connection.recv_into(left)
        if not got:
            raise EOFError
        left = left[got:]
    return data
