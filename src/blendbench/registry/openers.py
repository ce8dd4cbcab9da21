"""Calls that reach code or files by a name that is not written down."""

import ast
import builtins
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from blendbench.registry.syntax import Facts, dotted

Imported = Mapping[str, tuple[str, ...]]
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
_ENVIRONMENT = (
    ("os", "environ"),
    ("os", "environb"),
    ("os", "getenv"),
    ("os", "getenvb"),
    ("os", "path", "expandvars"),
)
_OPENERS = {"open", "memmap", "load_file", "safe_open", "files", "open_text", "open_binary"}
_OPENERS |= {"load", "loadtxt", "genfromtxt", "fromfile", "read_text", "read_bytes", "read_csv", "read_parquet"}
_OPENERS |= {"read_json", "read_image", "imread", "iterdir", "glob", "rglob", "listdir", "scandir", "walk"}
# Their `load` reads what is already open.
_PARSERS = {("json",), ("tomllib",), ("yaml",), ("csv",), ("pickle",)}


def dynamic_access(
    fact: Facts, names: Mapping[str, Any], imported: Imported, is_library: Callable[[ModuleType], bool]
) -> str | None:
    """Say how code reaches something that cannot be followed, or return None.

    `imported`: the names that its module imports, which `names` holds unless the module is not loaded.
    """
    for chain in fact.chains:
        called = _full(chain, names, fact, imported)
        for known, reason in _DYNAMIC_CALLS.items():
            if called[: len(known)] == known:
                return reason
    for attribute in ("__doc__", "__globals__", "__subclasses__", "__code__", "__builtins__"):
        if attribute in fact.attributes:
            return f"reads {attribute}"
    reasons = (_call(call, names, _full(dotted(call.func), names, fact, imported), is_library) for call in fact.calls)
    return next((reason for reason in reasons if reason), None)


def reads_environment(fact: Facts, names: Mapping[str, Any], imported: Imported) -> str | None:
    """Return the expression that reads an environment variable, or None."""
    for chain in fact.chains:
        called = _full(chain, names, fact, imported)
        if any(called[: len(known)] == known for known in _ENVIRONMENT):
            return ".".join(chain)
    return None


def _call(
    call: ast.Call, names: Mapping[str, Any], full: tuple[str, ...], is_library: Callable[[ModuleType], bool]
) -> str | None:
    chain = dotted(call.func)
    called = names.get(chain[0], getattr(builtins, chain[0], None)) if len(chain) == 1 else None
    if dynamic := [name for name in _DYNAMIC if called is getattr(builtins, name)]:
        return f"calls {dynamic[0]}"
    target = dotted(call.args[0]) if call.args else ()
    root = names.get(target[0]) if target else None
    is_library_attribute = isinstance(root, ModuleType) and is_library(root)
    literal = len(call.args) > 1 and isinstance(call.args[1], ast.Constant)
    if chain == ("getattr",) and not literal and not is_library_attribute:
        return "calls getattr with a name that is not literal"
    if full[-1:] == ("import_module",) and chain[-1] != "import_module":
        return "imports a module by another name of import_module"
    if chain[-1:] == ("import_module",) and not (call.args and isinstance(call.args[0], ast.Constant)):
        return "imports a module whose name is not literal"
    return None


def opens(fact: Facts, names: Mapping[str, Any], imported: Imported) -> bool:
    """Say whether code opens files, or names its own place to do so."""
    return bool(opened_files(fact, names, imported)) or ("__file__",) in fact.chains


def opened_files(fact: Facts, names: Mapping[str, Any], imported: Imported) -> int:
    """Count the calls that open a file by its name."""
    return sum(_opens(call, fact, _full(dotted(call.func), names, fact, imported)) for call in fact.calls)


def _opens(call: ast.Call, fact: Facts, full: tuple[str, ...]) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else (full or ("",))[-1]
    if name not in _OPENERS or full[:1] in _PARSERS:
        return False
    first = call.args[0] if call.args else None
    return not (isinstance(first, ast.Name) and first.id in fact.opened)


def _full(chain: tuple[str, ...], names: Mapping[str, Any], fact: Facts, imported: Imported) -> tuple[str, ...]:
    """Return a dotted name as it would be without `import ... as` and `from ... import`."""
    if not chain:
        return ()
    value = names.get(chain[0])
    if isinstance(value, ModuleType):
        return (*value.__name__.split("."), *chain[1:])
    return (*(fact.imported.get(chain[0]) or imported.get(chain[0]) or chain[:1]), *chain[1:])
