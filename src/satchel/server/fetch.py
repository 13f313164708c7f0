"""Fetching small documents from addresses that somebody else named: client metadata, an identity provider's keys.

A name is looked up once, every address it stands for has to be public (``fetchurl``), and the connection goes to one
of those very addresses, so that a second answer of the DNS changes nothing. No redirect is followed, no proxy of the
environment is used, and an answer has a limit in bytes, in time and in kind. What was got is remembered for minutes,
and so is a failure for seconds: whoever names an address makes this server ask it a few times a minute at most.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpcore2

from satchel.errors import SatchelError, Unavailable
from satchel.server.addresses import Address
from satchel.server.fetchurl import FetchRefused, Reach, Target, refused_address, target

MAX_DOCUMENT_BYTES = 64 * 1024
FETCH_SECONDS = 5.0
"""The longest a fetch may take, the look-up of the name included."""
FETCHED_AT_ONCE = 8
MAX_WAITING = 64
MAX_ADDRESSES_TRIED = 3
KEPT_SECONDS = 300.0
"""How long a document is remembered where its answer says nothing (``Cache-Control: max-age``)."""
KEPT_AT_LEAST, KEPT_AT_MOST = 10.0, 3_600.0
FAILURE_KEPT_SECONDS = 10.0
MAX_KEPT = 256
"""Documents remembered: at most 16 MiB."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class FetchFailed(Unavailable):
    """The address did not give a fit answer. The message never holds anything of what came."""

    code = "fetch.failed"
    default_hint = "Check that the address answers with the document, without a redirect, and try again in a minute."


class Fetched(NamedTuple):
    status: int
    body: bytes
    kept_seconds: float


