"""Canonical text of values, equal in every process and folder."""

import array
import collections
import datetime
import enum
import functools
import hashlib
import inspect
import io
import math
import mmap
import os
import random
import re
import socket
import threading
import types
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any

import numpy as np

from blendbench.core.errors import UsageError

_LIVE: tuple[tuple[tuple[type, ...], str], ...] = (
    ((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), "a running generator"),
    ((random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator), "a random generator"),
    ((io.IOBase, mmap.mmap), "an open file"),
    ((socket.socket,), "a socket"),
    ((type(os.environ),), "the environment"),
    ((threading.Thread, type(threading.Lock()), type(threading.RLock()), threading.Condition), "a lock or thread"),
    ((threading.Event, threading.Semaphore, threading.local, types.FrameType), "the state of a thread"),
)
_CURE = "make it a plain constant or create it inside the function; declare data it reads with files=(...)"
_ATOMS = (bool, int, bytes, str)
_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_CALLABLES: tuple[type, ...] = (types.BuiltinFunctionType, types.MethodWrapperType, types.WrapperDescriptorType)
# The bit of `type.__flags__` that marks classes made by a class statement, whose state is all in Python attributes.
_CLASS_STATEMENT = 1 << 9
_CALLABLES += (types.MethodDescriptorType, types.ClassMethodDescriptorType)


class Values(ABC):
    """Encode values; subclasses define functions, classes and paths.

    `define` says what functions, classes and modules are, `path` what paths are.
    """

    def __init__(self) -> None:
        self.trail: list[str] = []
        self.fallbacks: list[str] = []
        self._open: dict[int, int] = {}
        self._known: dict[int, tuple[Any, str]] = {}

    @abstractmethod
    def define(self, value: Any) -> str:
        """Return a reference to a function, class or module to be followed."""

    def text(self, value: str) -> str:
        """Encode a string, which may name a file."""
        return f"str:{value!r}"

    def path(self, value: PurePath) -> str:
        """Encode a path."""
        return f"path:{value.as_posix()!r}"

    def is_opaque(self, value: Any) -> bool:  # noqa: ARG002
        """Say whether a value is known by its kind alone."""
        return False

    @abstractmethod
    def blank(self) -> "Values":
        """Return an encoder without memory, for elements that have no order."""

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Name the place that is being encoded, for messages."""
        self.trail.append(name)
        try:
            yield
        finally:
            self.trail.pop()

    def give_up(self, reason: str) -> str:
        """Record why code cannot be followed exactly."""
        self.fallbacks.append(reason)
        return "unfollowed"

    def encode(self, value: Any) -> str:
        """Return the canonical text of a value; long texts as their hash.

        Errors: UsageError for live objects.
        """
        if value is None or value is Ellipsis or value is NotImplemented:
            return repr(value)
        if type(value) in _ATOMS:
            return self._atom(value)
        if isinstance(value, types.FunctionType | type | types.ModuleType):
            return self.define(value)
        return self.path(value) if isinstance(value, PurePath) else self._remembered(value)

    def _remembered(self, value: Any) -> str:
        key = id(value)
        if key in self._known:
            return self._known[key][1]
        if key in self._open:
            return f"^{len(self._open) - self._open[key]}"  # a cycle: so many containers further out
        self._open[key] = len(self._open)
        try:
            text = self._content(value)
        except RecursionError:
            raise UsageError(f"{self._place()}: a constant is nested too deeply; simplify it") from None
        finally:
            del self._open[key]
        if len(text) > 200:
            text = f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"
        self._known[key] = (value, text)  # holding the value keeps its id from being used again
        return text

    def _atom(self, value: Any) -> str:
        if isinstance(value, str):
            return self.text(value)
        return f"{type(value).__name__}:{value!r}"

    def _content(self, value: Any) -> str:
        if self.is_opaque(value):
            return f"opaque:{type(value).__qualname__}"
        for kinds, what in _LIVE:
            if isinstance(value, kinds):
                raise UsageError(f"{self._place()}: {what} has no fixed content to identify; {_CURE}")
        if isinstance(value, enum.Enum):
            return f"enum:{self.define(type(value))}.{value.name}={self.encode(value.value)}"
        kind = type(value).__module__.partition(".")[0]
        for known in (_torch if kind == "torch" else None, _array, _callable, _typed, _container, _number):
            if known is not None and (text := known(self, value)) is not None:
                return text
        return self._instance(value)

    def sequence(self, values: Iterable[Any]) -> str:
        """Encode values in their order."""
        return "[" + ",".join(self.encode(value) for value in values) + "]"

    def mapping(self, values: Mapping[Any, Any]) -> str:
        """Encode a mapping in its own order, which a loop over it sees."""
        pairs = []
        for name, value in values.items():
            with self.at(str(name)[:40]):
                pairs.append(f"{self.encode(name)}:{self.encode(value)}")
        return "{" + ",".join(pairs) + "}"

    def unordered(self, values: Iterable[Any]) -> str:
        """Encode a set: its elements are sorted by their own content."""
        texts = []
        for value in values:
            single = self.blank()
            single._open = self._open  # a cycle through the set ends there
            texts.append(single.encode_alone(value))
        return "{" + ",".join(sorted(texts)) + "}"

    def encode_alone(self, value: Any) -> str:
        """Encode a value and all it reaches, whatever was encoded before."""
        return self.encode(value)

    @abstractmethod
    def is_followed(self, kind: type) -> bool:
        """Say whether a class is the user's or blendbench's, not a library's."""

    def _instance(self, value: Any) -> str:
        kind = type(value)
        text = f"instance:{self.define(kind)}"
        if self.is_followed(kind):
            slots = [name for base in kind.__mro__ for name in _slots(base)]
            held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
            text += self.mapping(dict(sorted((held | getattr(value, "__dict__", {})).items(), key=_by_name)))
            if all(base is object or base.__flags__ & _CLASS_STATEMENT for base in kind.__mro__):
                return text
        try:
            reduced = value.__reduce_ex__(4)
        except Exception:  # any type may refuse in its own way
            return self.give_up(f"{self._place()}: the content of a {kind.__module__}.{kind.__qualname__} is unknown")
        if isinstance(reduced, str):
            return f"{text}name:{reduced}"
        try:
            parts = [self.sequence(part) for part in reduced[3:5] if part is not None]
            return f"{text}reduced:{self.sequence(reduced[:3])}{parts}"
        except UsageError as error:
            if self.is_followed(kind):
                raise
            return self.give_up(str(error).split(";")[0])  # a library's own lock is not the user's to remove

    def _place(self) -> str:
        return " -> ".join(self.trail[-3:]) or "the registered object"


