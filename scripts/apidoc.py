"""The OpenAPI document as pages for people: one a group of operations, and one of the shapes that they exchange."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SHAPES = "shapes"


def pages(described: Mapping[str, Any]) -> dict[str, str]:
    """Markdown by the name of the page, in the order of the document."""
    groups: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(path, method.upper(), operation))
    made = {tag: f"# {tag.capitalize()}\n\n" + "\n".join(parts) for tag, parts in groups.items()}
    shapes = "\n".join(_shape(name, schema) for name, schema in described["components"]["schemas"].items())
    made[SHAPES] = (
        f"# Shapes\n\nWhat requests and answers hold, by name. `?` marks a field that may be absent.\n\n{shapes}"
    )
    return made


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    lines = [f"## `{method} {path}`", "", f"**{operation['summary']}.**", "", operation.get("description", ""), ""]
    if operation.get("parameters"):
        lines += ["| parameter | in | type | meaning |", "|---|---|---|---|"]
        for parameter in operation["parameters"]:
            name = f"`{parameter['name']}`" + ("" if parameter.get("required") else " ?")
            kind = _kind(parameter.get("schema", {}))
            lines.append(f"| {name} | {parameter['in']} | {kind} | {_cell(parameter.get('description', ''))} |")
        lines.append("")
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"Body: `{media}`, {_kind(content.get('schema', {}))}", ""]
        if "example" in content and media == "application/json":
            lines += ["```json", json.dumps(content["example"], indent=2, ensure_ascii=False), "```", ""]
    lines += ["| answer | what | |", "|---|---|---|"]
    for status, answer in operation["responses"].items():
        shapes = ", ".join(
            f"`{media}` {_kind(content.get('schema', {}))}"
            for media, content in answer.get("content", {}).items()
            if media != "application/problem+json"
        )
        lines.append(f"| {status} | {_cell(answer.get('description', ''))} | {shapes} |")
    return "\n".join([*lines, ""])


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    lines = [f"## {name}", "", schema.get("description", "").partition("\n")[0], ""]
    if schema.get("properties"):
        lines += ["| field | type | meaning |", "|---|---|---|"]
        for field, of in schema["properties"].items():
            mark = "" if field in schema.get("required", ()) else " ?"
            lines.append(f"| `{field}`{mark} | {_kind(of)} | {_cell(of.get('description', ''))} |")
    else:
        lines.append(_kind(schema))
    return "\n".join([*lines, ""])


def _kind(schema: Mapping[str, Any]) -> str:
    """The type in words, with its limits; a shape by a link to it."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}]({SHAPES}.md#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    limits = [
        f"{words} {schema[name]:,}"
        for name, words in (
            ("minimum", "from"), ("maximum", "to"), ("minLength", "at least"), ("maxLength", "at most"),
        )
        if isinstance(schema.get(name), int)
    ]  # fmt: skip
    return " ".join([str(schema.get("type", "any")), *limits])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
