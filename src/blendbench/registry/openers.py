"""Calls that reach code or files by a name that is not written down."""

import ast
import builtins
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from blendbench.registry.syntax import Facts, dotted

_DYNAMIC = {"eval", "exec", "compile", "globals", "vars", "locals", "__import__", "setattr", "delattr"}
_DYNAMIC_CALLS = {
    ("sys", "modules"): "uses sys.modules",
    ("importlib", "reload"): "uses importlib.reload",
    ("importlib", "util"): "uses importlib.util",
    ("operator", "attrgetter"): "uses operator.attrgetter",
    ("operator", "methodcaller"): "uses operator.methodcaller",
    ("os", "system"): "runs a program",
    ("os", "popen"): "runs a program",
    ("subprocess",): "runs a program",
    ("runpy",): "runs a program",
    ("ctypes",): "calls a compiled library",
    ("pickle",): "reads pickles, which name code",
}
_ENVIRONMENT = {("os", "environ"), ("os", "getenv")}
_OPENERS = {"open", "memmap", "load_file", "safe_open", "files", "open_text", "open_binary"}
_OPENERS |= {"load", "loadtxt", "genfromtxt", "fromfile", "read_text", "read_bytes", "read_csv", "read_parquet"}
_OPENERS |= {"read_json", "read_image", "imread", "iterdir", "glob", "rglob", "listdir", "scandir", "walk"}
# Their `load` reads what is already open.
_PARSERS = {"json", "tomllib", "yaml", "csv", "pickle"}


def dynamic_access(fact: Facts, names: Mapping[str, Any], is_library: Callable[[ModuleType], bool]) -> str | None:
    """Say how code reaches something that cannot be followed, or return None."""
    for chain in fact.chains:
        module = _module_name(chain[0], names)
        called = (module, *chain[1:])
        for known, reason in _DYNAMIC_CALLS.items():
            if called[: len(known)] == known:
                return reason
    for attribute in ("__doc__", "__globals__", "__subclasses__", "__code__", "__builtins__"):
        if attribute in fact.attributes:
            return f"reads {attribute}"
    reasons = (_call(call, names, is_library) for call in fact.calls)
    return next((reason for reason in reasons if reason), None)


def reads_environment(fact: Facts, names: Mapping[str, Any]) -> str | None:
    """Return the expression that reads an environment variable, or None."""
    for chain in fact.chains:
        if (_module_name(chain[0], names), *chain[1:2]) in _ENVIRONMENT:
            return ".".join(chain)
    return None


def _call(call: ast.Call, names: Mapping[str, Any], is_library: Callable[[ModuleType], bool]) -> str | None:
    chain = dotted(call.func)
    name = chain[-1] if chain else ""
    if len(chain) == 1 and name in _DYNAMIC and names.get(name, getattr(builtins, name)) is getattr(builtins, name):
        return f"calls {name}"
    target = dotted(call.args[0]) if call.args else ()
    root = names.get(target[0]) if target else None
    is_library_attribute = isinstance(root, ModuleType) and is_library(root)
    literal = len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    if chain == ("getattr",) and not literal and not is_library_attribute:
        return "calls getattr with a name that is not literal"
    if name == "import_module" and not (call.args and isinstance(call.args[0], ast.Constant)):
        return "imports a module whose name is not literal"
    return None


def opened_files(fact: Facts, names: Mapping[str, Any]) -> int:
    """Count the calls that open a file by its name."""
    return sum(_opens(call, fact, names) for call in fact.calls)


def _opens(call: ast.Call, fact: Facts, names: Mapping[str, Any]) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    chain = dotted(function)
    if name not in _OPENERS or (chain and _module_name(chain[0], names) in _PARSERS):
        return False
    first = call.args[0] if call.args else None
    return not (isinstance(first, ast.Name) and first.id in fact.opened)


def _module_name(name: str, names: Mapping[str, Any]) -> str:
    value = names.get(name)
    return value.__name__ if isinstance(value, ModuleType) else name
