"""Worker processes on one machine or several, by Ray: one for each GPU."""

import functools
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from blendbench.core.errors import UsageError, first_line
from blendbench.models.device import choose_device
from blendbench.models.sets import ModelSet, shipped_name
from blendbench.registry.registry import Registry
from blendbench.run.failures import StoppedError, is_lost
from blendbench.run.plan import Plan
from blendbench.run.ship import Description, pack_plan
from blendbench.run.worker import Worker, mark, software

# A worker's threads: one that generates, and those that offer units and score.
_THREADS = 4
_OBJECTS = 1 << 30  # bytes of shared memory of a cluster that is started here
_SECONDS_ALONE = 180.0  # without any worker, after which a run stops
_SECONDS_TO_ANSWER = 10.0
# With more workers than `MANY`, what comes within this time is taken and written down together. It is less than two
# batches take, which wait at each device.
MANY, GATHERED = 16, 0.2
_MOST_LOST = 3  # losses for each worker, after which no further one takes its place


class WorkerLostError(Exception):
    """A worker's process, machine or device is gone; the message says how."""


@dataclass(eq=False)
class Hand:
    """A worker as the run sees it.

    `begun` resolves when it has taken the plan over, and `description` is what it then says; `sent`: names of files
    that it has.
    """

    actor: Any
    begun: Any = None
    description: Description | None = None
    sent: set[str] = field(default_factory=set)


