"""The reference page of the tools, made from their declarations: ``docs/reference/mcp.md``."""

from __future__ import annotations

import json

from satchel.mcp.schemas import Schema
from satchel.mcp.tools import TOOLS, WRITING


def page() -> str:
    """In Markdown."""
    lines = [
        "# MCP tools",
        "",
        "The same over stdio (`satchel mcp`) and HTTP (`/mcp`). Made from the declarations in `satchel.mcp.tools`; do",
        "not edit by hand. Answers have the shapes of `satchel.context.answers`, as structured content and as JSON",
        "text. What goes wrong comes back as a tool error with `code`, `message` and `hint`; the codes have pages",
        "in `docs/errors/`. Each tool says in its annotations whether it only reads. Artifacts are resources too, as `satchel://{project}/{path}`.",
    ]
    for tool in (*TOOLS, *WRITING):
        lines += ["", f"## {tool.name}", "", tool.description, ""]
        if tool.writes:
            lines += ["Writes: offered by `satchel mcp --write`, and at `/mcp` to who may write.", ""]
        if not tool.input_schema["properties"]:
            lines.append("No arguments.")
            continue
        lines += ["| argument | type | limits | default | meaning |", "|---|---|---|---|---|"]
        required = tool.input_schema.get("required", ())
        for name, schema in tool.input_schema["properties"].items():
            default = "required" if name in required else json.dumps(schema["default"]) if "default" in schema else ""
            lines.append(f"| `{name}` | {schema['type']} | {_limits(schema)} | {default} | {schema['description']} |")
    return "\n".join(lines) + "\n"


def _limits(schema: Schema) -> str:
    if "maxLength" in schema:
        return f"{schema['maxLength']:,} characters"
    if "maxItems" in schema:
        return f"{schema['maxItems']} items"
    if "maximum" in schema:
        return f"{schema['minimum']:,} to {schema['maximum']:,}"
    return f"from {schema['minimum']}" if "minimum" in schema else ""
