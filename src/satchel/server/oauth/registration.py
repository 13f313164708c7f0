"""``/oauth/register``: a client describes itself and gets an id (RFC 7591).

Anybody may, so it is bounded: in size, in number for each address and of all together, and in time where nobody ever
allows the client anything. What the description says beyond a name and redirects is not kept and not shown.
"""

from __future__ import annotations

import json

from fastapi import Request, Response

from satchel.server.access import cloud_of, exchange_of
from satchel.server.bodies import answer, read_bytes, require_media
from satchel.server.cloud import Cloud
from satchel.server.edge import Exchange
from satchel.server.oauth import clients
from satchel.server.oauth.answers import REGISTRATIONS_A_MINUTE, machine_router
from satchel.server.oauth.rules import GRANTS, BadClient, described

router = machine_router()
MAX_METADATA_BYTES = 16 * 1024


@router.post("/oauth/register")
async def register(request: Request) -> Response:
    cloud = cloud_of(request)
    require_media(request, "application/json")
    metadata = _object(await read_bytes(request, MAX_METADATA_BYTES))
    client = described(metadata)
    limit_beginnings(cloud, exchange_of(request))
    row = await clients.register(cloud, client)
    return answer(
        {
            "client_id": row.id,
            "client_id_issued_at": row.created // 1000,
            "client_name": row.name,
            "redirect_uris": list(row.redirects),
            "token_endpoint_auth_method": "none",
            "grant_types": list(GRANTS),
            "response_types": ["code"],
        },
        201,
    )


def limit_beginnings(cloud: Cloud, exchange: Exchange) -> None:
    """Count what an address begins without anybody's credential. Raises ``TooManyRequests``."""
    cloud.beginnings.stranger(exchange.address, REGISTRATIONS_A_MINUTE).enforce()


def _object(data: bytes) -> dict[str, object]:
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_name_twice)
    except (ValueError, RecursionError) as error:
        raise BadClient("the body is not a JSON object in UTF-8 in which no name occurs twice") from error
    if not isinstance(value, dict):
        raise BadClient("the body is not a JSON object")
    return value


def _no_name_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value
