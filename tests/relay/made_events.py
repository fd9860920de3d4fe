"""Events of every kind that the `openai` package's types describe, made from those types alone. Pure."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal

import pydantic
from hypothesis import strategies as st

TEXT = st.sampled_from(["", "a", "item_1", "alloy"])


def made(annotation: Any) -> st.SearchStrategy[Any]:
    """Values that fit a type annotation, as JSON would hold them; optional keys are there or not."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return made(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return st.one_of([made(each) for each in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(made(arguments[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(TEXT, made(arguments[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return _made_model(annotation)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: st.integers(0, 9),
        float: st.floats(0, 1),
        bool: st.booleans(),
        type(None): st.none(),
        object: TEXT,
        Any: TEXT,
    }
    return plain[annotation]


def _made_model(model: type[pydantic.BaseModel]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return st.fixed_dictionaries(
        {key: made(field.annotation) for key, field in fields.items() if field.is_required()},
        optional={key: made(field.annotation) for key, field in fields.items() if not field.is_required()},
    )
