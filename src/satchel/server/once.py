"""Writes that can be sent twice: the result is saved in the write's own transaction and given again (promise P7)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import msgspec
from fastapi import Request

from satchel.catalog import idempotency
from satchel.catalog.scope import Scope
from satchel.server.access import Caller
from satchel.server.bodies import idempotency_key


async def once(
    request: Request,
    caller: Caller,
    s: Scope,
    route: str,
    asked: object,
    do: Callable[[], Awaitable[dict[str, object]]],
) -> dict[str, object]:
    """The result of ``do``, or the one it had before under the same Idempotency-Key.

    Call it inside the writing scope ``s``, after authorization. ``asked`` is the request as decoded. Raises
    ``IdempotencyReused`` when the key came with another request.
    """
    key = idempotency_key(request)
    if key is None:
        return await do()
    wanted = hashlib.sha256(msgspec.json.encode(asked)).hexdigest()
    who, now = caller.principal.id, caller.cloud.clock()
    saved = await idempotency.find(s, who, route, key, wanted, now)
    if saved is not None:
        found: dict[str, object] = msgspec.json.decode(saved)
        return found
    result = await do()
    kept = {name: value for name, value in result.items() if name not in SHOWN_ONCE}
    await idempotency.save(s, who, route, key, wanted, msgspec.json.encode(kept).decode(), now)
    return result


SHOWN_ONCE = frozenset({"key", "adminKey", "url"})
"""Members of a result that are never stored: a replay answers without them."""
