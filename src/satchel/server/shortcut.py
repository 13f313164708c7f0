"""Plain reads on a short way to their route: FastAPI describes them, and its machinery is passed by.

FastAPI finds a route by trying every one, wraps each request into eight layers and takes the parameters apart by rules
that could all be different for each. None of that changes what a GET answers whose parameters are plain values and
whose dependencies are those of ``access``. What is done here for such a route is what FastAPI would do, by its own
declarations of the route and its own validation; whatever is not that simple goes to FastAPI as it came. So does a
request whose parameters do not fit, for it to say so: it is remembered that it was let in. A test asks both ways the
same and compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast, get_type_hints

from fastapi import FastAPI, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIRouter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from satchel.errors import SatchelError
from satchel.server.edge import Exchange

OnError = Callable[[Request, Exception], Awaitable[Response]]
_PLAIN = (str, int, bool, type(None))
_Key = tuple[str, str]


class _Call(NamedTuple):
    """A dependency."""

    name: str
    """Of the parameter that takes what it gives."""
    call: Callable[..., Awaitable[object]]
    request: str | None
    """Of its parameter for the request."""
    path: tuple[str, ...]
    """Those that it takes from the path."""


class _Short(NamedTuple):
    """A route that can be called without FastAPI."""

    route: APIRoute
    before: tuple[_Call, ...]
    request: str | None
    path: tuple[str, ...]
    query: dict[str, Any]
    """FastAPI's fields of the query's parameters, by their names there."""
    defaults: dict[str, object]
    """What the endpoint is given where the query has none of them."""


class Shortcut:
    """ASGI application in front of FastAPI's."""

    def __init__(self, app: FastAPI, prefix: str, routers: Iterable[APIRouter], on_error: Mapping[type, OnError]):
        """``routers`` are in ``app`` under ``prefix``; ``on_error`` makes the answers to errors, as there."""
        self._app: ASGIApp = app
        self._owner = app
        self._prefix = prefix
        self._on_error = on_error
        every = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        read = [route for route in every if "GET" in (route.methods or ())]
        short = {id(route): made for route in read if (made := _short(route)) is not None}
        # By the first and the third part of a path, which are words where a route is found here, come all that could
        # be meant, in the order in which FastAPI tries them.
        keys = {key for each in short.values() if (key := _key(each.route.path)) is not None}
        self._routes: dict[_Key, list[tuple[APIRoute, _Short | None]]] = {
            key: [(route, short.get(id(route))) for route in read if _may_be(route.path, key)] for key in keys
        }
        self.routes = [each.route for each in short.values()]
        """Those that are answered here."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._found(scope)
        if found is None or not await self._answered(found, scope, receive, send):
            await self._app(scope, receive, send)

    def _found(self, scope: Scope) -> _Short | None:
        """The route, with the parameters of its path in the scope."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope.get("root_path"):
            return None
        path: str = scope["path"]
        if not path.startswith(self._prefix):
            return None
        below = path[len(self._prefix) :]
        key = _key(below)
        for route, short in self._routes.get(key, ()) if key is not None else ():
            match = route.path_regex.match(below)
            if match is not None:
                if short is not None:
                    scope["path_params"], scope["route"], scope["app"] = match.groupdict(), route, self._owner
                return short
        return None

    async def _answered(self, short: _Short, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer; or False where FastAPI has to."""
        request = Request(scope, receive, send)
        path: dict[str, str] = scope["path_params"]
        try:
            given: dict[str, object] = {}
            for each in short.before:
                taken: dict[str, object] = {name: path[name] for name in each.path}
                if each.request is not None:
                    taken[each.request] = request
                given[each.name] = await each.call(**taken)
            given |= short.defaults
            if scope["query_string"] and not _read(short, request, given):
                return False
            for name in short.path:
                given[name] = path[name]
            if short.request is not None:
                given[short.request] = request
            response: Response = await short.route.endpoint(**given)
            await response(scope, receive, send)
        except (SatchelError, HTTPException) as error:
            if cast(Exchange, scope["satchel"]).started:
                raise
            kind = SatchelError if isinstance(error, SatchelError) else HTTPException
            await (await self._on_error[kind](request, error))(scope, receive, send)
        return True


def _read(short: _Short, request: Request, given: dict[str, object]) -> bool:
    """Add the query's parameters to what is ``given``; False if one of them does not fit."""
    query = request.query_params
    for alias, field in short.query.items():
        text = query.get(alias)
        if text is not None:
            value, errors = field.validate(text, {}, loc=("query", alias))
            if errors:
                return False
            given[field.name] = value
    return True


def _short(route: APIRoute) -> _Short | None:
    """How a route is called without FastAPI; None where that is not for us to say."""
    dependant = route.dependant
    if not _simple(dependant) or get_type_hints(route.endpoint).get("return") is not Response:
        return None
    if not inspect.iscoroutinefunction(route.endpoint) or any(not _is_text(field) for field in dependant.path_params):
        return None
    calls = []
    for part in dependant.dependencies:
        call = part.call
        bare = _simple(part) and not part.dependencies and not part.query_params and part.name is not None
        if not bare or not inspect.iscoroutinefunction(call) or any(not _is_text(field) for field in part.path_params):
            return None
        path = tuple(field.name for field in part.path_params)
        calls.append(_Call(cast(str, part.name), cast(Any, call), part.request_param_name, path))
    fields = dependant.query_params
    if any(field.field_info.is_required() or type(field.default) not in _PLAIN for field in fields):
        return None
    if any("list[" in str(field.field_info.annotation) for field in fields):
        return None
    query = {field.alias: field for field in fields}
    defaults = {field.name: field.default for field in fields}
    names = tuple(field.name for field in dependant.path_params)
    return _Short(route, tuple(calls), dependant.request_param_name, names, query, defaults)


def _simple(dependant: Dependant) -> bool:
    """Whether it takes nothing but its dependencies, the request, and values from path and query."""
    others = (
        dependant.header_params,
        dependant.cookie_params,
        dependant.body_params,
        dependant.websocket_param_name,
        dependant.http_connection_param_name,
        dependant.response_param_name,
        dependant.background_tasks_param_name,
        dependant.security_scopes_param_name,
        dependant.concurrency,
    )
    return not any(others)


def _is_text(field: Any) -> bool:
    """Whether a parameter of the path is taken as it stands there."""
    return field.field_info.annotation is str and not field.field_info.metadata and field.alias == field.name


def _key(path: str) -> _Key | None:
    """The first and the third part, the third empty where there is none; None if either is a parameter's."""
    parts = path.split("/", 4)
    third = parts[3] if len(parts) > 3 else ""
    return None if len(parts) < 2 or "{" in parts[1] + third else (parts[1], third)


def _may_be(template: str, key: _Key) -> bool:
    """Whether a path with that key may be one of the route's."""
    parts = template.split("/", 4)
    if any(":path}" in part for part in parts[1:4]):
        return True  # which may hold any number of parts
    there = parts[1], parts[3] if len(parts) > 3 else ""
    return all("{" in ours or ours == given for ours, given in zip(there, key, strict=True))
