"""What the OpenAPI document promises whom, one line each, so that a release's promises can be compared with today's.

A line of a release that is no more breaks somebody's program: an operation, a parameter, a body, a value that was
taken, a field of an answer. So does a demand (``needs``) that a release did not make. Anything else may come and go. A
release leaves one file here, which is never changed: ``python -m tests.conformance.contract.promised FILE`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]
FOLDER = Path(__file__).parent
NEEDS = " needs "


def broken(before: set[str], now: set[str]) -> list[str]:
    """What a program that was written for ``before`` misses in ``now``, or is asked for."""
    lost = {line for line in before - now if NEEDS not in line}
    places = {line.partition(" takes ")[0] for line in before}  # what is new as a whole may need what it wants
    demanded = {line for line in now - before if NEEDS in line and line.partition(NEEDS)[0] in places}
    return sorted([f"gone: {line}" for line in lost] + [f"new: {line}" for line in demanded])


def lines(document: Schema) -> set[str]:
    """Every line of a document."""
    found: set[str] = set()
    taken: set[str] = set()
    given: set[str] = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found.update(_of_operation(f"{method.upper()} {path}", operation, taken, given))
    schemas = document["components"]["schemas"]
    for reached, tell in ((taken, _taken), (given, _given)):
        told: set[str] = set()
        while waiting := reached - told:
            name = waiting.pop()
            told.add(name)
            found.update(tell(name, schemas[name], reached))
    return found


def _of_operation(place: str, operation: Schema, taken: set[str], given: set[str]) -> Iterator[str]:
    yield place
    for parameter in operation.get("parameters", ()):
        yield from _each(f"{place} takes {parameter['in']} {parameter['name']}", parameter.get("schema", {}), taken)
        if parameter.get("required"):
            yield f"{place}{NEEDS}{parameter['in']} {parameter['name']}"
    body = operation.get("requestBody", {})
    for media, content in body.get("content", {}).items():
        yield from _each(f"{place} takes {media}", content.get("schema", {}), taken)
    if body.get("required"):
        yield f"{place}{NEEDS}a body"
    for status, response in operation["responses"].items():
        if status < "400":
            yield f"{place} gives {status}"
            yield from (f"{place} gives {status} with {header}" for header in response.get("headers", ()))
            for media, content in response.get("content", {}).items():
                yield f"{place} gives {status} {media} {_shape(content.get('schema', {}), given)}"


def _taken(name: str, schema: Schema, reached: set[str]) -> Iterator[str]:
    """Of what a request holds, every form and value of every field is promised, and what has to be there is a need."""
    yield name
    for field, of in schema.get("properties", {}).items():
        yield from _each(f"{name} takes {field}", of, reached)
    yield from (f"{name}{NEEDS}{field}" for field in schema.get("required", ()))


def _given(name: str, schema: Schema, reached: set[str]) -> Iterator[str]:
    """Of what an answer holds, every field with its whole form, and that it is always there."""
    for field, of in schema.get("properties", {}).items():
        yield f"{name} gives {field} {_shape(of, reached)}"
    yield from (f"{name} gives {field} always" for field in schema.get("required", ()))


def _each(place: str, schema: Schema, reached: set[str]) -> Iterator[str]:
    for one in schema.get("anyOf", [schema]):
        yield f"{place} {_shape(one, reached)}"
        yield from (f"{place} {value!r}" for value in one.get("enum", ()))


def _shape(schema: Schema, reached: set[str]) -> str:
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        reached.add(name)
        return name
    if "anyOf" in schema:
        return "|".join(sorted(_shape(one, reached) for one in schema["anyOf"]))
    if "items" in schema:
        return f"[{_shape(schema['items'], reached)}]"
    more = schema.get("additionalProperties")
    if isinstance(more, Mapping):
        return f"{{{_shape(more, reached)}}}"
    return str(schema.get("type", "word" if "enum" in schema else "anything"))


if __name__ == "__main__":
    from satchel.server.app import build
    from satchel.server.openapi import document

    Path(sys.argv[1]).write_text("".join(f"{line}\n" for line in sorted(lines(document(build(), "0")))), "utf-8")
