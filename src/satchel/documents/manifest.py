"""The project's ``context.json``: what it is called, its repositories and services, its relations to other projects.

Every field is optional and unknown fields are kept, so a person may add what an agent should know. Reading is
lenient where a part is wrong (the rest still serves, ``manifest_problems`` names the part) and strict about the
file itself: one JSON object, UTF-8, no key twice, at most ``MAX_MANIFEST_BYTES``. ``SCHEMA`` is the same rules as
JSON Schema 2020-12, published as ``docs/spec/context.schema.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from satchel.errors import InvalidInput, UsageError

MAX_MANIFEST_BYTES = 1024 * 1024
RELATION_TYPES = ("part-of", "depends-on", "related-to")

_TEXT: dict[str, Any] = {"type": "string", "maxLength": 10_000}
_NAMED: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 200}, "url": _TEXT, "description": _TEXT},
}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Satchel context manifest",
    "description": "context.json at the root of a project. Unknown fields are allowed and kept.",
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 200},
        "description": _TEXT,
        "repositories": {"type": "array", "maxItems": 1_000, "items": _NAMED},
        "services": {"type": "array", "maxItems": 1_000, "items": _NAMED},
        "relations": {
            "type": "array",
            "maxItems": 1_000,
            "items": {
                "type": "object",
                "required": ["type", "project"],
                "properties": {
                    "type": {"enum": list(RELATION_TYPES)},
                    "project": {"type": "string", "minLength": 1, "maxLength": 200},
                },
            },
        },
    },
}


class ManifestInvalid(UsageError):
    code = "context.invalid"
    default_hint = "Mend context.json: it is one JSON object; see docs/spec/context.schema.json."


class ProjectRelation(NamedTuple):
    type: str
    project: str
    """Slug or id."""


@dataclass(frozen=True, slots=True)
class Manifest:
    description: str
    relations: tuple[ProjectRelation, ...]
    raw: dict[str, Any]
    """The whole object as it stands in the file."""


def parse_manifest(data: bytes) -> Manifest:
    """Read a ``context.json``; parts that break the schema are left out, and relations beyond the most it may have.
    Raises ``ManifestInvalid``."""
    raw = load_object(data)
    description, relations = raw.get("description", ""), raw.get("relations")
    right = (
        ProjectRelation(item["type"], item["project"])
        for item in (relations if isinstance(relations, list) else ())
        if not list(_problems(item, _items_schema("relations"), "")) and "\0" not in item["project"]  # names nothing
    )
    return Manifest(
        description="" if list(_problems(description, _TEXT, "")) else description,
        relations=tuple(islice(right, SCHEMA["properties"]["relations"]["maxItems"])),
        raw=raw,
    )


def manifest_problems(data: bytes) -> list[str]:
    """What is wrong with it, one sentence each, at most 20; empty exactly when it fits ``SCHEMA``."""
    try:
        raw = load_object(data)
    except ManifestInvalid as error:
        return [error.message]
    return [f"context.json: {problem}" for problem, _ in zip(_problems(raw, SCHEMA, ""), range(20), strict=False)]


def with_relation(data: bytes | None, type_: str, project: str) -> bytes:
    """The manifest with that relation in it (once), all else, order included, kept; ``None`` starts a new file.

    Raises ``ManifestInvalid`` where ``data`` is not one, and ``InvalidInput`` for a type or project it cannot hold.
    """
    relation = {"type": type_, "project": project}
    for problem in _problems(relation, _items_schema("relations"), "relation"):
        raise InvalidInput(problem)
    raw = load_object(data) if data is not None else {}
    relations = raw.setdefault("relations", [])
    if not isinstance(relations, list):
        raise ManifestInvalid("context.json: relations is not an array")
    if not any(isinstance(item, dict) and {**item, **relation} == item for item in relations):
        relations.append(relation)
    return _encode(lambda: raw, data)


def merged(data: bytes | None, change: Mapping[str, Any]) -> bytes:
    """The manifest after a JSON merge patch (RFC 7396): objects merge, ``null`` removes, all else replaces.

    Raises ``ManifestInvalid`` where ``data`` is not a manifest or the result would break the schema.
    """
    raw = load_object(data) if data is not None else {}
    result = _encode(lambda: _merge(raw, change), data)
    problems = manifest_problems(result)
    if problems:
        raise ManifestInvalid(f"context.json would not be valid: {problems[0]}", problems=problems)
    return result


def load_object(data: bytes) -> dict[str, Any]:
    """One strict JSON object. Raises ``ManifestInvalid``."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(f"context.json is over {MAX_MANIFEST_BYTES:,} bytes")
    try:
        raw = json.loads(data.decode("utf-8-sig"), object_pairs_hook=no_repeats, parse_constant=_no_constant)
        # An escaped half surrogate and 1e999 are read, and could not be written again.
        json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeError as error:
        raise ManifestInvalid("context.json is not UTF-8") from error
    except RecursionError as error:
        raise ManifestInvalid("context.json is nested too deeply") from error
    except ValueError as error:
        raise ManifestInvalid(f"context.json is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ManifestInvalid("context.json is not a JSON object")
    return raw


def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as ``object_pairs_hook`` makes it; ``ValueError`` where a key is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _encode(make: Callable[[], Mapping[str, Any]], before: bytes | None) -> bytes:
    """What is made, as indented as it was, with a final line end. Raises ``ManifestInvalid`` where it cannot be.

    Ends where there is too much of it: indented, a thousand brackets in one another make a gigabyte of a megabyte.
    """
    found = re.search(rb"\n([ \t]{1,16}+)\"", before or b"")
    indent: int | str = found[1].decode() if found else 2
    parts: list[bytes] = []
    size = 1
    try:
        for part in json.JSONEncoder(ensure_ascii=False, indent=indent).iterencode(make()):
            parts.append(part.encode())
            size += len(parts[-1])
            if size > MAX_MANIFEST_BYTES:
                raise ManifestInvalid(f"context.json would be over {MAX_MANIFEST_BYTES:,} bytes")
    except RecursionError as error:
        raise ManifestInvalid("context.json would be nested too deeply") from error
    return b"".join(parts) + b"\n"


def _merge(target: Any, change: Any) -> Any:
    if not isinstance(change, Mapping):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


# The few words of JSON Schema that SCHEMA uses; validating libraries take longer to import than a search to run. ------

_TYPES: dict[str, type] = {"string": str, "object": dict, "array": list}


def _problems(value: object, schema: Mapping[str, Any], where: str) -> Iterable[str]:
    place = where or "it"
    wanted = schema.get("type")
    if wanted and not isinstance(value, _TYPES[wanted]):
        yield f"{place} is not {'an' if wanted[0] in 'ao' else 'a'} {wanted}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is not one of {', '.join(schema['enum'])}"
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield f"{place} is empty"
        if len(value) > schema.get("maxLength", len(value)):
            yield f"{place} is over {schema['maxLength']:,} characters"
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{place} has over {schema['maxItems']:,} items"
        for number, item in enumerate(value):
            yield from _problems(item, schema.get("items", {}), f"{where}[{number}]")
    elif isinstance(value, dict):
        yield from (f"{place} lacks {key}" for key in schema.get("required", ()) if key not in value)
        for key, rule in schema.get("properties", {}).items():
            if key in value:
                yield from _problems(value[key], rule, f"{where}.{key}" if where else key)


def _items_schema(key: str) -> dict[str, Any]:
    schema: dict[str, Any] = SCHEMA["properties"][key]["items"]
    return schema
