"""Reading requests and writing answers: bounded, strict, and encoded once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from fastapi import Request
from fastapi.responses import Response
from starlette.types import Message, Receive

from satchel.errors import InvalidInput, TooLarge
from satchel.objects import zstd
from satchel.objects.frame import FAST_LEVEL
from satchel.objects.paths import check_path
from satchel.server.problems import MalformedBody, WrongMediaType
from satchel.server.schemas import FORMS
from satchel.sync.holdback import MAX_ALLOWED

LARGE_BYTES = 256 * 1024
"""A body over this is kept whole only in its tenant's turn: one tenant's requests at once could else fill the memory.
"""

JSON_WEIGHT = 5
"""Bytes in memory for each of a JSON body's, with what is made of it. Measured with 100,000 changes: 4 to 6."""
GATHERED_FROM = 64 * 1024
"""Shorter bodies are taken as they come."""
GATHERED_BYTES = 48 * 1024
"""What makes a pause before the next look worth nothing: uvicorn stops reading at 64 KiB that nobody took."""
GATHER_SECONDS = 0.002
PACKED_FROM = 16 * 1024
"""A shorter answer goes in one window of a young connection, packed or not."""
T = TypeVar("T")
_IDEMPOTENCY = re.compile(r"[\x21-\x7e]{1,200}")
_ETAGS = re.compile(r'\s*(W/)?"([^"]*)"\s*(?:,|$)')
NAMES_ONCE_BYTES = 16 * 1024
"""Whatever says who may do what is no longer than this: nobody is to read such a body otherwise than we do."""
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


