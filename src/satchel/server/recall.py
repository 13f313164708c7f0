"""Answers given again while nothing was committed since: what agents ask for again and again costs no look-up.

A route says that its answer follows from caller, address and catalog alone (``access.repeatable``). Such an answer is
kept under the exact credential, path and query, with the stamp of the catalog from before it was read. It is given
again only to the same principal, checked, counted and let in like any other request, and only while the stamp is the
same. Where there is no stamp (`catalog.stamp`), nothing is kept, nor of what is asked for the first time: most of that
is never asked again, and a stamp is a question to the database. Once it is another, one request has the answer made,
and those who ask for the same meanwhile wait for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from satchel.auth.roles import Principal
from satchel.server.access import authenticated
from satchel.server.cloud import Cloud
from satchel.server.edge import Exchange

MAX_ANSWERS = 2_000
MAX_ASKED = 20_000
"""Of so many requests it is known that they were made before."""
MAX_ANSWER_BYTES = 64 * 1024
"""Longer ones are not kept: all together take 128 MB at most, and commonly one."""

Name = tuple[bytes, str, bytes]
"""Credential, path, query."""


class _Kept(NamedTuple):
    principal: Principal
    stamp: object
    start: Message
    body: bytes
    route: object


class _Making(NamedTuple):
    """An answer on its way: who asked first, and the stamp from before it is read."""

    principal: Principal
    stamp: object
    made: asyncio.Future[_Kept | None]


def _serves(answer: _Kept | _Making, who: Principal, stamp: object) -> bool:
    """Whether an answer that was made, or is being made, is the one that this caller would be given now."""
    return stamp is not None and who is answer.principal and stamp == answer.stamp


class Recall:
    """ASGI application around another."""

    def __init__(self, app: ASGIApp, cloud: Cloud) -> None:
        self._app, self._cloud = app, cloud
        self._kept: OrderedDict[Name, _Kept] = OrderedDict()
        self._making: dict[Name, _Making] = {}
        self._asked: OrderedDict[int, None] = OrderedDict()
        """Hashes of the names that were asked: taken for another, one is at worst kept the first time."""
        self._hits = cloud.meters.hits("answers")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = cast(Exchange, scope.get("satchel"))
        credential = exchange.credential if scope["type"] == "http" and scope["method"] == "GET" else None
        if credential is None:
            await self._app(scope, receive, send)
            return
        name = (credential, scope["path"], scope["query_string"])
        if name in self._kept:
            checked = await authenticated(self._cloud, exchange, credential.decode("latin-1"), scope)
            await self._cloud.let_in(checked, exchange)
            stamp = await self._cloud.catalog.stamp()
            kept = self._kept.get(name)
            if kept is None or not _serves(kept, checked.principal, stamp):
                kept = await self._of_another(name, checked.principal, stamp, exchange)
            if kept is not None:
                if name in self._kept:
                    self._kept.move_to_end(name)
                self._hits.hits += 1
                scope["route"] = kept.route
                await send(kept.start)
                await send({"type": "http.response.body", "body": kept.body})
                return
            exchange.checked, exchange.stamp = checked, stamp
        exchange.repeated = self._was_asked(name)
        await self._answer(name, scope, receive, send)

    def _was_asked(self, name: Name) -> bool:
        """Whether it was asked before, as far as that is remembered."""
        asked = hash(name)
        if asked in self._asked:
            self._asked.move_to_end(asked)
            return True
        self._asked[asked] = None
        while len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)
        return False

    async def _of_another(self, name: Name, who: Principal, stamp: object, exchange: Exchange) -> _Kept | None:
        """The answer that another request is having made, if what it began with is what holds now."""
        making = self._making.get(name)
        if making is None or not _serves(making, who, stamp):
            return None
        async with exchange.aside():
            return await asyncio.shield(making.made)

    async def _answer(self, name: Name, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the route answer, and keep what it may give again."""
        exchange = cast(Exchange, scope["satchel"])
        start: Message = {}

        async def seen(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            elif exchange.stamp is not None and start.get("status") == 200 and not message.get("more_body", False):
                kept = self._keep(name, start, message.get("body", b""), exchange, scope)
                if making is not None:  # they need not wait for a client that is slow to take it
                    making.made.set_result(kept)
            await send(message)

        making = None
        if exchange.checked is not None and exchange.stamp is not None and name not in self._making:
            made: asyncio.Future[_Kept | None] = asyncio.get_running_loop().create_future()
            making = self._making[name] = _Making(exchange.checked.principal, exchange.stamp, made)
        try:
            await self._app(scope, receive, seen)
        finally:
            if making is not None:
                del self._making[name]
                if not making.made.done():
                    making.made.set_result(None)

    def _keep(self, name: Name, start: Message, body: bytes, exchange: Exchange, scope: Scope) -> _Kept | None:
        self._hits.misses += 1
        if exchange.checked is None or len(body) > MAX_ANSWER_BYTES:
            return None
        kept = _Kept(exchange.checked.principal, exchange.stamp, start, body, scope.get("route"))
        self._kept[name] = kept
        self._kept.move_to_end(name)
        while len(self._kept) > MAX_ANSWERS:
            self._kept.popitem(last=False)
        return kept
