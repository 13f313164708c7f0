"""What stands before /mcp: Host and Origin (against DNS rebinding), then the credential, then a reader for it.

The SDK would check Origin after authentication, and takes ``127.0.0.1:evil.example`` for a port: both are done here. So
is what it refuses without a word that a client could act on: a body that is too long, or no JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from satchel.auth.roles import Role
from satchel.auth.scopes import DEFAULT, scope_for, scope_text
from satchel.context.answers import ContextReader
from satchel.context.writing import Change, Written
from satchel.errors import SatchelError, SignInNeeded
from satchel.mcp.http import ASK, CACHE_STATUS, LISTEN, MAX_MESSAGE_BYTES, OFFERS_WRITING, WRITE
from satchel.server import marks
from satchel.server.access import Caller, authenticated
from satchel.server.bodies import bounded, require_media
from satchel.server.cloud import Cloud
from satchel.server.credentials import Checked
from satchel.server.edge import Exchange, told
from satchel.server.mcplistening import news
from satchel.server.mcpwriting import carry_out, more_would_do, offers_writing
from satchel.server.problems import CHALLENGE, MethodNotAllowed, problem

T = TypeVar("T")


class McpGate:
    """ASGI application in front of the MCP endpoint. Its refusals are problems, made by the edge."""

    def __init__(self, endpoint: ASGIApp, cloud: Cloud) -> None:
        self._endpoint, self._cloud = endpoint, cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What stands around a value is no part of it (RFC 9110, 5.5), and not every parser takes it off.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        headers = Headers(scope=scope)
        self._cloud.hosts.check_host(headers.get("host", ""))
        self._cloud.hosts.check_origin(headers.get("origin"))
        if scope["method"] != "POST":
            # No stream is offered, and no session is kept that could be ended.
            raise MethodNotAllowed("this address takes POST alone", allow="POST")
        cloud = self._cloud
        exchange = cast(Exchange, scope["satchel"])
        try:
            checked = await authenticated(cloud, exchange, headers.get("authorization"), scope, mcp=True)
        except SignInNeeded as error:
            exchange.code = error.code
            await self._challenge(error, exchange)(scope, receive, send)
            return
        await cloud.let_in(checked, exchange)
        who = checked.principal
        absent = exchange.absent.append

        async def ask(question: Callable[[ContextReader], T]) -> T:
            try:
                return await cloud.readers.ask(who, question, absent=absent)
            except Exception as error:
                raise told(error, exchange) from error

        scope[ASK] = ask
        scope[CACHE_STATUS] = lambda: marks.CACHE_STATUS if cloud.outage.down else None
        caller = Caller(cloud, checked, exchange)
        too_narrow: list[SatchelError] = []

        async def write(change: Change) -> Written:
            try:
                return await carry_out(caller, change)
            except SatchelError as error:
                too_narrow.extend([error] if more_would_do(error) else ())
                raise
            except Exception as error:
                raise told(error, exchange) from error

        async def send_or_ask_for_more(message: Message) -> None:
            if too_narrow and message["type"] == "http.response.start":
                asked = f'{CHALLENGE}, error="insufficient_scope", scope="{scope_text(Role.WRITE)}", {self._metadata()}'
                headers = [*message.get("headers", ()), (b"www-authenticate", asked.encode())]
                message = {**message, "status": 403, "headers": headers}
            await send(message)

        async def judge() -> Checked:
            return await cloud.authenticator.check(headers.get("authorization"), mcp=True)

        scope[LISTEN] = lambda wanted: news(caller, wanted, judge)
        scope[WRITE], scope[OFFERS_WRITING] = write, offers_writing(caller)
        request = Request(scope, receive)
        require_media(request, "application/json")
        await self._endpoint(scope, bounded(request, MAX_MESSAGE_BYTES), send_or_ask_for_more)

    def _metadata(self) -> str:
        """Where a client learns how to log in (RFC 9728)."""
        return f'resource_metadata="{self._cloud.settings.url}/.well-known/oauth-protected-resource/mcp"'

    def _challenge(self, error: SignInNeeded, exchange: Exchange) -> Response:
        """The refusal that tells a client where to log in, and what to ask for."""
        answer = problem(error, exchange.id)
        answer.headers["www-authenticate"] += f', {self._metadata()}, scope="{scope_for(DEFAULT)}"'
        return answer
