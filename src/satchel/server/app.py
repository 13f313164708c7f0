"""The ASGI application: routes, pages, problems, and the edge around them all."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from satchel import __version__
from satchel.config.server import ServerSettings
from satchel.errors import InternalError, InvalidInput, NoSuchThing, SatchelError, TooManyRequests
from satchel.mcp.http import McpEndpoint
from satchel.server import pages
from satchel.server.access import cloud_of, exchange_of
from satchel.server.addresses import finder, networks, trust
from satchel.server.background import running
from satchel.server.bodies import answer
from satchel.server.cloud import Cloud, now_ms, open_cloud
from satchel.server.edge import Edge, asks, is_short_of_memory
from satchel.server.marks import StoreMarks
from satchel.server.mcpgate import McpGate
from satchel.server.oauth.routers import OAUTH
from satchel.server.openapi import document, operation
from satchel.server.problems import MethodNotAllowed, problem
from satchel.server.recall import Recall
from satchel.server.routes import ROUTERS
from satchel.server.schemas import Jwks
from satchel.server.shortcut import Shortcut
from satchel.server.web.routers import PAGES

API = "/api/v1"


@asynccontextmanager
async def application(
    settings: ServerSettings,
    *,
    clock: Callable[[], int] = now_ms,
    random: Callable[[int], bytes] = os.urandom,
) -> AsyncIterator[tuple[ASGIApp, Cloud]]:
    """The whole server as one ASGI application, and its parts, for as long as the block lasts.

    Raises what ``open_cloud`` raises.
    """
    endpoint = McpEndpoint(__version__)
    proxies = networks(settings.trusted_proxies)
    address = finder(proxies, settings.proxy_header)
    async with (
        open_cloud(settings, clock=clock, random=random) as cloud,
        endpoint.running(),
        running(cloud),
        _traces(settings, cloud, trust(proxies)) as traces,
    ):
        app = build()
        _put_together(app)
        app.state.cloud = cloud
        short = Shortcut(app, API, ROUTERS, {SatchelError: _satchel_error, HTTPException: _http_error})
        whole = StoreMarks(_At("/mcp", McpGate(endpoint, cloud), Recall(short, cloud)), lambda: cloud.outage.down)
        edge = Edge(
            whole,
            random=random,
            idle=settings.body_idle_seconds,
            total=settings.body_total_seconds,
            address=address,
            meet_stranger=cloud.meet_stranger,
            meters=cloud.meters,
            ending=cloud.ending.is_set,
            traces=traces,
        )
        yield edge, cloud


@asynccontextmanager
async def _traces(settings: ServerSettings, cloud: Cloud, trusts: Callable[[Scope], bool]) -> AsyncIterator[Any]:
    """What follows requests, where a collector is named; until then nothing of it is loaded."""
    if not settings.otlp_url:
        yield None
        return
    module = importlib.import_module("satchel.server.traces")
    traces = module.Traces(settings.otlp_url, settings.trace_percent, random=cloud.random, trusts=trusts)
    cloud.meters.told = traces.call
    try:
        yield traces
    finally:
        cloud.meters.told = None
        await traces.close()


def build() -> FastAPI:
    """Routes, pages and error answers, without what they stand on: enough to describe them."""
    app = FastAPI(
        title="Satchel",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in ROUTERS:
        app.include_router(router, prefix=API)
    for router in (*PAGES, *OAUTH):
        app.include_router(router)
    _add_pages(app)
    app.add_exception_handler(SatchelError, _satchel_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _put_together(app: FastAPI) -> None:
    """Let FastAPI prepare every route now: left to itself it does so at the first request, which waits a tenth of a
    second for it."""
    scope = {"type": "http", "method": "GET", "path": API + "/", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(scope)


def _add_pages(app: FastAPI) -> None:
    # Made once, at the first request: the whole API takes ten milliseconds to show, and anybody may ask.
    @cache
    def described() -> dict[str, Any]:
        return document(app, __version__)

    @cache
    def encoded() -> bytes:
        return msgspec.json.encode(described())

    @cache
    def shown() -> Response:
        return pages.api_page(described())

    @app.get("/.well-known/jwks.json", tags=["auth"], **operation("Keys that verify tokens", answer=Jwks, public=True))
    async def jwks(request: Request) -> Response:
        return answer({"keys": cloud_of(request).authenticator.tokens.public}, 200, {"cache-control": "max-age=300"})

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(encoded(), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return shown()

    @app.get("/docs/errors", include_in_schema=False)
    async def errors() -> Response:
        return pages.error_index()

    @app.get("/docs/errors/{code}", include_in_schema=False)
    async def error(code: str) -> Response:
        page = pages.error_page(code)
        if page is None:
            raise NoSuchThing("there is no such error code")
        return page

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return Response(None, 307, headers={"location": "/docs"})


async def _satchel_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SatchelError)
    exchange = exchange_of(request)
    exchange.code = error.code
    return problem(error, exchange.id)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return await _satchel_error(request, InvalidInput(f"{place}: {first['msg']}"))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    exchange = exchange_of(request)
    if exchange.credential and exchange.tenant is None and asks(request.scope["path"]):
        try:  # no route looked at the credential: it proves nothing
            cloud_of(request).meet_stranger(exchange)
        except TooManyRequests as refused:
            return await _satchel_error(request, refused)
    if error.status_code == 405:
        allow = ", ".join(_methods(request.url.path))
        return await _satchel_error(request, MethodNotAllowed("this address does not take this method", allow=allow))
    if error.status_code == 404:
        return await _satchel_error(request, NoSuchThing("there is nothing at this address"))
    return await _satchel_error(request, InvalidInput("the request is not well-formed"))


def _methods(path: str) -> list[str]:
    """The methods of all routes at a path: Starlette names those of the first one alone."""
    below = path.removeprefix(API)
    found: set[str] = set()
    for router in (*ROUTERS, *PAGES, *OAUTH):
        for route in router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(below):
                found |= route.methods or set()
    found = found or {"GET"}  # the pages
    return sorted(found | {"HEAD"} if "GET" in found else found)


async def _unexpected(request: Request, error: Exception) -> Response:
    """The answer to a defect. Starlette raises it again afterwards, and the edge records where it came from."""
    if isinstance(error, ClientDisconnect) or is_short_of_memory(error):
        raise error  # no defect: the edge knows what it is
    return await _satchel_error(request, InternalError("the server met something it did not expect"))


class _At:
    """Sends one path to one application and everything else to another."""

    def __init__(self, path: str, there: ASGIApp, elsewhere: ASGIApp) -> None:
        self._path, self._there, self._elsewhere = path, there, elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in (self._path, self._path + "/"):
            scope["satchel.route"] = self._path
            await self._there(scope, receive, send)
        else:
            await self._elsewhere(scope, receive, send)