def _by_name(item: tuple[Any, Any]) -> str:
    return str(item[0])


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _number(values: Values, value: Any) -> str | None:
    kind = type(value)
    own = "" if kind.__module__ == "builtins" else values.define(kind)
    if isinstance(value, float):
        # All NaN are one value; hex distinguishes -0.0 from 0.0.
        return f"float:{own}{'nan' if math.isnan(value) else float(value).hex()}"
    if isinstance(value, complex):
        return f"complex:{own}{values.encode(value.real)},{values.encode(value.imag)}"
    if isinstance(value, _ATOMS):
        plain: Any = next(atom for atom in _ATOMS if isinstance(value, atom))
        extra = values.mapping(dict(sorted(vars(value).items()))) if getattr(value, "__dict__", None) else ""
        return f"{values._atom(plain(value))}{own}{extra}"
    return None


def _container(values: Values, value: Any) -> str | None:
    kind = type(value)
    text: str | None = None
    if isinstance(value, weakref.ref):
        return f"weakref:{values.encode(value())}"
    if isinstance(value, types.MappingProxyType | dict | collections.UserDict):
        text = values.mapping(value)
        if isinstance(value, collections.defaultdict):
            text += values.encode(value.default_factory)
    elif isinstance(value, list | tuple | collections.deque):
        text = values.sequence(value)
    elif isinstance(value, set | frozenset):
        text = values.unordered(value)
    elif isinstance(value, bytearray | memoryview | array.array):
        view = memoryview(value)
        text = view.format + hashlib.sha256(view.tobytes()).hexdigest()
    elif isinstance(value, range | slice):
        text = values.sequence((value.start, value.stop, value.step))
    elif isinstance(value, re.Pattern):
        text = f"{values._atom(value.pattern)}{value.flags}"
    elif isinstance(value, types.SimpleNamespace):
        text = values.mapping(vars(value))
    elif isinstance(value, datetime.tzinfo | datetime.date | datetime.time | datetime.timedelta):
        text = repr(value)
    if text is None:
        return None
    if kind.__module__ in ("builtins", "types", "collections"):
        return f"{kind.__name__}{text}"
    state = values.mapping(dict(sorted(vars(value).items()))) if getattr(value, "__dict__", None) else ""
    return f"{values.define(kind)}{text}{state}"


