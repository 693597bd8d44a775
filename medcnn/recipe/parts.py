"""What the sections of a recipe are made of: their base, components by name, and values that a plan decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    WrapSerializer,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

# What a recipe writes for a value that is planned from the training part.
AUTO = "auto"


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, protected_namespaces=())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list(self._objections())
        if problems:
            text = "; ".join(f"{key}: {what}" for key, what in problems)
            raise PydanticCustomError("problems", "{text}", {"text": text, "problems": problems})
        return self

    def _objections(self) -> Iterator[tuple[str, str]]:
        """What does not fit together, as ``(key, what)``; each section adds its own."""
        yield from ()


class Component(BaseModel):
    """A part chosen by name, with the options of its builder: ``adam`` or ``{name: adam, weight_decay: 0.01}``."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())
    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options without the name."""
        return dict(self.model_extra or {})

    @model_serializer
    def _plain(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


def _component(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Named = Annotated[Component, BeforeValidator(_component)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Precision = Annotated[Literal["auto", "32", "bf16", "16"], BeforeValidator(lambda v: str(v) if v in (16, 32) else v)]


def _planned(stands_for: Any, schema: dict[str, Any]) -> tuple[Any, ...]:
    """``auto`` is held as a value that nobody can write otherwise, so that the type stays that of real values."""

    def read(value: Any, inner: Callable[[Any], Any]) -> Any:
        return stands_for if value == AUTO else inner(value)

    def write(value: Any, inner: Callable[[Any], Any]) -> Any:
        return AUTO if value == stands_for else inner(value)

    return WrapValidator(read), WrapSerializer(write), WithJsonSchema({"anyOf": [{"const": AUTO}, *schema["anyOf"]]})


_COUNTS = {"type": "array", "items": {"type": "integer", "minimum": 1}}
_LENGTHS = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}}
# Without entries: planned.
PlannedSize = Annotated[tuple[Count, ...], Field(min_length=1), *_planned((), {"anyOf": [_COUNTS]})]
PlannedSpacing = Annotated[
    Annotated[tuple[Positive, ...], Field(min_length=1)] | None, *_planned((), {"anyOf": [_LENGTHS, {"type": "null"}]})
]
# 0: planned.
PlannedCount = Annotated[Count, *_planned(0, {"anyOf": [{"type": "integer", "minimum": 1}]})]
