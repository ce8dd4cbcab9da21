"""Follow code from a function to all that it reaches."""

import ast
import dataclasses
import enum
import functools
import hashlib
import importlib.util
import os
import re
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from types import FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from blendbench.core.errors import UsageError
from blendbench.registry.folder import (
    PLUGIN_PREFIX,
    Home,
    file_sha256,
    is_shipped,
    module_at,
    module_name,
    module_source,
)
from blendbench.registry.openers import Imported, dynamic_access, opened_files, opens, reads_environment
from blendbench.registry.syntax import (
    Definition,
    Facts,
    Import,
    code_names,
    facts,
    read_source,
    set_attributes,
    shell,
    undecorated,
)
from blendbench.registry.values import Values, is_filled, is_generated

_REGISTRY_LAYER = "blendbench.registry"
_GENERATED = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__")
_CODE = (FunctionType, classmethod, staticmethod, property, functools.cached_property, functools.partialmethod)


class Walk(Values):
    """One walk over all that a function reaches, numbering definitions."""

    def __init__(self, home: Home, home_file: Path, receives: tuple[type, ...]) -> None:
        super().__init__()
        self.home = home
        self.home_file = home_file
        self.receives = receives
        self.modules: set[Path] = set()
        self.data: set[Path] = set()
        self._numbers: dict[int, tuple[int, Any]] = {}  # by id, which holding the value keeps from being reused
        self._waiting: list[Any] = []
        self._attributes: set[str] = set()
        self._received: set[str] = set()
        self._renamed: Imported = {}  # names that the module of the code that is being followed imports
        self._paths = 0  # data files reached by the function that is being followed

    def blank(self) -> "Walk":
        """Return a walk that shares files and fallbacks, and numbers anew."""
        other = Walk(self.home, self.home_file, self.receives)
        other.modules, other.data, other.fallbacks = self.modules, self.data, self.fallbacks
        other.trail = list(self.trail)
        return other

    def encode_alone(self, value: Any) -> str:
        """Hash a value and all that it reaches."""
        digest = hashlib.sha256(self.encode(value).encode(errors="surrogatepass"))
        while self._waiting:
            digest.update(self._followed(self._waiting.pop(0)).encode(errors="surrogatepass"))
            if not self._waiting:
                digest.update(self._received_members().encode())
        return digest.hexdigest()

    # What is followed

    def define(self, value: Any) -> str:
        """Return the number of an own definition, or the name of a library's."""
        if isinstance(value, ModuleType):
            return self._module(value)
        if not self._is_own(value):
            return self._library(value)
        if id(value) not in self._numbers:
            self._numbers[id(value)] = (len(self._numbers), value)
            self._waiting.append(value)
        return f"#{self._numbers[id(value)][0]}"

    def is_followed(self, kind: type) -> bool:
        """Say whether a class is the user's or blendbench's, not a library's."""
        return self._is_own(kind)

    def is_opaque(self, value: Any) -> bool:
        """Skip registries: what a configuration names is identified with it."""
        return type(value).__module__.startswith(_REGISTRY_LAYER)

    def _is_own(self, value: FunctionType | type) -> bool:
        name = module_name(value)
        if is_shipped(name):
            return not (name + ".").startswith(_REGISTRY_LAYER + ".")
        if isinstance(value, FunctionType):
            filename = value.__code__.co_filename
            return self.home.owns(filename) if not filename.startswith("<") else self._is_own_module(name)
        return self._is_own_module(name)

    def _is_own_module(self, name: str) -> bool:
        module = sys.modules.get(name)
        filename = getattr(module, "__file__", None)
        return filename is not None and self.home.owns(filename)

    def _library(self, value: FunctionType | type) -> str:
        if not isinstance(value, FunctionType):
            if value.__module__ == "types" and not hasattr(types, value.__name__):
                self.give_up(f"{self._place()}: the class {value.__qualname__} is in no file")
            return f"library:{value.__module__}.{value.__qualname__}"
        # By its code: a wrapper bears the name of what it wraps.
        name = f"library:{module_name(value)}.{value.__code__.co_qualname}"
        # A library's wrapper around the user's function holds it in its closure.
        cells = [cell.cell_contents for cell in value.__closure__ or () if is_filled(cell)]
        held = [*cells, *(value.__defaults__ or ()), *value.__dict__.values()]
        reached = [self.encode(item) for item in held if self._holds_own(item)]
        plain = [self.encode(item) for item in cells if isinstance(item, int | float | str | None)]
        return f"{name}[{','.join(reached + plain)}]" if reached else name

    def _holds_own(self, value: Any) -> bool:
        if isinstance(value, FunctionType | type):
            return self._is_own(value) or (isinstance(value, FunctionType) and hasattr(value, "__wrapped__"))
        if isinstance(value, dict | MappingProxyType):
            return any(self._holds_own(item) for item in value.values())
        if isinstance(value, list | tuple):
            return any(self._holds_own(item) for item in value)
        return isinstance(value, functools.partial | MethodType) or self._is_own(type(value))

    def _module(self, module: ModuleType) -> str:
        if self._is_library(module):
            return f"library:{module.__name__}"
        filename = getattr(module, "__file__", None)
        if filename is None or Path(os.path.realpath(filename)) == self.home_file:
            return self.give_up(f"{self._place()}: the module {module.__name__.rpartition('.')[2]} is used as a value")
        if is_shipped(module.__name__):
            return f"module:{file_sha256(Path(filename))}"
        self._whole(Path(os.path.realpath(filename)))
        return f"module:{file_sha256(Path(filename))}"

    def _followed(self, value: FunctionType | type) -> str:
        with self.at(value.__name__):
            self._whole_module_of(value)
            return self._class(value) if isinstance(value, type) else self._function(value)

    def _whole_module_of(self, value: Any) -> None:
        module = sys.modules.get(module_name(value))
        filename = getattr(module, "__file__", None)
        if isinstance(value, FunctionType) and not value.__code__.co_filename.startswith("<"):
            filename = value.__code__.co_filename
        if filename and not is_shipped(module_name(value)):
            self._whole(Path(os.path.realpath(filename)))

    # Functions and classes

    def _function(self, function: FunctionType) -> str:
        code = function.__code__
        source = read_source(code.co_filename, function.__globals__)
        nodes = source.functions(code) if source else []
        if not nodes:
            self.give_up(f"{function.__qualname__}: its source cannot be found")
        mentioned = [facts(undecorated(node, self._registers(node, function.__globals__))) for node in nodes]
        parts = [fact.sha256 for fact in mentioned]
        known = set(code_names(code))
        names = self._names_of(function)
        self._paths = 0
        self._renamed = source.imported if source else {}
        for fact in mentioned:
            parts += self._reached(fact, names, known, Path(code.co_filename), is_shipped(module_name(function)))
        with self.at("default"):
            parts.append(self.encode(function.__defaults__))
            parts.append(self.encode(function.__kwdefaults__))
        parts.append(self.mapping(dict(sorted(function.__dict__.items()))))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with self.at(name):
                parts.append(f"{name}={self.encode(cell.cell_contents) if is_filled(cell) else 'empty'}")
        for fact in mentioned:
            if not is_shipped(module_name(function)):
                self._files(fact, names)
        return "function" + ";".join(parts)

    def _names_of(self, function: FunctionType) -> dict[str, Any]:
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        return function.__globals__ | {name: cell.cell_contents for name, cell in cells if is_filled(cell)}

    def _class(self, kind: type) -> str:
        module = sys.modules.get(module_name(kind))
        names = vars(module) if module else {}
        filename = getattr(module, "__file__", None) or ""
        source = read_source(filename, names) if filename else None
        nodes = source.classes(kind.__qualname__) if source else []
        if not nodes and not hasattr(kind, "_fields") and not issubclass(kind, enum.Enum):
            self.give_up(f"class {kind.__qualname__}: its source cannot be found")
        parts = [self.sequence(kind.__bases__), self.encode(type(kind))]
        self._renamed = source.imported if source else {}
        generated = dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")
        for node in nodes:
            outer = shell(node)  # methods are followed as the class holds them
            parts.append(facts(node).sha256)
            parts += self._reached(facts(outer), names, None, Path(filename), is_shipped(kind.__module__))
        for name, value in sorted(vars(kind).items()):
            with self.at(name):
                if (text := self._member(kind, name, value, generated)) is not None:
                    parts.append(f"{name}={text}")
        return "class" + ";".join(parts)

    def _member(self, kind: type, name: str, value: Any, generated: bool) -> str | None:
        if name in _GENERATED or (generated and is_generated(value)):
            return None
        if name == "__dataclass_fields__":
            fields = [(key, field.default, field.default_factory, field.metadata) for key, field in value.items()]
            return self.encode(fields)
        if isinstance(value, _CODE):
            # What a library adds to a class differs between its versions.
            inner = getattr(value, "__func__", value)
            added = isinstance(inner, FunctionType) and name.startswith("_") and not self._holds_own(inner)
            return None if added else self.encode(value)
        if issubclass(kind, enum.Enum):
            members = [(key, member._value_) for key, member in kind.__members__.items()]
            return self.encode(members) if name == "_member_map_" else None
        # The fields of a named tuple read its items.
        machinery = (
            name in getattr(kind, "_fields", ())
            or (name.startswith("__") and name != "__slots__")
            or name.startswith("_abc_")
        )
        return None if machinery else self.encode(value)

    def _registers(self, node: Definition, names: Mapping[str, Any]) -> tuple[bool, ...]:
        """Mark decorators of blendbench: a name or equation changes no number."""
        marks = []
        for decorator in getattr(node, "decorator_list", []):
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            chain = facts(called).chains
            value = self._resolved(chain[0], names)[0] if len(chain) == 1 and chain[0][0] in names else None
            marks.append(is_shipped(getattr(value, "__module__", None) or ""))
        return tuple(marks)

    # What code mentions

    def _reached(
        self, fact: Facts, names: Mapping[str, Any], known: set[str] | None, file: Path, shipped: bool
    ) -> list[str]:
        """Encode the meaning of names in code; its code object reads `known`."""
        self._attributes |= fact.attributes
        parts = []
        for chain in fact.chains:
            if known is not None and chain[0] not in known:
                continue
            if chain[0] in names:
                value, followed = self._resolved(chain, names)
                with self.at(".".join(chain)):
                    if followed or (isinstance(value, FunctionType | type) and self._is_own(value)):
                        parts.append(f"{'.'.join(chain)}={self.encode(value)}")
        if (reason := dynamic_access(fact, names, self._renamed, self._is_library)) is not None:
            self.give_up(f"{self._place()}: {reason}")
        if not shipped and (read := reads_environment(fact, names, self._renamed)) is not None:
            raise UsageError(
                f"{self._place()}: reads {read} when it is called; make it a parameter or a constant of the file"
            )
        for wanted in fact.imports:
            parts += self._imported(wanted, file, names, shipped)
        return parts

    def _resolved(self, chain: tuple[str, ...], names: Mapping[str, Any]) -> tuple[Any, bool]:
        """Look up `a.b.c` as far as modules go, and whether to follow the value."""
        value, followed = names[chain[0]], True
        for name in chain[1:]:
            if not isinstance(value, ModuleType):
                break
            followed = not self._is_library(value)
            if name not in vars(value):
                break  # a whole module of the user's counts; of a library nothing does
            value = vars(value)[name]
        return value, followed

    def _is_library(self, module: ModuleType) -> bool:
        filename = getattr(module, "__file__", None)
        if filename is None:
            return not any(self.home.owns(entry) for entry in getattr(module, "__path__", ()))
        # Torch has modules with the name of a file and no place.
        return not os.path.isabs(filename) or not (is_shipped(module.__name__) or self.home.owns(filename))  # noqa: PTH117

    def _imported(self, wanted: Import, file: Path, names: Mapping[str, Any], shipped: bool) -> Iterator[str]:
        if shipped or wanted.module.partition(".")[0] == "blendbench":
            name = "." * wanted.level + wanted.module
            if wanted.level:
                name = importlib.util.resolve_name(name, names.get("__package__") or "")
            if is_shipped(name):
                module = importlib.import_module(name)
                for imported in wanted.names:
                    value = getattr(module, imported, None)
                    if not isinstance(value, ModuleType):
                        yield f"{imported}={self.encode(value)}"
            return
        for path in self.home.module_files(wanted, Path(os.path.realpath(file))):
            if path == self.home_file:
                self.give_up(f"{self._place()}: it imports its own file")
            source = module_source(path)
            if source and (read := reads_environment(facts(source.tree), {}, source.imported)) is not None:
                raise UsageError(f"{path.name}: reads {read}; import it at the top of the file, not in the function")
            self._whole(path)

    def _whole(self, path: Path) -> None:
        """Count a whole module of the user's, and those that it imports."""
        if path in self.modules or path == self.home_file or not self.home.owns(str(path)):
            return
        self.modules.add(path)
        source = module_source(path)
        fact = facts(source.tree if source else ast.Module([], []))
        self._attributes |= fact.attributes
        loaded = module_at(path)
        names, imported = vars(loaded) if loaded else {}, source.imported if source else {}
        if (reason := dynamic_access(fact, names, imported, self._is_library)) is not None:
            self.give_up(f"{path.name}: {reason}")
        for wanted in fact.imports:
            for other in self.home.module_files(wanted, path):
                self._whole(other)
        self.data |= self.home.named(fact.literals, opens(fact, names, imported))

    # Files

    def text(self, value: str) -> str:
        """Encode a string; a path beside the code by its contents."""
        folder = str(self.home.folder)
        if not self.home.shipped and value.startswith(folder) and value[len(folder) :][:1] in ("", os.sep):
            return self.path(PurePath(value))
        found = self.home.named(frozenset([value]), opens=False)
        self.data |= found
        self._paths += len(found)
        return f"str:{re.sub(PLUGIN_PREFIX + '[0-9a-f]{12}', '', value)!r}"  # a module's name depends on its folder

    def path(self, value: PurePath) -> str:
        """Encode a path by what it holds: places are no part of an identity."""
        place = Path(os.path.realpath(value if value.is_absolute() else self.home.folder / value))
        self._paths += 1
        if place.is_file():
            if place.suffix != ".py":
                self.data.add(place)
            return "path:file"
        if place == self.home.folder or self.home.folder in place.parents:
            if place.is_dir():
                self.data |= {path for path in self.home.data_files() if place in path.parents}
            return f"path:{place.relative_to(self.home.folder).as_posix()}"
        return f"path:{value.as_posix()!r}"

    def _files(self, fact: Facts, names: Mapping[str, Any]) -> None:
        calls = opened_files(fact, names, self._renamed)
        here = ("__file__",) in fact.chains
        found = self.home.named(fact.literals, opens=bool(calls) or here)
        self.data |= found
        if calls > len(found) + self._paths or (here and not found):
            self.data |= set(self.home.data_files())
            self.give_up(f"{self._place()}: it opens a file that it does not name literally")

    def check_imports(self) -> None:
        """Count compiled modules that its file imports; give up on files that patch a library, as all code reads it."""
        if self.home.shipped:
            return
        source = read_source(str(self.home_file))
        wanted = facts(source.tree).imports if source else ()
        imported = {path for one in wanted for path in self.home.module_files(one, self.home_file)}
        self.modules |= {path for path in imported if path.suffix != ".py"}
        for path in sorted({self.home_file, *self.modules, *imported}):
            names = vars(module_at(path) or ModuleType(""))
            source = read_source(str(path), names) if names.get("__file__") else None
            for chain in set_attributes(source.tree) if source else ():
                root = names.get(chain[0])
                if self._is_library(root) if isinstance(root, ModuleType) else self._is_library_class(root):
                    self.give_up(f"{path.name}: it sets {'.'.join(chain)}, which other code may read")

    def _is_library_class(self, value: Any) -> bool:
        return isinstance(value, type) and not self._is_own(value)

    def _received_members(self) -> str:
        """Encode members and operators of received objects that the code uses."""
        parts = []
        for kind in self.receives:
            owners = [base for base in kind.__mro__ if self._is_own(base)]
            operators = {name for base in owners for name in vars(base) if name.startswith("__")}
            for name in sorted((self._attributes | operators) - self._received):
                member = next((vars(base)[name] for base in owners if name in vars(base)), None)
                if isinstance(member, _CODE) and not is_generated(member):
                    parts.append(f"{kind.__name__}.{name}={self.encode(member)}")
        self._received |= self._attributes
        return ";".join(parts)
