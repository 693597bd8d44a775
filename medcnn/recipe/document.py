"""YAML with the line of every key, read safely and by the rules of YAML 1.2.

PyYAML reads YAML 1.1, where ``no`` is false, ``12:30`` is 750 and ``1e-3`` is text. Recipes hold class
names such as ``no`` and learning rates such as ``1e-3``, so the scalars follow the core schema of
YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema); numbers with leading zeros stay text, as
identifiers such as ``0012`` must.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from medcnn.errors import MedcnnError

Key = tuple[str | int, ...]

# A recipe has a few hundred nodes; aliases of aliases would otherwise grow without bound.
_MOST_NODES = 20_000

_SCALARS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2."""


# A list of texts of this length is easier to read with one a line.
_SENTENCE = 60


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes whatever one of the two versions of YAML would read as something else than text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def _flow(dumper: yaml.SafeDumper, value: Any) -> yaml.Node:
    """Values in one line; mappings and sentences one below the other."""
    tall = any(isinstance(entry, dict) or (isinstance(entry, str) and len(entry) > _SENTENCE) for entry in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=not tall)


_Dumper.add_representer(list, _flow)
_Dumper.add_representer(tuple, _flow)


@dataclass(slots=True)
class Document:
    """What a YAML file holds, and where each key stands.

    Attributes:
        data: Plain values.
        source: The file, as messages name it.
        lines: Line of each key, counted from 1, by its path.
        problems: ``(line, text)`` of what cannot be taken as it is, such as a key that stands twice.
        overridden: Paths that were given on the command line.
    """

    data: Any
    source: str
    lines: dict[Key, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    overridden: set[Key] = field(default_factory=set)

    def place(self, path: Key) -> str:
        """``file:line`` of a key, or of the nearest section around it; ``override`` where it was given as one."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.overridden:
                return "override"
            if path[:end] in self.lines:
                return f"{self.source}:{self.lines[path[:end]]}"
        return self.source

    def order(self, path: Key) -> int:
        """A number by which problems are sorted: the line, overrides last."""
        place = self.place(path)
        line = place.rpartition(":")[2]
        return int(line) if line.isdigit() else 0 if place != "override" else 10**9


def read_document(path: Path) -> Document:
    """Read a YAML file.

    Raises:
        MedcnnError: If the file is missing, is not text or is not YAML, with the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MedcnnError("the file does not exist", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise MedcnnError("the file is not text in UTF-8", where=str(path)) from error
    except OSError as error:
        todo = "check that it is a file which you may read"
        raise MedcnnError(f"the file cannot be read: {error.strerror}", where=str(path), todo=todo) from error
    return parse_document(text, str(path))


def parse_document(text: str, source: str) -> Document:
    """Read YAML text; ``source`` is what messages call it."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = Document(None, source)
        if node is not None:
            _Walker(document).visit(node, ())
            document.data = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark is not None else source
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise MedcnnError(f"this is not valid YAML: {what}", where=where, todo=_hint(str(what))) from error
    except ValueError as error:
        raise MedcnnError(f"this is not valid YAML: {error}", where=source) from error
    return document


def parse_value(text: str) -> Any:
    """One value of an override, as YAML reads it; raises :class:`ValueError` where it is not YAML."""
    try:
        document = parse_document(text, "")
    except MedcnnError as error:
        raise ValueError(error.what.removeprefix("this is not valid YAML: ")) from error
    if document.problems:
        raise ValueError(document.problems[0][1])
    return document.data


def write_yaml(value: Any) -> str:
    """Plain values as YAML that :func:`parse_document` and any reader of YAML 1.1 or 1.2 read back equal."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _hint(what: str) -> str:
    if "'\\t'" in what:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in what or "expected <block end>" in what:
        return "check the indentation, and put text that holds ': ' in quotes"
    return ""


class _Walker:
    """Notes the line of every key and what YAML would swallow: keys that stand twice, keys that are not text."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0
        self._above: set[int] = set()

    def visit(self, node: yaml.Node, path: Key) -> None:
        self._count += 1
        line = node.start_mark.line + 1
        if self._count > _MOST_NODES or id(node) in self._above:
            raise yaml.constructor.ConstructorError(None, None, "too many values or aliases", node.start_mark)
        self._document.lines.setdefault(path, line)
        self._above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self.visit(item, (*path, i))
        self._above.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Key) -> None:
        seen: dict[Hashable, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    self.visit(merged, path)
                continue
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            dotted = ".".join(str(p) for p in (*path, name))
            if name is None:
                self._document.problems.append((line, "a key must be a word"))
                continue
            if name in seen:
                self._document.problems.append((line, f"{dotted}: stands twice (first in line {seen[name]})"))
            else:
                self._document.lines[(*path, name)] = line
            seen.setdefault(name, line)
            self.visit(value, (*path, name))
