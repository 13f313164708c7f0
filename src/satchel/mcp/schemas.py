"""JSON Schemas of the answers, made from their types, and the check of arguments against the schemas of tools.

Only the few words of JSON Schema that the tools use: a validating library takes longer to import than a search to run.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from satchel.errors import InvalidInput

Schema = dict[str, Any]

_SIMPLE: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    object: {},
}
_NAMES = {"string": "text", "integer": "a whole number", "boolean": "true or false", "array": "a list"}


def schema_of(shape: Any) -> Schema:
    """The schema of an answer's ``TypedDict``, all fields required; answers may grow fields, so others are allowed."""
    if shape in _SIMPLE:
        return dict(_SIMPLE[shape])
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [schema_of(one) for one in arguments if one is not types.NoneType] + [{"type": "null"}]}
    fields = typing.get_type_hints(shape)
    return {
        "type": "object",
        "properties": {name: schema_of(one) for name, one in fields.items()},
        "required": list(fields),
    }


def checked(arguments: object, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a tool if they fit its input schema. Raises ``InvalidInput`` naming the first that does not."""
    if not isinstance(arguments, dict):
        raise InvalidInput("the arguments are not an object")
    properties = schema["properties"]
    for name in arguments:
        if name not in properties:
            known = ", ".join(properties) or "none"
            raise InvalidInput(f"there is no argument {str(name)[:100]!r}; this tool takes: {known}")
    for name in schema.get("required", ()):
        if arguments.get(name) is None:
            raise InvalidInput(f"the argument {name!r} is missing")
    given = {name: _plain(value) for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        _check(name, value, properties[name])
    return given


def _plain(value: object) -> object:
    """A whole number is one however it is written: 5.0 is one to JSON Schema, and some programs know no others."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def is_whole(text: str) -> bool:
    """Whether all of a text is characters: JSON can also say half of one, which nothing that is stored holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check(name: str, value: object, schema: Mapping[str, Any]) -> None:
    wanted = schema["type"]
    fits = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
    }[wanted]
    if not fits:
        raise InvalidInput(f"{name} is not {_NAMES[wanted]}")
    if isinstance(value, str):
        if len(value) > schema.get("maxLength", len(value)):
            raise InvalidInput(f"{name} is longer than {schema['maxLength']:,} characters")
        if not is_whole(value):
            raise InvalidInput(f"{name} holds half of a surrogate pair")
    if isinstance(value, int) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        limits = (
            f"from {schema['minimum']:,} to {schema['maximum']:,}"
            if "maximum" in schema
            else (f"at least {schema['minimum']:,}")
        )
        raise InvalidInput(f"{name} is {value}; it may be {limits}")
    if isinstance(value, list):
        if len(value) > schema["maxItems"]:
            raise InvalidInput(f"{name} has more than {schema['maxItems']} items")
        for item in value:
            _check(f"an item of {name}", item, schema["items"])
