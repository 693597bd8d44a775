"""Cleans a drawing for use inside an HTML page: only shapes and text, no ids of its own that could clash."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

_SHAPES = frozenset({"svg", "g", "path", "text", "tspan", "defs", "clipPath", "rect", "use", "circle", "line"})
_ATTRIBUTES = frozenset(
    {
        "viewBox", "width", "height", "d", "style", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r",
        "clip-path", "href", "id",
    }
)  # fmt: skip
_DECIMALS = re.compile(r"-?\d+\.\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def clean(svg: str, prefix: str, label: str) -> str:
    """The drawing as markup that can stand in a page beside others.

    Elements and attributes outside a short list of shapes are dropped (scripts, styles, metadata, event
    handlers, links), references stay inside the drawing, and coordinates keep two decimals.

    Args:
        svg: A whole SVG file.
        prefix: Unique in the page; put before the ids that are referred to.
        label: What the drawing shows, for readers who hear it.
    """
    root = ET.fromstring(svg)
    _strip(root)
    used = {i for e in root.iter() for i in _references(e)}
    for element in root.iter():
        _rewrite(element, prefix, used)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rsplit("}", 1)[-1]


def _strip(element: ET.Element) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(k): v for k, v in element.attrib.items()}
    element.attrib = {k: v for k, v in attributes.items() if k in _ATTRIBUTES}
    if not element.get("href", "#").startswith("#"):
        del element.attrib["href"]
    if not (element.text or "").strip():
        element.text = None
    element.tail = None
    for child in list(element):
        if not isinstance(child.tag, str) or _local(child.tag) not in _SHAPES:
            element.remove(child)
        else:
            _strip(child)


def _references(element: ET.Element) -> list[str]:
    href = element.get("href")
    found = [m for value in element.attrib.values() for m in _REFERENCE.findall(value)]
    return [href[1:], *found] if href else found


def _rewrite(element: ET.Element, prefix: str, used: set[str]) -> None:
    if element.get("id") not in used:
        element.attrib.pop("id", None)
    for key, value in element.attrib.items():
        if key == "id":
            value = prefix + value
        elif key == "href":
            value = f"#{prefix}{value[1:]}"
        else:
            value = _REFERENCE.sub(rf"url(#{prefix}\1)", value)
            value = _DECIMALS.sub(lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), value)
        element.set(key, re.sub(r"\s+", " ", value).strip())