def _bound(value: Any) -> list[Any]:
    holder = getattr(value, "__self__", None)
    name = f"{getattr(value, '__module__', None)}.{value.__qualname__}"
    return [name] if isinstance(holder, types.ModuleType) else [name, holder]


# What a callable or descriptor consists of.
_MADE_OF: tuple[tuple[type | tuple[type, ...], Callable[[Any], list[Any]]], ...] = (
    (functools.partial, lambda value: [value.func, value.args, value.keywords, dict(sorted(vars(value).items()))]),
    (types.MethodType, lambda value: [value.__func__, value.__self__]),
    ((staticmethod, classmethod), lambda value: [value.__func__]),
    (property, lambda value: [value.fget, value.fset, value.fdel]),
    (functools.cached_property, lambda value: [value.func]),
    (functools._lru_cache_wrapper, lambda value: [value.__wrapped__, value.cache_parameters()]),
    (_DESCRIPTORS, lambda value: [value.__name__]),
    (_CALLABLES, _bound),
)


def _callable(values: Values, value: Any) -> str | None:
    for kind, parts in _MADE_OF:
        if isinstance(value, kind):
            return f"{type(value).__name__}{values.sequence(parts(value))}"
    return None


def _typed(values: Values, value: Any) -> str | None:
    """Encode types: `list[int]`, `Literal["a"]`, `int | None`, type variables."""
    kind = type(value)
    if kind.__module__ not in ("typing", "types") or isinstance(value, types.SimpleNamespace | types.MappingProxyType):
        return None
    origin, arguments = getattr(value, "__origin__", None), getattr(value, "__args__", None)
    if arguments is None:
        return f"type:{getattr(value, '__name__', None) or getattr(value, '__forward_arg__', '')}"
    noted = getattr(value, "__metadata__", ())
    return f"type:{kind.__name__}{values.encode(origin)}{values.sequence((*arguments, *noted))}"


def _array(values: Values, value: Any) -> str | None:
    if isinstance(value, np.ufunc):
        if not value.__name__.isidentifier():
            return values.give_up(f"{values._place()}: {value.__name__} is made of a function that it does not show")
        return f"ufunc:{value.__name__}"
    if isinstance(value, np.dtype):
        return f"dtype:{value!r}"
    if not isinstance(value, np.ndarray | np.generic):
        return None
    own = "" if type(value).__module__.partition(".")[0] == "numpy" else values.define(type(value))
    if isinstance(value, np.ma.MaskedArray):
        own += f"mask:{values.encode(np.ma.getmaskarray(value))}"
    data = np.asarray(value)
    content = values.encode(data.tolist()) if data.dtype.hasobject else _bytes_sha256(data)
    return f"array:{own}{data.dtype!r}{data.shape}{content}"


def _bytes_sha256(data: np.ndarray[Any, Any]) -> str:
    if data.dtype.kind == "f" and np.isnan(data).any():
        data = np.where(np.isnan(data), np.full_like(data, np.nan), data)  # all NaN are one value
    return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()


def _torch(values: Values, value: Any) -> str | None:
    import torch

    if isinstance(value, torch.Generator):
        raise UsageError(f"{values._place()}: a random generator has no fixed content to identify; {_CURE}")
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return f"torch:{value}"
    if not isinstance(value, torch.Tensor):
        return None
    with torch.no_grad():
        held = value.detach()
        kind = f"tensor:{type(value).__name__},{held.dtype},{tuple(held.shape)},{value.requires_grad}"
        kind += values.mapping(dict(sorted(vars(value).items()))) if vars(value) else ""
        if held.is_meta:
            return kind
        if held.layout is not torch.strided:
            return f"{kind}{held.layout}{values.encode(held.to_dense())}"
        if held.is_quantized:
            return f"{kind}{values.encode(held.dequantize())}"
        raw = held.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        content = raw.view(torch.uint8).numpy() if raw.numel() else np.zeros(0, np.uint8)
        return f"{kind}{hashlib.sha256(content.tobytes()).hexdigest()}"


def is_filled(cell: Any) -> bool:
    """Say whether a cell of a closure holds a value yet."""
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def is_generated(value: Any) -> bool:
    """Say whether a function was made from text, as the methods of dataclasses are."""
    function = inspect.unwrap(getattr(value, "__func__", value))
    return isinstance(function, types.FunctionType) and function.__code__.co_filename.startswith("<")
