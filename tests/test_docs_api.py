"""The reference in docs/api.md is made from the code: ``python tests/test_docs_api.py`` writes it anew."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import medcnn
from medcnn import api, errors, types
from medcnn.data.audit import Audit, Finding
from medcnn.data.getting import Got
from medcnn.evaluation import results
from medcnn.models.describe import LayerInfo
from medcnn.progress import Progress
from medcnn.tasks.base import EvaluationOptions, Task, TaskModel, TrainingFacts
from medcnn.workflow.convert import Converted

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
MARK = "<!-- The rest is made from the code: python tests/test_docs_api.py -->\n"

FUNCTIONS = (
    "run", "train", "evaluate", "evaluate_table", "predict", "report", "load_recipe", "load_dataset",
    "get_dataset", "audit", "describe", "make_phantom", "convert",
)  # fmt: skip
TYPES: dict[str, tuple[type, ...]] = {
    "Data": (types.Dataset, types.Case, types.ImageRef, types.Image, types.LabelSchema, types.LabelClass,
             types.Exclusion),
    "Targets": (types.ClassLabel, types.Value, types.Mask, types.Boxes),
    "Predictions": (types.ClassPrediction, types.ValuePrediction, types.MaskPrediction, types.BoxesPrediction,
                    types.Counts),
    "Runs and their figures": (api.Run, results.Evaluation, results.Figure, results.Interval, LayerInfo, Audit,
                               Finding, Got, Converted, Progress),
    "Tasks": (Task, TaskModel, TrainingFacts, EvaluationOptions),
    "Errors": (errors.MedcnnError, errors.RecipeError, errors.DataError, errors.ImageError, errors.ModelError,
               errors.RunError),
}  # fmt: skip


def reference() -> str:
    """The generated part of the page."""
    parts = ["## Functions\n"]
    for name in FUNCTIONS:
        parts.append(function(name, getattr(api, name)))
    for heading, kinds in TYPES.items():
        parts.append(f"## {heading}\n")
        parts += [kind_of_thing(kind) for kind in kinds]
    return "\n".join(parts)


def function(name: str, found: Callable[..., Any]) -> str:
    text, sections = taken_apart(inspect.getdoc(found) or "")
    fence = f"<!-- test: signature -->\n```python\n{signature(name, found)}\n```"
    return "\n\n".join([f"### `medcnn.{name}`", fence, text, *described(sections)]) + "\n"


def kind_of_thing(kind: type) -> str:
    own_doc = inspect.getdoc(kind) or ""
    text, sections = taken_apart("" if own_doc.startswith(f"{kind.__name__}(") else own_doc)
    module = f"From `{kind.__module__}`."
    lines = [f"### `{kind.__name__}`", f"{text} {module}".strip()]
    notes = {**sections.pop("Args", {}), **sections.pop("Attributes", {})}
    if dataclasses.is_dataclass(kind):
        known = [f.name for f in dataclasses.fields(kind)]
        assert set(notes) <= set(known), f"{kind.__name__} describes what it does not have"
        rows = [
            f"| `{f.name}` | `{escaped(str(f.type))}` | {notes.pop(f.name, '')} |" for f in dataclasses.fields(kind)
        ]
        lines.append("\n".join(["| field | type | what it is |", "|---|---|---|", *rows]))
    elif notes:
        lines.append(table("name", notes))
    found = dict(members(kind))
    if found:
        lines.append(table("member", found))
    return "\n\n".join(lines) + "\n"


def members(kind: type) -> Iterator[tuple[str, str]]:
    """Public properties and methods with the first sentence of what they do."""
    for name, value in vars(kind).items():
        plain = inspect.unwrap(value.__func__) if isinstance(value, classmethod | staticmethod) else value
        if name.startswith("_") or not (callable(plain) or hasattr(plain, "__get__")) or isinstance(plain, type):
            continue
        doc = cleaned((inspect.getdoc(plain) or "").partition("\n\n")[0])
        if inspect.isfunction(plain):
            yield re.sub(r"\s+", " ", signature(name, plain).replace("\n", " ")), doc
        elif doc and not inspect.ismemberdescriptor(plain):
            yield name, doc


def signature(name: str, found: Callable[..., Any]) -> str:
    """As it is called: one line, or one a parameter where that is too long."""
    whole = inspect.signature(found)
    shown, keyword_only = [], False
    for parameter in whole.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            shown, keyword_only = [*shown, "*"], True
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        note = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("'", '"')
        shown.append(f"{stars}{parameter.name}{note}{default}")
    end = "" if whole.return_annotation is whole.empty else f" -> {whole.return_annotation}"
    line = f"{name}({', '.join(shown)}){end}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){end}"


def taken_apart(doc: str) -> tuple[str, dict[str, dict[str, str]]]:
    """The text of a docstring, and its sections with what they name."""
    text, *rest = re.split(r"^(Args|Attributes|Returns|Raises):\n", doc, flags=re.M)
    sections: dict[str, dict[str, str]] = {}
    for heading, body in zip(rest[::2], rest[1::2], strict=True):
        inner = inspect.cleandoc(body)
        if heading == "Returns":
            sections[heading] = {"": cleaned(inner)}
            continue
        items = re.split(r"^(\*{0,2}\w+):\s", inner, flags=re.M)[1:]
        sections[heading] = {name: cleaned(what) for name, what in zip(items[::2], items[1::2], strict=True)}
    return cleaned(text), sections


def described(sections: dict[str, dict[str, str]]) -> Iterator[str]:
    if "Args" in sections:
        yield table("argument", sections["Args"])
    if "Returns" in sections:
        yield f"Returns: {sections['Returns']['']}"
    if "Raises" in sections:
        yield "Raises: " + " ".join(f"`{name}`: {what}" for name, what in sections["Raises"].items())


def table(heading: str, rows: dict[str, str]) -> str:
    lines = [f"| `{escaped(name)}` | {what} |" for name, what in rows.items()]
    return "\n".join([f"| {heading} | what it is |", "|---|---|", *lines])


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


def cleaned(text: str) -> str:
    """One paragraph in Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return escaped(" ".join(text.replace("``", "`").split()))


def test_the_reference_is_that_of_the_code() -> None:
    _, mark, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert mark
    assert rest.strip() == reference().strip(), "run python tests/test_docs_api.py"


def test_every_public_name_is_in_the_reference() -> None:
    public = {name for name in medcnn.__all__ if not name.startswith("__")}
    assert public == {*FUNCTIONS, "Run", "MedcnnError"}
    assert {name for name in api.__all__ if name != "Run"} == set(FUNCTIONS)
    assert set(medcnn.__dir__()) == set(medcnn.__all__)


def test_every_argument_is_described() -> None:
    for name in FUNCTIONS:
        found = getattr(api, name)
        _, sections = taken_apart(inspect.getdoc(found) or "")
        wanted = [
            f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in inspect.signature(found).parameters.values()
        ]
        assert list(sections["Args"]) == wanted, name
        assert "Returns" in sections, name
        assert "Raises" in sections, name


if __name__ == "__main__":
    head, mark, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    PAGE.write_text(f"{head}{mark}\n{reference()}", encoding="utf-8")
