"""The reference page of the tools, made from their declarations: ``docs/reference/mcp.md``."""

from __future__ import annotations

import json

from satchel.mcp.prompts import PROMPTS
from satchel.mcp.schemas import Schema
from satchel.mcp.tools import TOOLS, WRITING
from satchel.mcp.watching import MAX_WATCHED

_RESOURCES = (
    "Every artifact is a resource, `satchel://{project}/{path}`, the path percent-encoded part by part; lists come in",
    "pages. What is not text is listed and cannot be read so: it is read over REST or from the folder. `mimeType` is",
    "left out where the name does not tell.",
    "",
    "A client of 2026-07-28 hears of changes by `subscriptions/listen`, over stdio and HTTP: of the resources",
    f"it names (at most {MAX_WATCHED:,}), and of other resources being listed (`resourcesListChanged`). Over stdio, a",
    "client of the versions with a handshake subscribes with `resources/subscribe`, and hears of another list once it",
    "asked for one. Over stdio, folder or server is looked at every five seconds; at `/mcp` whenever something was",
    "committed. Tools and prompts never change.",
)
_PROTOCOL = (
    "Versions 2026-07-28 and, by `initialize`, 2025-11-25 down to 2024-11-05; to one that is not known the newest of",
    "these is offered. A message is one request, notification or response: the batches of 2025-03-26 are refused with",
    "an error that says so, and so is an id that is neither text nor a whole number.",
)


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
    lines += ["", "## Resources", "", *_RESOURCES, "", "## Prompts", ""]
    for prompt in PROMPTS:
        lines += [f"- `{prompt.name}`: {prompt.description} Takes `project`, which may be left out."]
    lines += ["", "Prompts are fixed text: nothing stored is put into one."]
    lines += ["", "## Protocol", "", *_PROTOCOL]
    return "\n".join(lines) + "\n"


def _limits(schema: Schema) -> str:
    if "maxLength" in schema:
        return f"{schema['maxLength']:,} characters"
    if "maxItems" in schema:
        return f"{schema['maxItems']} items"
    if "maximum" in schema:
        return f"{schema['minimum']:,} to {schema['maximum']:,}"
    return f"from {schema['minimum']}" if "minimum" in schema else ""
