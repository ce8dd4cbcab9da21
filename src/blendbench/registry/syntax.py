"""Parsed source: a digest without comments, and the names that code mentions."""

import ast
import functools
import hashlib
import linecache
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
_DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# Fields that cannot change what code does.
_IGNORED = {"ctx", "type_comment", "kind", "type_ignores"}
_DEEPEST = 200  # levels of nodes: following one takes up to three of Python's 1,000 calls


@dataclass(frozen=True)
class Import:
    """`from <dots><module> import <names>`, or `import <module>` without names."""

    module: str
    level: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Everything that a piece of source mentions."""

    sha256: str
    chains: tuple[tuple[str, ...], ...]  # dotted names, as ("torch", "nn", "functional")
    attributes: frozenset[str]
    literals: frozenset[str]
    imports: tuple[Import, ...]
    calls: tuple[ast.Call, ...]
    opened: frozenset[str]  # names bound by `with ... as name`
    imported: Mapping[str, tuple[str, ...]]  # dotted names that import statements give another name


@dataclass(frozen=True)
class Source:
    """A parsed file with definitions by qualified name and first line."""

    tree: ast.Module
    definitions: tuple[tuple[str, int, Definition], ...]

    def functions(self, code: CodeType) -> list[Definition]:
        """Return the nodes of a code object: several only for one-line lambdas of a Python without columns."""
        found: list[Definition] = [
            node
            for qualname, line, node in self.definitions
            if not isinstance(node, ast.ClassDef) and qualname == code.co_qualname and line == code.co_firstlineno
        ]
        return [node for node in found if _spans(node, code)] or found if len(found) > 1 else found

    @functools.cached_property
    def imported(self) -> Mapping[str, tuple[str, ...]]:
        """Return the dotted names that the module's own import statements give another name."""
        outside = [statement for statement in self.tree.body if not isinstance(statement, _DEFINED)]
        return facts(ast.Module(outside, [])).imported

    def classes(self, qualname: str) -> list[Definition]:
        """Return every class statement of this qualified name."""
        return [node for name, _, node in self.definitions if isinstance(node, ast.ClassDef) and name == qualname]


def _spans(node: Definition, code: CodeType) -> bool:
    """Say whether all instructions of a code object lie within a node."""
    begin, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
    known = [(line, column) for line, _, column, last in code.co_positions() if line and last and column is not None]
    return bool(known) and all(begin <= place <= end for place in known)


def read_source(filename: str, module_globals: dict[str, Any] | None = None) -> Source | None:
    """Parse a file as Python loaded it; None without readable source."""
    lines = linecache.getlines(filename, module_globals)
    return parse("".join(lines)) if lines else None