class Cluster:
    """Workers that keep a model set loaded over several runs.

    `address`: of a running Ray cluster; default: one is started on this machine. `gpus`: how many to use; default: all.
    `workers`: processes where there is no GPU; default: one for each machine. `device`: "auto", "cpu" or "cuda".
    Errors: UsageError (no Ray, no such cluster, fewer GPUs).
    """

    def __init__(
        self, address: str | None = None, gpus: int | None = None, workers: int | None = None, device: str = "auto"
    ) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._requested, self._gpus, self._workers = device, gpus, workers
        _imported()
        self._lost = 0
        self._models: ModelSet | None = None
        self._plan: tuple[Any, ...] = ()
        self._expected: dict[str, str] = {}
        self.hands: list[Hand] = []
        if self.device == "cpu" and gpus is not None:
            raise UsageError(f"--gpus {gpus}: no GPU is used here; give the number of processes by --workers")
        if self.device == "cuda" and workers is not None:
            raise UsageError(f"--workers {workers}: every GPU has one process; give their number by --gpus")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "ray" in vars(self):
            self.close()
            self.ray.shutdown()

    @functools.cached_property
    def ray(self) -> Any:
        """Return Ray, connected to the cluster. Errors: UsageError."""
        ray, local = _imported(), self._address == "local"
        if not local:
            _require_listener(self._address)
        own: dict[str, Any] = {"object_store_memory": _OBJECTS, "include_dashboard": False} if local else {}
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray warns of this setting unless it is given; workers without a GPU are started for the CPU.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            with _sigterm_kept():
                ray.init(self._address, log_to_driver=False, logging_level="error", **own)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _no_cluster(self._address, error) from error
        return ray

    @functools.cached_property
    def device(self) -> str:
        """Return the device of the workers, "cpu" or "cuda". Errors: UsageError if cuda is missing."""
        # Of this machine it is known without Ray, which a run with nothing to do need not start.
        if self._requested == "cpu" or self._address == "local":
            return choose_device(self._requested)
        return "cuda" if self._requested == "cuda" or self.ray.cluster_resources().get("GPU", 0) else "cpu"

    @functools.cached_property
    def size(self) -> int:
        """Return the number of workers. Errors: UsageError for more GPUs than there are."""
        found = sum(gpus for _, gpus in self._machines)
        if self.device == "cpu":
            return self._workers or max(1, sum(cpus > 0 for cpus, _ in self._machines))
        if (self._gpus or 1) > found:
            raise UsageError(f"--gpus {self._gpus or 1}: Ray has found {found}; see `ray status`")
        return self._gpus or found

    @property
    def _machines(self) -> list[tuple[int, int]]:
        found = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return [(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in found]

    @functools.cached_property
    def _cpus(self) -> int:
        """Return the most CPUs that every worker can have; 0, which may share one, where workers are more."""
        limits = [(cpus, gpus if self.device == "cuda" else cpus) for cpus, gpus in self._machines]
        most = max(cpus for cpus, _ in limits)
        fits = (each for each in range(most, 0, -1) if sum(min(c // each, n) for c, n in limits) >= self.size)
        return next(fits, 0)

    def prepare(self, models: ModelSet) -> None:
        """Start the workers, which open `models`; nothing waits for them."""
        if models is not self._models:
            self.close()
            self._models = models
            self.hands = [self._hand() for _ in range(self.size)]

    def begin(self, plan: Plan, models: ModelSet, results: Path) -> Description:
        """Give all workers a plan; return what the first says that is ready.

        Its memory plan becomes that of `models`. Errors: UsageError for one with other software or weights.
        """
        self.prepare(models)
        origins = {entry.origin for registry in Registry.every for entry in registry.entries().values()}
        plugins = sorted(origin for origin in origins if origin.endswith(".py"))
        self._plan = (self.ray.put(pack_plan(plan)), plugins, results.absolute(), mark(results))
        self._expected = {"model set": models.sha256, "precision": models.dtype, **software()}
        for hand in self.hands:
            self._begin(hand)
        while not (found := [hand.description for hand in self.hands if hand.description]):
            self.welcome_next()
        models.place(self.device, found[0].residency)
        return found[0]

    def welcome_next(self, *others: Any) -> list[Any]:
        """Wait until some of `others` are ready, or a worker has begun; return all of `others` that are.

        Errors: UsageError (a worker with other software or weights), StoppedError (no worker comes for long).
        """
        begun = {hand.begun: hand for hand in self.hands if hand.begun is not None}
        every = [*others, *begun]
        while not self.ray.wait(every, num_returns=1, timeout=_SECONDS_ALONE)[0]:
            if not any(hand.description for hand in self.hands):
                raise StoppedError(f"no worker could be started within {_SECONDS_ALONE:.0f} s; see `ray status`")
        gathered = GATHERED if len(self.hands) > MANY else 0
        ready, _ = self.ray.wait(every, num_returns=len(every), timeout=gathered)
        for reference in ready:
            if reference in begun:
                self._welcome(begun[reference])
        return [reference for reference in ready if reference not in begun]

    def _welcome(self, hand: Hand) -> None:
        try:
            found: Description = self.get(hand.begun)
        except WorkerLostError as error:
            self.replace(hand, str(error))
            return
        for name, here in self._expected.items():
            if found.software.get(name) != here:
                raise UsageError(f"{found.node}: {name} is {found.software.get(name)}, here it is {here}; use one")
        hand.begun, hand.description = None, found

    def get(self, reference: Any) -> Any:
        """Return what a worker returned, or raise its error or WorkerLostError."""
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.RayTaskError as error:
            if isinstance(error.cause, StoppedError) and is_lost(str(error.cause)):
                raise WorkerLostError(str(error.cause)) from None
            raise error.cause from None
        except (errors.RayActorError, errors.ObjectLostError, errors.NodeDiedError) as error:
            raise WorkerLostError(first_line(error)) from None

    def replace(self, hand: Hand, reason: str) -> None:
        """Start a worker in the place of a lost one. Errors: StoppedError after too many."""
        self.hands.remove(hand)
        self.ray.kill(hand.actor)
        self._lost += 1
        if self._lost > _MOST_LOST * self.size:
            raise StoppedError(f"{self._lost} workers were lost, the last one because: {reason}")
        self.hands.append(self._hand())
        self._begin(self.hands[-1])

    def close(self) -> None:
        """End the workers."""
        if ends := [hand.actor.close.remote() for hand in self.hands]:
            self.ray.wait(ends, num_returns=len(ends), timeout=5)
        for hand in self.hands:
            self.ray.kill(hand.actor)
        self.hands, self._models = [], None

    def _hand(self) -> Hand:
        models = self._models
        assert models is not None
        actor = self.ray.remote(Worker).options(
            num_gpus=1 if self.device == "cuda" else 0,
            num_cpus=self._cpus,
            max_concurrency=_THREADS,
            scheduling_strategy="SPREAD",
        )
        where = shipped_name(models.folder) or models.folder
        return Hand(actor.remote(where, models.file, self.device, models.memory_budget))

    def _begin(self, hand: Hand) -> None:
        hand.description, hand.begun = None, hand.actor.begin.remote(*self._plan)


def _require_listener(address: str) -> None:
    """Raise UsageError unless something listens: Ray would try for minutes, and then end this process."""
    host, _, port = address.rpartition(":")
    if address.startswith("ray://"):
        raise UsageError(f"--ray-address {address}: run this on a machine of the cluster, and give HOST:6379 or auto")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> UsageError:
    return UsageError(f"--ray-address {address}: no cluster there ({first_line(error)}); start one with `ray start`")


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep what SIGTERM does: Ray would end the process there and then, without a word and with exit code 15."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _imported() -> Any:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError:
        raise UsageError("Ray is not installed; run: pip install 'blendbench[ray]'") from None
    return ray
