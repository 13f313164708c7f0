"""The least that a server made with the official MCP SDK does for a tool call: what Satchel's are compared with.

    python bench/baremcp.py PORT FILE

FILE has, as JSON, for each tool the results by their argument: tools that return what Satchel returned, and do nothing
to find it. One worker, stateless, JSON answers, served as Satchel is. No credential, no database.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

ANSWERS: dict[str, dict[str, Any]] = json.loads(Path(sys.argv[2]).read_text())
ARGUMENT = {"search": "query", "artifacts_get": "path"}
SCHEMA = {"type": "object", "properties": {name: {"type": "string"} for name in (*ARGUMENT.values(), "project")}}


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=SCHEMA) for name in ANSWERS])


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    found = ANSWERS[params.name][(params.arguments or {})[ARGUMENT[params.name]]]
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=found)


schemas: dict[str, Any] = {}  # no argument travels in a header
server: Server[Any] = Server(
    "bare", get_tool_input_schema=schemas.get, on_list_tools=list_tools, on_call_tool=call_tool
)
manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    async with manager.run():
        yield


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        async with running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await manager.handle_request(scope, receive, send)


uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False, loop="uvloop", http="httptools")