@functools.lru_cache(maxsize=1024)
def parse(text: str) -> Source | None:
    """Parse source text, or return None if this Python cannot or if it is nested deeper than can be followed."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two for what is nested too deep
        return None
    return None if _is_deep(tree) else Source(tree, tuple(_definitions(tree, "")))


def _is_deep(tree: ast.AST) -> bool:
    level = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, int, Definition]]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _DEFINED):
            yield from _definitions(child, prefix)
            continue
        name = "<lambda>" if isinstance(child, ast.Lambda) else child.name
        decorators = [] if isinstance(child, ast.Lambda) else child.decorator_list
        line = min([child.lineno, *(decorator.lineno for decorator in decorators)])
        yield prefix + name, line, child
        inner = f"{prefix}{name}." if isinstance(child, ast.ClassDef) else f"{prefix}{name}.<locals>."
        yield from _definitions(child, inner)


@functools.lru_cache(maxsize=8192)
def facts(node: ast.AST) -> Facts:
    """Collect what a node mentions, annotations as text only."""
    seen = _Seen()
    seen.visit(node)
    return Facts(
        hashlib.sha256("".join(_text(node)).encode()).hexdigest(),
        tuple(sorted(set(seen.chains))),
        frozenset(seen.attributes),
        frozenset(seen.literals),
        tuple(seen.imports),
        tuple(seen.calls),
        frozenset(seen.opened),
        seen.imported,
    )


class _Seen(ast.NodeVisitor):
    def __init__(self) -> None:
        self.chains: list[tuple[str, ...]] = []
        self.attributes: set[str] = set()
        self.literals: set[str] = set()
        self.imports: list[Import] = []
        self.calls: list[ast.Call] = []
        self.opened: set[str] = set()
        self.imported: dict[str, tuple[str, ...]] = {}

    def visit_Name(self, node: ast.Name) -> None:
        self.chains.append((node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        if names := dotted(node):
            self.attributes.update(names[1:])
            self.chains.append(names)
        else:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load) or dotted(node.value)[-1:] != ("environ",):
            self.visit(node.value)  # setting an environment variable reads none
        self.visit(node.slice)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.literals.add(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        self.calls.append(node)
        if dotted(node.func)[-1:] == ("import_module",) and node.args and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            self.imports.append(Import(name.lstrip("."), len(name) - len(name.lstrip(".")), ()))
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.imports += [Import(alias.name, 0, ()) for alias in node.names]
        self.imported |= {alias.asname: tuple(alias.name.split(".")) for alias in node.names if alias.asname}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports.append(Import(node.module or "", node.level, tuple(alias.name for alias in node.names)))
        module = () if node.level else tuple((node.module or "").split("."))
        self.imported |= {alias.asname or alias.name: (*module, alias.name) for alias in node.names if module}

    def visit_withitem(self, node: ast.withitem) -> None:
        if isinstance(node.optional_vars, ast.Name):
            self.opened.add(node.optional_vars.id)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all(node.decorator_list)
        self.visit(node.args)
        self._visit_all(body(node))

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords, *body(node)])

    def visit_Module(self, node: ast.Module) -> None:
        self._visit_all(body(node))

    def visit_arguments(self, node: ast.arguments) -> None:
        self._visit_all([default for default in [*node.defaults, *node.kw_defaults] if default is not None])

    def _visit_all(self, nodes: list[Any]) -> None:
        for node in nodes:
            self.visit(node)


@functools.lru_cache(maxsize=4096)
def undecorated(node: Definition, dropped: tuple[bool, ...]) -> Definition:
    """Return a definition without some of its decorators."""
    if isinstance(node, ast.Lambda) or not any(dropped):
        return node
    values = dict(ast.iter_fields(node))
    values["decorator_list"] = [d for d, drop in zip(node.decorator_list, dropped, strict=True) if not drop]
    return ast.copy_location(type(node)(**values), node)


@functools.lru_cache(maxsize=4096)
def shell(node: Definition) -> ast.AST:
    """Return a class statement without its methods' bodies."""
    assert isinstance(node, ast.ClassDef)
    values = dict(ast.iter_fields(node))
    values["body"] = [s for s in node.body if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)]
    return ast.copy_location(ast.ClassDef(**values), node)


def set_attributes(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield the dotted names that code sets, deletes, or changes an element of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted(node.func) == ("setattr",) and node.args:
            yield (*dotted(node.args[0]), "*")
        for target in getattr(node, "targets", [getattr(node, "target", None)]):
            held = _container(target)
            if isinstance(held, ast.Attribute) and (chain := dotted(held)):
                yield chain


def _container(node: ast.AST | None) -> ast.AST | None:
    return _container(node.value) if isinstance(node, ast.Subscript) else node


def code_names(code: CodeType) -> Iterator[str]:
    """Yield the names that a code object and those within it read."""
    yield from (*code.co_names, *code.co_freevars, *code.co_cellvars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_names(constant)


def dotted(node: ast.expr) -> tuple[str, ...]:
    """Return the names of `a.b.c`, or () if it does not start with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def body(node: ast.AST) -> list[ast.stmt]:
    """Return the statements of a definition or module without its docstring."""
    statements: list[ast.stmt] = getattr(node, "body", [])
    if statements and isinstance(statements[0], ast.Expr) and isinstance(statements[0].value, ast.Constant):
        return statements[1:] if isinstance(statements[0].value.value, str) else statements
    return statements


def _text(node: Any) -> Iterator[str]:
    """Write a node alike in all versions of Python; `ast.dump` does not."""
    if isinstance(node, list):
        yield "["
        for item in node:
            yield from _text(item)
            yield ","
        yield "]"
    elif isinstance(node, ast.AST):
        yield type(node).__name__ + "("
        for name, value in ast.iter_fields(node):
            if name in _IGNORED or value is None or value == []:
                continue
            documented = name == "body" and isinstance(node, _DOCUMENTED)
            yield name + "="
            yield from _text(body(node) if documented else value)
        yield ")"
    else:
        yield f"{type(node).__name__}:{node!r}"