async def read_json(request: Request, kind: type[T], limit: int) -> T:
    """The request's JSON body as ``kind``.

    Raises ``WrongMediaType``, ``TooLarge`` over ``limit`` bytes, ``MalformedBody``, or ``InvalidInput`` naming the
    field that is missing, unknown or wrong, or given twice in a body of up to ``NAMES_ONCE_BYTES``.
    """
    require_media(request, "application/json")
    data = await read_bytes(request, limit)
    await request.scope["satchel"].weigh(JSON_WEIGHT * len(data))
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        value: T = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidInput(_plain(str(error), kind)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedBody("the body is not well-formed JSON") from None
    if len(data) <= NAMES_ONCE_BYTES:
        _names_once(data)
    return value


async def read_bytes(request: Request, limit: int) -> bytes:
    """The whole body; raises ``TooLarge`` once it is known to be over ``limit`` bytes."""
    return b"".join([chunk async for chunk in Request(request.scope, bounded(request, limit)).stream()])


def bounded(request: Request, limit: int) -> Receive:
    """What gives a body to whoever keeps it whole: one that is large in its tenant's turn. Raises ``TooLarge`` for one
    that is declared to be over ``limit`` bytes, and gives no more of one that is; ``WrongMediaType`` for one that is
    packed."""
    _check_coding(request)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise TooLarge(f"the body is {int(declared):,} bytes; at most {limit:,} are taken here", limit=limit)
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        before, size = size, size + len(message.get("body", b""))
        if before <= LARGE_BYTES < size:
            await request.scope["satchel"].grow()
        if size > limit:
            raise TooLarge(f"the body is over {limit:,} bytes", limit=limit)
        await request.scope["satchel"].weigh(size)
        return message

    return receive


async def stream(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes; raises ``TooLarge`` over ``limit`` bytes, ``WrongMediaType`` if it is packed.

    A long body over a slow link comes in packets of 1.4 KB, each of which would go through everything between the
    socket and here: it is left to gather.
    """
    _check_coding(request)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is over the {limit:,} bytes it declared", limit=limit)
        if chunk:
            yield chunk
        if size > GATHERED_FROM and len(chunk) < GATHERED_BYTES:
            await asyncio.sleep(GATHER_SECONDS)


def require_media(request: Request, media: str) -> None:
    """Raise ``WrongMediaType`` unless the body is declared to be of this type."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != media:
        raise WrongMediaType(f"this address takes {media}, not {sent or 'a body without a content type'}")


def _check_coding(request: Request) -> None:
    """Bodies are not unpacked, and packed ones are not kept as if they were what was meant (RFC 9110, 15.5.16)."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise WrongMediaType(
            f"a body is taken as it is, not with the Content-Encoding {coding[:60]}",
            hint="Send it unpacked, without that header.",
        )


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header; raises ``InvalidInput`` when it is not 1 to 200 visible ASCII characters."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY.fullmatch(key):
        raise InvalidInput("an Idempotency-Key is 1 to 200 visible ASCII characters")
    return key


def secrets_allowed(request: Request) -> tuple[str, ...]:
    """The paths of ``Satchel-Secrets-Allowed``. Raises ``InvalidInput`` or ``PathRefused``."""
    text = request.headers.get("satchel-secrets-allowed")
    if not text:
        return ()
    names = text.split(",")
    if len(names) > MAX_ALLOWED:
        raise InvalidInput(f"Satchel-Secrets-Allowed names at most {MAX_ALLOWED} paths")
    return tuple(check_path(unquote(name, errors="surrogateescape")) for name in names)


def etags(header: str, *, weak: bool = False) -> tuple[bool, list[str]]:
    """Whether an If-Match or If-None-Match header is ``*``, and the tags it lists: for If-Match the strong ones, for
    If-None-Match also the ``weak`` that proxies make of ours when they compress. Raises ``InvalidInput``."""
    if header.strip() == "*":
        return True, []
    tags, at = [], 0
    while at < len(header):
        match = _ETAGS.match(header, at)
        if match is None:
            raise InvalidInput('an entity tag is text in double quotes, such as "9f3c…"')
        if weak or not match[1]:
            tags.append(match[2])
        at = match.end()
    return False, tags


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(
        msgspec.json.encode(value), status, headers=dict(headers) if headers else None, media_type="application/json"
    )


async def packed(request: Request, response: Response) -> Response:
    """The same answer compressed with zstd, where it is long and the caller takes it so (`docs/adr` 0064)."""
    if len(response.body) < PACKED_FROM or not _takes_zstd(request.headers.get("accept-encoding", "")):
        return response
    data = await asyncio.to_thread(zstd.compress, bytes(response.body), FAST_LEVEL)
    headers = {"content-encoding": "zstd", "vary": "accept-encoding"}
    return Response(data, response.status_code, headers=headers, media_type=response.media_type)


def _takes_zstd(header: str) -> bool:
    """Whether an Accept-Encoding names zstd, and not to refuse it."""
    offers = (offer.partition(";") for offer in header.lower().split(","))
    return any(name.strip() == "zstd" and not re.fullmatch(r"q=0(\.0*)?", rest.strip()) for name, _, rest in offers)


def _names_once(data: bytes) -> None:
    """Raise ``InvalidInput`` where an object of a JSON text gives a field twice: msgspec takes the last."""
    try:
        json.loads(data, object_pairs_hook=_no_name_twice, parse_int=float)
    except (ValueError, RecursionError):
        raise MalformedBody("the body is not well-formed JSON") from None


def _no_name_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value: dict[str, object] = {}
    for name, each in pairs:
        if name in value:
            raise InvalidInput(f"the field {name[:60]!r} is given twice")
        value[name] = each
    return value


def _plain(text: str, kind: type) -> str:
    """msgspec's message in the words of a caller: ``- at `$.limit``` becomes ``limit: …``. For a field that the body of
    this kind does not have, those that it has."""
    message, _, place = text.partition(" - at `")
    field = place.rstrip("`").removeprefix("$").removeprefix(".")
    if message.startswith("Object contains unknown field") and not field:
        known = (each.encode_name for each in msgspec.structs.fields(kind))
        message = f"{message}; known: {', '.join(sorted(known))}"
    message = message.replace("Object contains", "the body has").replace("Object missing", "the body lacks")
    pattern = message.partition(" matching regex ")[2]
    message = f"expected {FORMS[pattern]}" if pattern in FORMS else message
    return f"{field}: {message}" if field and not field.startswith("key") else message
