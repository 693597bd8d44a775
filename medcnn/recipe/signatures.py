"""What a builder takes, read without importing it where that can be done.

Tasks and losses import torch, which costs seconds. A recipe is checked before that, so the signature is
read from the builder's source: its annotations are evaluated with the names that its module defines or
imports, as long as those lead to the standard library or to a few light packages. Where they do not (a
decorated function, an inherited constructor, no source), the builder is imported after all.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Packages whose import costs little and that annotations may need.
_LIGHT = frozenset({"numpy", "pydantic", "pydantic_core", "annotated_types", "typing_extensions"})

REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a builder.

    Attributes:
        name: Its name.
        annotation: Its type; ``Any`` where there is none that can be used.
        default: :data:`REQUIRED` where there is none.
        description: What the docstring says of it.
    """

    name: str
    annotation: Any
    default: Any
    description: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments of a builder.

    Attributes:
        arguments: In order, without those left out.
        open: Whether it takes any other keyword too (``**options``).
        summary: First line of its docstring.
    """

    arguments: tuple[Argument, ...]
    open: bool
    summary: str


class _UnreadableError(Exception):
    """The source alone does not say it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which arguments of a builder count; the annotations of the others need not be readable.

    Attributes:
        method: For a class, the method whose arguments count; its constructor where this is ``None``.
        without: Arguments to leave out.
        optional: Leave out all arguments without a default.
    """

    method: str | None = None
    without: Collection[str] = ()
    optional: bool = False

    def includes(self, name: str, default: Any) -> bool:
        """Whether an argument counts."""
        return name not in self.without and not (self.optional and default is REQUIRED)


def read_signature(target: str, wanted: Wanted = Wanted()) -> Signature:
    """The signature of ``module:attribute``.

    Args:
        target: A function or class, as the registry names it.
        wanted: Which of its arguments.

    Raises:
        ImportError: If the module is not there or cannot be imported.
        AttributeError: If the module has no such attribute.
    """
    module, _, attribute = target.partition(":")
    if module not in sys.modules:
        try:
            return _from_source(module, attribute, wanted)
        except _UnreadableError:
            pass
    return _from_object(module, attribute, wanted)


def _from_object(module: str, attribute: str, wanted: Wanted) -> Signature:
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    if inspect.isclass(found):
        function = getattr(found, wanted.method or "__init__")
        text = f"{found.__doc__ or ''}\n{inspect.getdoc(function) or ''}"
    else:
        function, text = found, inspect.getdoc(found) or ""
    described = _described(text)
    parameters = list(inspect.signature(function).parameters.values())
    if inspect.isclass(found) and not inspect.ismethod(function) and parameters:
        parameters = parameters[1:]
    arguments = [
        Argument(p.name, _evaluated(p.annotation, function), p.default, described.get(p.name, ""))
        for p in parameters
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and wanted.includes(p.name, p.default)
    ]
    return Signature(tuple(arguments), any(p.kind is p.VAR_KEYWORD for p in parameters), _summary(found.__doc__))


def _evaluated(annotation: Any, function: Any) -> Any:
    """A type from an annotation that may be text; ``Any`` where a name is known to the type checker alone."""
    if annotation is inspect.Parameter.empty:
        return Any
    names = dict(getattr(inspect.unwrap(function), "__globals__", {}))
    try:
        # Twice, where an annotation in quotes stands in a module whose annotations are text anyway.
        while isinstance(annotation, str):
            annotation = eval(annotation, names)
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any
    return annotation


def _from_source(module: str, attribute: str, wanted: Wanted) -> Signature:
    names = _names_of(module)
    node = names.definition(attribute)
    text = ast.get_docstring(node) or ""
    summary = _summary(text)
    allowed: set[str] = set()
    skip = 0
    if isinstance(node, ast.ClassDef):
        name = wanted.method or "__init__"
        inner = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == name]
        if not inner:
            raise _UnreadableError(f"{attribute} inherits {name}")
        node, skip, allowed = inner[0], 1, {"classmethod"}
        text += "\n" + (ast.get_docstring(node) or "")
    if {ast.unparse(d) for d in node.decorator_list} - allowed:
        raise _UnreadableError(f"{attribute} is decorated")
    described = _described(text)
    arguments = [
        Argument(
            a.arg,
            names.annotation(a.annotation),
            names.evaluate(default) if default is not None else REQUIRED,
            described.get(a.arg, ""),
        )
        for a, default in list(_parameters(node.args))[skip:]
        if wanted.includes(a.arg, REQUIRED if default is None else default)
    ]
    return Signature(tuple(arguments), node.args.kwarg is not None, summary)


def _parameters(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    yield from zip(positional, [*[None] * missing, *arguments.defaults], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


@cache
def _names_of(module: str) -> _Names:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError) as error:
        raise _UnreadableError(module) from error
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise _UnreadableError(module)
    try:
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise _UnreadableError(module) from error
    return _Names(spec.parent or "", tree)


class _Names(Mapping[str, Any]):
    """The names of a module, each found in its source when it is asked for, without running the module."""

    def __init__(self, package: str, tree: ast.Module) -> None:
        self._package = package
        self._nodes: dict[str, ast.stmt] = {}
        for node in tree.body:
            self._note(node)

    def _note(self, node: ast.stmt) -> None:
        if isinstance(node, ast.If):
            # ``if TYPE_CHECKING:`` holds names that annotations use.
            for inner in node.body:
                self._note(inner)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                self._nodes[(alias.asname or alias.name).partition(".")[0]] = node
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            self._nodes[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    self._nodes[target.id] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self._nodes[node.target.id] = node

    def definition(self, name: str) -> ast.FunctionDef | ast.ClassDef:
        """The function or class of that name, which must be defined in this module."""
        node = self._nodes.get(name)
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            raise _UnreadableError(name)
        return node

    def annotation(self, node: ast.expr | None) -> Any:
        """The type that an annotation, in quotes or not, stands for."""
        if node is None:
            return Any
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        return self.evaluate(node)

    def evaluate(self, node: ast.expr) -> Any:
        """The value of an expression, such as a default."""
        try:
            return eval(compile(ast.Expression(node), "<signature>", "eval"), {"__builtins__": {}}, self)
        except Exception as error:
            raise _UnreadableError(ast.unparse(node)) from error

    def __getitem__(self, name: str) -> Any:
        node = self._nodes.get(name)
        if node is None:
            return getattr(builtins, name)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            return self.evaluate(node.value)
        if isinstance(node, ast.ImportFrom):
            return self._imported(node, name)
        if isinstance(node, ast.Import):
            alias = next(a for a in node.names if (a.asname or a.name).partition(".")[0] == name)
            return _light_module(alias.name if alias.asname else name)
        raise _UnreadableError(name)

    def _imported(self, node: ast.ImportFrom, name: str) -> Any:
        original = next(a.name for a in node.names if (a.asname or a.name) == name)
        module = importlib.util.resolve_name("." * node.level + (node.module or ""), self._package)
        try:
            return getattr(_light_module(module), original)
        except _UnreadableError:
            return _names_of(module)[original]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


def _light_module(name: str) -> Any:
    top = name.partition(".")[0]
    if name in sys.modules or top in sys.stdlib_module_names or top in _LIGHT:
        return importlib.import_module(name)
    raise _UnreadableError(name)


def _summary(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _described(text: str) -> dict[str, str]:
    """Descriptions by argument from the ``Args`` sections of docstrings in Google style."""
    found: dict[str, str] = {}
    for section in re.findall(r"^[ ]*Args:\n((?:[ ]+\S.*\n?|[ ]*\n)*)", text, flags=re.MULTILINE):
        lines = section.splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        name = ""
        for line in lines:
            start = re.match(rf"^ {{{indent}}}(\w+)(?:\s*\(.*?\))?:\s*(.*)$", line)
            if start:
                name = start[1]
                found[name] = start[2].strip()
            elif name and line.strip() and line.startswith(" " * (indent + 1)):
                found[name] += " " + line.strip()
            elif line.strip():
                name = ""
    return {name: re.sub(r"``([^`]*)``|:\w+:`~?([^`]*)`", lambda m: m[1] or m[2], t) for name, t in found.items()}
