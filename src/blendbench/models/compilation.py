"""Compile functions once for a machine: later processes load what the first one made.

Tracing a transformer block and its decoder takes longer than generating an image, even where torch has every kernel in
its cache. Here the traced and compiled function itself is a file. Its name is the hash of all that it was made of, and
it begins with the hash of its content.
"""

import functools
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from blendbench.core.errors import UsageError, first_line
from blendbench.core.files import cache_folder, write_atomically
from blendbench.core.hashing import sha256_json

# Choose kernels by rule: timing them may give another rounding in the next process.
OPTIONS: dict[str, str | int | bool | Callable[..., Any]] = {"deterministic": True}
# Graphs of one function: two kinds of blocks, with and without a mask, for each batch size.
_GRAPHS = 64
_DIGEST = 32
# Settings of torch and triton that may change what is made; folders and logs do not.
_PREFIXES = ("TORCHINDUCTOR_", "TORCHDYNAMO_", "TORCH_COMPILE", "TRITON_", "PYTORCH_")
_HARMLESS = ("CACHE", "DIR", "LOG", "ALLOC")


class Compiled:
    """A function of tensors and modules, compiled for each kind of arguments.

    Args:
        function: What is compiled. Modules among its arguments count by their type, their flags and `identity`.
        dynamic: Positions of tensors whose dimension 1 may have any size: one graph serves all. They are read as
            contiguous ones, since a graph is for one layout.
        identity: What the function reads beside its arguments, as JSON: code, configuration.
        folder: Where graphs are kept; None keeps nothing.
    """

    def __init__(
        self, function: Callable[..., Tensor], dynamic: tuple[int, ...], identity: Any, folder: Path | None
    ) -> None:
        self.function, self.dynamic, self.identity, self.folder = function, dynamic, identity, folder
        self._graphs: dict[object, Any] = {}
        self._fitting: set[object] = set()
        # Beyond the limit torch falls back to eager code, and images would differ within a run.
        limit = torch._dynamo.config.recompile_limit
        torch._dynamo.config.recompile_limit = max(limit, _GRAPHS)
        self._quick = torch.compile(function, fullgraph=True, dynamic=False, options=OPTIONS)

    def __call__(self, *given: Any) -> Tensor:
        """Call the function."""
        given = tuple(_packed(value) if i in self.dynamic else value for i, value in enumerate(given))
        if self.folder is not None:
            kind = tuple(self._kind(i, value) for i, value in enumerate(given))
            if kind not in self._graphs:
                self._graphs[kind] = self._graph(kind, given)
            graph = self._graphs[kind]
            if graph is not None and self._fits(graph, kind, given):
                out: Tensor = graph.fn(*given)
                return out
        self._mark(given)
        return self._quick(*given)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        """Leave no trace in a kept graph: torch stores a module with all that is set on it."""
        return _stand_in, ()

    def _kind(self, position: int, value: Any) -> object:
        """Return what one graph is for: sizes but the dynamic ones, dtype and device; of a module type and flags."""
        if value is None:
            return None
        if not isinstance(value, Tensor):
            flags = sorted(name for name, flag in vars(value).items() if flag is True)
            return (type(value).__qualname__, *flags)
        sizes = list(value.shape)
        if position in self.dynamic:
            sizes[1] = -1
        return (*sizes, str(value.dtype), value.device.type)

    def _fits(self, graph: Any, kind: object, given: tuple[Any, ...]) -> bool:
        """Report whether a graph's own conditions hold; they depend on sizes and strides, and are asked once."""
        shapes = (kind, *((v.shape, v.stride()) for v in given if isinstance(v, Tensor)))
        if shapes not in self._fitting:
            if not graph.guard_check(*given):
                return False
            self._fitting.add(shapes)
        return True

    def _graph(self, kind: object, given: tuple[Any, ...]) -> Any:
        """Load a graph, or make and keep it; None where torch cannot keep it."""
        assert self.folder is not None
        path = self.folder / f"{sha256_json([machine(), self.identity, repr(kind)])}.graph"
        try:
            if not path.is_file():
                self._keep(path, given)
            # Also what was made just now: every process runs what was read.
            return _read(path)
        except Exception as error:
            sys.stderr.write(f"{path.name}: compiled in every process, it cannot be kept: {first_line(error)}\n")
            return None

    def _keep(self, path: Path, given: tuple[Any, ...]) -> None:
        # A mark on the tensors themselves would be what the graph then refuses them for.
        given = tuple(value.detach() if isinstance(value, Tensor) else value for value in given)
        self._mark(given)
        with torch._dynamo.config.patch(enable_aot_compile=True):
            options = OPTIONS | {"guard_filter_fn": _keepable}
            quick: Any = torch.compile(self.function, fullgraph=True, dynamic=False, options=options)
            made = quick.aot_compile((given, {}))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(f".{os.getpid()}.made")
        made.save_compiled_function(str(partial))
        content = partial.read_bytes()
        partial.unlink()
        write_atomically(path, hashlib.sha256(content).digest() + content)

    def _mark(self, given: tuple[Any, ...]) -> None:
        for i in self.dynamic:
            if given[i] is not None:
                torch._dynamo.maybe_mark_dynamic(given[i], 1)


def _packed(value: Any) -> Any:
    """Return a tensor without gaps; dimensions of size 1 get the strides of such a one, too."""
    if value is None:
        return None
    strides: list[int] = []
    size = 1
    for length in reversed(value.shape):
        strides.insert(0, size)
        size *= length
    return value if list(value.stride()) == strides else value.contiguous().view(-1).view(value.shape)


def graphs_folder() -> Path:
    """Return the folder in the user's cache that holds compiled graphs."""
    return cache_folder() / "compiled" / "graphs"


@functools.cache
def machine() -> dict[str, Any]:
    """Return what compiled code depends on beside its source: versions, device and settings."""
    found: dict[str, Any] = {"python": platform.python_version(), "processor": platform.machine()}
    found |= {"torch": torch.__version__, "git": torch.version.git_version, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties()
        found["gpu"] = [device.name, device.major, device.minor, device.multi_processor_count]
        found["triton"] = version("triton")
    settings = {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}
    found["settings"] = {n: v for n, v in sorted(settings.items()) if not any(part in n for part in _HARMLESS)}
    return found


def source_hash(network: nn.Module) -> str:
    """Hash the source files of a network's modules, and this one."""
    names = sorted({__name__, *(type(part).__module__ for part in network.modules())})
    digest = hashlib.sha256()
    for name in names:
        if not name.startswith("torch."):
            digest.update(Path(str(sys.modules[name].__file__)).read_bytes())
    return digest.hexdigest()


def _stand_in() -> Callable[..., Any]:
    """Return what stands for a `Compiled` in a kept graph, where nobody calls it."""
    return _stand_in


def _keepable(guards: Sequence[Any]) -> list[bool]:
    """Choose the conditions that a kept graph checks: those of its tensors.

    Those of globals and of objects cannot be stored, as torch's own choice has it; torch 2.11 overlooks some that it
    derives from others. `_kind` and `identity` stand for what they are about.
    """
    lost = set(torch._dynamo.guards.CheckFunctionManager.UNSUPPORTED_SERIALIZATION_GUARD_TYPES)
    return [not (g.is_global or g.guard_type in lost or lost.intersection(g.derived_guard_types)) for g in guards]


def _read(path: Path) -> Any:
    """Read a graph. Errors: UsageError if its content is not what was written."""
    content = path.read_bytes()
    if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        path.unlink(missing_ok=True)
        raise UsageError("damaged, it was removed")
    return torch.compiler.load_compiled_function(BytesIO(content[_DIGEST:]))
