"""MCP over HTTP at one address: the official SDK speaks the protocol, ``mcp.tools`` answers.

Every request stands alone (no sessions, JSON answers, nothing pushed but to who listens), in spec 2026-07-28 and in
those with a handshake, up to 2025-11-25. Whoever mounts the endpoint puts into the ASGI scope, under ``ASK``, the way
to ask a reader that sees what the caller may see, under ``WRITE`` the way to write as the caller, under ``LISTEN`` the
way to hear what is new, and under ``CACHE_STATUS`` what answers have to say beside; host, origin and credential have
been checked by then.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types import methods
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError
from pydantic_core import from_json, to_json
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from satchel.context.answers import ContextReader
from satchel.context.writing import Change, Written
from satchel.errors import SatchelError
from satchel.mcp import prompts, resources, shortcut
from satchel.mcp.shortcut import Plain
from satchel.mcp.stdio import HANDSHAKE, MODERN, SUPPORTED, UNSUPPORTED_VERSION, error_code, fault_of, tool_result
from satchel.mcp.tool import Tool, ToolResult, failure
from satchel.mcp.tools import INSTRUCTIONS, TOOLS, WRITING, call, change_of, find_tool, no_tool
from satchel.mcp.watching import SUBSCRIPTION_KEY, wanted_of

ASK = "satchel.ask"
"""Where the scope holds an ``Ask``."""
WRITE = "satchel.write"
"""Where it holds an ``AsyncWriter``, which refuses what the caller may not."""
OFFERS_WRITING = "satchel.offers_writing"
"""Where it says whether the tools that write are listed for the caller."""
LISTEN = "satchel.listen"
"""Where it holds the way to hear what is new: given a ``Wanted`` an iterator of ``Told``, the first of them empty."""
CACHE_STATUS = "satchel.cache_status"
"""Where the scope holds what to say of answers given while the store does not answer: called afterwards, it says
``None`` while all is well."""
CACHE_STATUS_KEY = "satchel/cache-status"
"""Under which member of ``_meta`` a result says so."""
MAX_MESSAGE_BYTES = 1024 * 1024
_HEADER_MARK = '"x-mcp-header"'
_TOOLS_KEPT_MS = 3_600_000
"""Tools are the same for everybody until the program is replaced."""
T = TypeVar("T")
Context = ServerRequestContext[Any, Any]


class Ask(Protocol):
    """Runs a question against the caller's reader, in a thread."""

    def __call__(self, question: Callable[[ContextReader], T], /) -> Awaitable[T]: ...


Told = tuple[bool, frozenset[str]]
"""Whether other resources are listed, and which of the wanted ones hold something else."""
AsyncWriter = Callable[[Change], Awaitable[Written]]
"""Carries out a change as the caller; raises ``SatchelError``."""


class _Server(Server[Any]):
    def get_capabilities(self, *given: Any, **named: Any) -> types.ServerCapabilities:
        """What the SDK makes of the handlers, but that tools and prompts never change: it would say so of resources,
        tools and prompts alike."""
        able = super().get_capabilities(*given, **named)
        for part in (able.tools, able.prompts):
            if part is not None:
                part.list_changed = False
        return able