class Fetcher:
    """One for a purpose in a process; for tasks of one event loop."""

    def __init__(
        self,
        reach: Reach = Reach(),  # noqa: B008 (an immutable value)
        *,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        seconds: float = FETCH_SECONDS,
    ) -> None:
        """``resolve`` gives the addresses of a host, ``trust`` says which certificates count; both are the system's
        where nothing is said. ``clock`` gives seconds."""
        self._reach, self._resolve, self._trust = reach, resolve or _look_up, trust
        self._clock, self._seconds = clock, seconds
        self._places = asyncio.Semaphore(FETCHED_AT_ONCE)
        self._inside = 0
        self._kept: OrderedDict[str, tuple[float, bytes | SatchelError]] = OrderedDict()

    async def document(self, url: str, *, fresh: bool = False) -> dict[str, Any]:
        """The JSON object at ``url``; with ``fresh`` one that was remembered does not do.

        Raises ``FetchRefused`` for an address not to go to, ``FetchFailed`` for anything else than a JSON object.
        """
        place = target(url, self._reach)
        kept = None if fresh else self._recall(url)
        if kept is None:
            kept = await self._ask(place)
        if isinstance(kept, SatchelError):
            raise type(kept)(kept.message)
        return strict_object(kept)

    async def form(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form and read the JSON object that answers it, whatever its status; nothing is remembered.

        Raises as ``document``.
        """
        place = target(url, self._reach)
        sent = {**headers, "content-type": "application/x-www-form-urlencoded"}
        got = await self._bounded(place, "POST", sent, urlencode(fields).encode())
        return got.status, strict_object(got.body)

    async def _ask(self, place: Target) -> bytes | SatchelError:
        outcome: bytes | SatchelError
        try:
            got = await self._bounded(place, "GET", {}, None)
            outcome, seconds = got.body, got.kept_seconds
            if got.status != 200:
                raise FetchFailed(f"the address answered with the status {got.status}")
            strict_object(got.body)
        except (FetchRefused, FetchFailed) as error:
            outcome, seconds = error, FAILURE_KEPT_SECONDS
        self._kept[place.url] = (self._clock() + seconds, outcome)
        self._kept.move_to_end(place.url)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return outcome

    def _recall(self, url: str) -> bytes | SatchelError | None:
        until, outcome = self._kept.get(url, (0.0, b""))
        return outcome if until > self._clock() else None

    async def _bounded(self, place: Target, method: str, headers: Mapping[str, str], body: bytes | None) -> Fetched:
        async with self._place():
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._fetch(place, method, headers, body)
            except TimeoutError as error:
                raise FetchFailed(f"the address did not answer within {self._seconds:g} seconds") from error
            except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError) as error:
                raise FetchFailed("the address cannot be reached over a connection to be trusted") from error
            except (httpcore2.ProtocolError, ValueError) as error:
                raise FetchFailed("the answer of the address is not HTTP") from error

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._inside >= FETCHED_AT_ONCE + MAX_WAITING:
            raise FetchFailed("too many documents are being fetched at this moment")
        self._inside += 1
        try:
            async with self._places:
                yield
        finally:
            self._inside -= 1

    async def _fetch(self, place: Target, method: str, headers: Mapping[str, str], body: bytes | None) -> Fetched:
        backend = _Pinned(await self._addresses(place))
        if self._trust is None:
            self._trust = await asyncio.to_thread(httpcore2.default_ssl_context)
        sent: dict[bytes | str, bytes | str] = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "connection": "close",
        }
        sent.update(headers)
        async with (
            backend.closing(),
            httpcore2.AsyncConnectionPool(self._trust, max_connections=1, network_backend=backend) as pool,
            pool.stream(
                method, f"{place.scheme}://{_shown(place.host)}:{place.port}{place.path}", headers=sent, content=body
            ) as answer,
        ):
            said = {name.lower(): value for name, value in answer.headers}
            _check_kind(answer.status, said)
            return Fetched(answer.status, await _bounded_body(answer), _kept_seconds(said))

    async def _addresses(self, place: Target) -> list[Address]:
        """The addresses of a host, all of which are fit to connect to. Raises ``FetchRefused``."""
        try:
            found = [ip_address(text) for text in await self._resolve(place.host, place.port)]
        except (OSError, ValueError) as error:
            raise FetchFailed("the host of the address is not known") from error
        if not found:
            raise FetchFailed("the host of the address is not known")
        if any(refused_address(address, self._reach) for address in found):
            raise FetchRefused("the host of the address is not on the public internet")
        if place.scheme == "http" and not all(address.is_loopback for address in found):
            raise FetchRefused("the address does not begin with https://")
        return found[:MAX_ADDRESSES_TRIED]


class _Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the addresses that were checked, whatever host it is asked for."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._inner = httpcore2.AnyIOBackend()
        self._opened: list[httpcore2.AsyncNetworkStream] = []

    @asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """Close at the end what was opened: the library forgets a connection that is given up before TLS is agreed."""
        try:
            yield
        finally:
            for stream in self._opened:
                await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (as the library declares it)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream = await self._connected(port, timeout)
        self._opened.append(stream)
        return stream

    async def _connected(self, port: int, seconds: float | None) -> httpcore2.AsyncNetworkStream:
        for address in self._addresses[:-1]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout=1.0)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue  # the next of its addresses may answer
        return await self._inner.connect_tcp(str(self._addresses[-1]), port, timeout=seconds)


async def _look_up(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in found))


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check_kind(status: int, said: Mapping[bytes, bytes]) -> None:
    if 300 <= status < 400:
        raise FetchFailed("the address answered with a redirect, which is not followed")
    kind = said.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        raise FetchFailed("the answer of the address is not of the type application/json")
    if said.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise FetchFailed("the answer of the address is compressed, which was not asked for")


async def _bounded_body(answer: httpcore2.Response) -> bytes:
    body = bytearray()
    async for part in answer.aiter_stream():
        body += part
        if len(body) > MAX_DOCUMENT_BYTES:
            raise FetchFailed(f"the answer of the address is over {MAX_DOCUMENT_BYTES // 1024} KiB")
    return bytes(body)


def _kept_seconds(said: Mapping[bytes, bytes]) -> float:
    for part in said.get(b"cache-control", b"").lower().split(b","):
        name, _, value = part.strip().partition(b"=")
        if name in (b"no-store", b"no-cache"):
            return KEPT_AT_LEAST
        if name == b"max-age" and value.isdigit() and len(value) < 10:
            return min(max(float(value), KEPT_AT_LEAST), KEPT_AT_MOST)
    return KEPT_SECONDS


def strict_object(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice. Raises ``FetchFailed``."""

    def no_name_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a name occurs twice")
        return value

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=no_name_twice)
    except (ValueError, RecursionError) as error:
        raise FetchFailed("the answer of the address is not JSON") from error
    if not isinstance(value, dict):
        raise FetchFailed("the answer of the address is not a JSON object")
    return value
