"""What each tool and method at /mcp needs, and a request for it, in both eras of the protocol.

A new tool gets its row here. Refusals of a credential are problems, as everywhere; what a tool refuses is in its
result, which has status 200.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from satchel.server.isolation.expectations import Needs, Operation, Outcome

ERAS = ("2026-07-28", "2025-11-25")
_UNSEEN = Outcome(200, "project.not_found")
_NARROW = Outcome(200, "auth.insufficient_scope")
_HELLO = {
    "protocolVersion": ERAS[1],
    "capabilities": {},
    "clientInfo": {"name": "satchel-proof", "version": "1"},
}


class Asked(NamedTuple):
    """A message of the protocol, before it is dressed for an era."""

    method: str
    params: Mapping[str, object]
    eras: tuple[str, ...] = ERAS


def _tool(name: str, needs: Needs = Needs.READ, **arguments: object) -> Operation:
    asked = Asked("tools/call", {"name": name, "arguments": arguments})
    return Operation(f"MCP {name}", needs, body=asked, unseen=_UNSEEN, narrow=_NARROW)


def _method(name: str, /, *eras: str, **params: object) -> Operation:
    return Operation(f"MCP {name}", Needs.SIGNED_IN, body=Asked(name, params, eras or ERAS))


def _resource(era: str, unseen: Outcome) -> Operation:
    asked = Asked("resources/read", {"uri": "{uri}"}, (era,))
    return Operation(f"MCP resources/read of {era}", Needs.READ, body=asked, unseen=unseen)


OPERATIONS: tuple[Operation, ...] = (
    _tool("search", projects=["{p}"], query="everywhere"),
    _tool("artifacts_get", project="{p}", path="{path}"),
    _tool("artifacts_outline", project="{p}", path="{path}"),
    _tool("artifacts_list", project="{p}"),
    _tool("tasks_open", project="{p}"),
    _tool("context_get", project="{p}"),
    _tool("history", project="{p}"),
    _tool("artifacts_put", Needs.WRITE, project="{p}", path="mcp/{fresh}.md", text="# {fresh}"),
    _tool("note_append", Needs.WRITE, project="{p}", path="mcp/of-{who}.md", text="{fresh}"),
    _tool("projects_list", Needs.SIGNED_IN),
    _tool("health", Needs.SIGNED_IN),
    _method("initialize", ERAS[1], **_HELLO),
    _method("tools/list"),
    _method("resources/list"),
    _method("resources/templates/list"),
    _method("prompts/list"),
    _method("prompts/get", name="pick_up", arguments={"project": "{p}"}),
    _resource(ERAS[0], Outcome(400, "project.not_found")),
    _resource(ERAS[1], _UNSEEN),
)
"""Every tool, and every method that answers from a tenant's things."""
TOOL_NAMES = frozenset(
    str(operation.body.params["name"])
    for operation in OPERATIONS
    if isinstance(operation.body, Asked) and operation.body.method == "tools/call"
)
