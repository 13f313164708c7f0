"""The least that a server made with the official MCP SDK does for a tool call: what Satchel's are compared with.

    python bench/baremcp.py PORT FILE
    python bench/baremcp.py PORT DATA KEY

FILE has, as JSON, for each tool the results by their argument: tools that return what Satchel returned, and do nothing
to find it. With DATA, a server's directory that nobody else uses, and KEY, whose questions they may be, the tools find
their answers there as Satchel's do. One worker, stateless, JSON answers, served as Satchel is. No credential is asked
for, nothing is counted or logged.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import Receive, Scope, Send

from satchel.auth.roles import Principal
from satchel.config.server import server_settings
from satchel.mcp.tools import call
from satchel.server.cloud import Cloud, open_cloud

PLACE = Path(sys.argv[2])
ANSWERS: dict[str, dict[str, Any]] = json.loads(PLACE.read_text()) if PLACE.is_file() else {}
ARGUMENT = {"search": "query", "artifacts_get": "path"}
SCHEMA = {"type": "object", "properties": {name: {"type": "string"} for name in (*ARGUMENT.values(), "project")}}


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[types.Tool(name=name, input_schema=SCHEMA) for name in ARGUMENT])


finder: list[tuple[Cloud, Principal]] = []


async def found_by(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if not finder:
        return ANSWERS[name][arguments[ARGUMENT[name]]]  # type: ignore[no-any-return]
    cloud, who = finder[0]
    return (await cloud.readers.ask(who, lambda reader: call(reader, name, arguments))).content


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    found = await found_by(params.name, params.arguments or {})
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    return types.CallToolResult(content=[types.TextContent(text=text)], structured_content=found)


schemas: dict[str, Any] = {}  # no argument travels in a header
server: Server[Any] = Server(
    "bare", get_tool_input_schema=schemas.get, on_list_tools=list_tools, on_call_tool=call_tool
)
manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(manager.run())
        if not ANSWERS:
            cloud = await stack.enter_async_context(open_cloud(server_settings({"data": PLACE}, env={})))
            finder.append((cloud, (await cloud.authenticator.check(f"Bearer {sys.argv[3]}")).principal))
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