class McpEndpoint:
    """ASGI application for POST requests to one address; serves while ``running``."""

    short = frozenset({*MODERN, *HANDSHAKE})
    """Versions of which plain requests take the shortcut."""

    def __init__(self, version: str) -> None:
        self._tools, self._all_tools = _listed(TOOLS), _listed((*TOOLS, *WRITING))
        self._templates = types.ListResourceTemplatesResult(
            resource_templates=[types.ResourceTemplate.model_validate(resources.TEMPLATE)],
            ttl_ms=_TOOLS_KEPT_MS,
            cache_scope="public",
        )
        self._prompts = types.ListPromptsResult(
            prompts=[types.Prompt.model_validate(prompt.declaration()) for prompt in prompts.PROMPTS],
            ttl_ms=_TOOLS_KEPT_MS,
            cache_scope="public",
        )
        # The SDK holds headers against the arguments whose schema has them travel in one too. It would walk the whole
        # schema for that with each call: it is given those alone that say so, and none of ours does.
        every = {tool.name: tool.input_schema for tool in (*TOOLS, *WRITING)}
        schemas = {name: schema for name, schema in every.items() if _HEADER_MARK in json.dumps(schema)}
        server = _Server(
            "satchel",
            version=version,
            title="Satchel",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=schemas.get,
            on_list_tools=self._list_tools,
            on_call_tool=_call_tool,
            on_list_resources=_list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=_read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=_get_prompt,
            on_subscriptions_listen=_listen,
        )
        server.add_request_handler("server/discover", types.RequestParams, self._discover)
        self._server = server
        self._writer = shortcut.Writer(server.server_info_stamp, to_json)
        self._manager: StreamableHTTPSessionManager | None = None
        # What the SDK answered after the id, where that is always the same: a few texts for each version.
        self._fixed: dict[tuple[str, str, bool], bytes] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve for as long as the block lasts."""
        self._manager = StreamableHTTPSessionManager(
            self._server, json_response=True, stateless=True, max_request_body_size=MAX_MESSAGE_BYTES
        )
        async with self._manager.run():
            yield
        self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._manager is not None, "the endpoint serves inside `running`"
        head = shortcut.heading(scope["headers"], MAX_MESSAGE_BYTES)
        if head is not None and head.version not in self.short:
            head = None
        body, receive = await _whole(receive)
        request = None if head is None else shortcut.plain(head, body, json.loads if head.modern else from_json)
        if request is None or not _in_order(request):
            wrong = _fault(scope, body)
            if wrong is None:
                await self._manager.handle_request(scope, receive, send)
            else:
                await _send(wrong, send, status=400)
        elif request.fixed is not None:
            await self._answer_fixed(request, request.fixed, scope, receive, send)
        else:
            answer = await self._called(request, scope)
            if answer is None:
                await self._manager.handle_request(scope, receive, send)
            else:
                await _send(answer, send, modern=request.modern)

    async def _answer_fixed(self, request: Plain, what: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what has the same answer every time: the SDK gives it once."""
        name = (request.version, what, bool(scope[OFFERS_WRITING]))
        opening, known = request.opening, self._fixed.get(name)
        if known is not None:
            await _send(opening + known, send, modern=request.modern)
            return
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)
            await send(message)

        assert self._manager is not None
        await self._manager.handle_request(scope, receive, keep)
        match sent:
            case [{"status": 200}, {"body": bytes(body)}] if body.startswith(opening + b'"result":'):
                self._fixed[name] = body.removeprefix(opening)

    async def _called(self, request: Plain, scope: Scope) -> bytes | None:
        """The answer to a call of a tool that reads; ``None`` where the SDK has to say what it comes to. It is not
        asked a second time then."""
        name, arguments = request.params["name"], request.params.get("arguments")
        ask: Ask = scope[ASK]
        asked: asyncio.Future[ToolResult] = asyncio.get_running_loop().create_future()
        scope[ASK] = lambda _question: asked
        try:
            result = await _found(ask, name, arguments)
        except Exception as error:  # noqa: BLE001  whatever it is, the SDK makes an answer of it
            asked.set_exception(error)
            return None
        asked.set_result(result)
        try:
            return self._writer.answer(request, result, _said(scope, result.is_error))
        except ValueError:
            return None

    async def _discover(self, ctx: Context, params: types.RequestParams | None) -> types.DiscoverResult:
        # The SDK would leave out the versions with a handshake.
        return types.DiscoverResult(
            supported_versions=list(SUPPORTED),
            capabilities=self._server.get_capabilities(protocol_version=ctx.protocol_version),
            instructions=INSTRUCTIONS,
        )

    async def _list_tools(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        assert ctx.request is not None, "a request over HTTP brings its ASGI scope"
        return self._all_tools if ctx.request.scope[OFFERS_WRITING] else self._tools

    async def _list_templates(
        self, ctx: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourceTemplatesResult:
        return self._templates

    async def _list_prompts(self, ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
        return self._prompts


def _listed(tools: Sequence[Tool]) -> types.ListToolsResult:
    # What is listed depends on the credential: no cache may give it to another.
    shown = [types.Tool.model_validate(tool.declaration()) for tool in tools]
    return types.ListToolsResult(tools=shown, ttl_ms=_TOOLS_KEPT_MS, cache_scope="private")


async def _call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    name, arguments = params.name, params.arguments
    tool = find_tool(name)
    assert ctx.request is not None, "a request over HTTP brings its ASGI scope"
    if tool is None:
        error = no_tool(name, writing=ctx.request.scope[OFFERS_WRITING])
        raise MCPError(types.INVALID_PARAMS, error.message, failure(error))
    if tool.writes:
        return types.CallToolResult.model_validate(tool_result(await _changed(ctx, tool, arguments)))
    found = await _found(_ask(ctx), name, arguments)
    result = tool_result(found)
    said = _said(ctx.request.scope, found.is_error)
    return types.CallToolResult.model_validate({**result, "_meta": said} if said else result)


async def _found(ask: Ask, name: str, arguments: object) -> ToolResult:
    """What a call of a tool that reads comes to, also where nobody could be asked."""
    try:
        return await ask(lambda reader: call(reader, name, arguments))
    except SatchelError as error:
        return ToolResult(failure(error), is_error=True)


def _said(scope: Scope, is_error: bool) -> dict[str, str]:
    """What a result has to say beside what was found."""
    status = None if is_error else scope[CACHE_STATUS]()
    return {} if status is None else {CACHE_STATUS_KEY: status}


def _in_order(request: Plain) -> bool:
    """Whether the SDK would take the parameters: by what it judges them with."""
    try:
        methods.validate_client_request(request.method, request.version, request.params)
        if request.method == "tools/call":
            types.CallToolRequestParams.model_validate(request.params, by_name=False)
        elif request.method == "initialize":
            types.InitializeRequestParams.model_validate(request.params, by_name=False)
        else:
            types.PaginatedRequestParams.model_validate(request.params, by_name=False)
    except (ValidationError, KeyError):
        return False
    return True


async def _whole(receive: Receive) -> tuple[bytes, Receive]:
    """The body, empty where not all of it came or it is too long; and what gives all that came once more, and then
    what comes after it."""
    messages: list[Message] = []
    size, more = 0, True
    while more and size <= MAX_MESSAGE_BYTES:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    whole = messages[-1]["type"] == "http.request" and size <= MAX_MESSAGE_BYTES
    body = b"".join(message.get("body", b"") for message in messages) if whole else b""
    messages.reverse()

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return body, again


def _fault(scope: Scope, body: bytes) -> bytes | None:
    """The answer to what is no message at all, where the SDK would take it in silence, or say in terms of its own code
    what is wrong. What it says to clients of 2026-07-28 is clear."""
    version = Headers(scope=scope).get("mcp-protocol-version", shortcut.DEFAULT_VERSION)
    try:
        message = from_json(body)
    except ValueError:
        return None
    if version in MODERN:
        return None
    wrong = fault_of(message)
    if wrong is None and version not in HANDSHAKE:
        data = {"supported": list(SUPPORTED), "requested": version[:100]}
        said = {"code": UNSUPPORTED_VERSION, "message": "Unsupported protocol version", "data": data}
        wrong = {"jsonrpc": "2.0", "id": message.get("id"), "error": said}
    return None if wrong is None else to_json(wrong)


async def _send(body: bytes, send: Send, *, status: int = 200, modern: bool = False) -> None:
    """An answer with the headers that the SDK gives it."""
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    if not modern:
        headers.reverse()
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _changed(ctx: Context, tool: Tool, arguments: object) -> ToolResult:
    """What a tool that writes comes to."""
    assert ctx.request is not None, "a request over HTTP brings its ASGI scope"
    write: AsyncWriter = ctx.request.scope[WRITE]
    try:
        change = await _ask(ctx)(lambda reader: change_of(reader, tool, arguments))
        return ToolResult(dict(await write(change)), is_error=False)
    except SatchelError as error:
        return ToolResult(failure(error), is_error=True)


async def _list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    cursor = params.cursor if params else None
    page = await _asked(ctx, lambda reader: resources.list_page(reader, cursor))
    return types.ListResourcesResult.model_validate(page)


async def _read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    return types.ReadResourceResult.model_validate(await _asked(ctx, lambda reader: resources.read(reader, uri)))


async def _listen(ctx: Context, params: types.SubscriptionsListenRequestParams) -> types.SubscriptionsListenResult:
    assert ctx.request is not None, "a request over HTTP brings its ASGI scope"
    name = ctx.request_id
    meta: dict[str, Any] = {SUBSCRIPTION_KEY: name}

    async def say(notification: types.ServerNotification) -> None:
        await ctx.session.send_notification(notification, related_request_id=name)

    try:
        wanted = wanted_of(params.notifications.model_dump(by_alias=True, exclude_none=True))
        news: AsyncGenerator[Told] = ctx.request.scope[LISTEN](wanted)
        async with aclosing(news):
            async for listed, uris in news:
                if not listed and not uris:
                    honoured = types.SubscriptionFilter.model_validate(wanted.honoured())
                    about = types.SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=meta)
                    await say(types.SubscriptionsAcknowledgedNotification(params=about))
                if listed:
                    await say(types.ResourceListChangedNotification(params=types.NotificationParams(_meta=meta)))
                for uri in sorted(uris):
                    told = types.ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
                    await say(types.ResourceUpdatedNotification(params=told))
    except SatchelError as error:
        raise MCPError(error_code(error, modern=True), error.message, failure(error)) from error
    return types.SubscriptionsListenResult(_meta=meta)


async def _get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    try:
        return types.GetPromptResult.model_validate(prompts.get(params.name, params.arguments))
    except SatchelError as error:
        raise MCPError(types.INVALID_PARAMS, error.message, failure(error)) from error


def _ask(ctx: Context) -> Ask:
    assert ctx.request is not None, "a request over HTTP brings its ASGI scope"
    return cast(Ask, ctx.request.scope[ASK])


async def _asked(ctx: Context, question: Callable[[ContextReader], T]) -> T:
    """Ask; what goes wrong becomes the protocol's own error with code and hint."""
    try:
        return await _ask(ctx)(question)
    except SatchelError as error:
        code = error_code(error, modern=ctx.protocol_version in MODERN_PROTOCOL_VERSIONS)
        raise MCPError(code, error.message, failure(error)) from error
