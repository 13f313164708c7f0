"""Who may ask for access: Satchel's own command line, clients that registered, and clients known by their document.

A client's id says which it is: ``satchel-cli``; ``cli_…`` for one that registered (RFC 7591); an https address for one
whose metadata is the document there (client id metadata documents), which is fetched when somebody is asked to consent.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from satchel.catalog import oauth
from satchel.catalog.oauth import ClientRow
from satchel.errors import NotFound, TooManyRequests
from satchel.objects.ids import is_random_id, new_id
from satchel.server.cloud import Cloud
from satchel.server.oauth.rules import BadClient, Described, described

DAY_MS = 24 * 60 * 60 * 1000
MAX_CLIENTS = 10_000
"""Registrations kept, of all clients together."""
SPARE_MS = 10 * 60 * 1000
"""A registration as young as this never makes room for another."""
UNUSED_MS = DAY_MS
"""A registration that nobody allowed anything is forgotten after this."""
IDLE_MS = 90 * DAY_MS
"""One that was used, this long after somebody last allowed it something."""
MAX_ID_CHARACTERS = 512
OWN_ID = "satchel-cli"


class NoSuchClient(NotFound):
    code = "oauth.unknown_client"
    default_hint = "Connect the client anew, so that it registers again."


class ClientRefused(NotFound):
    code = "oauth.client_refused"
    default_hint = "Tell who makes the client: its metadata has to be as docs/spec/oauth.md says."


class Client(NamedTuple):
    id: str
    name: str
    redirects: tuple[str, ...]
    host: str = ""
    """The host that vouches for its metadata; empty where nobody does."""


OWN = Client(OWN_ID, "Satchel on the command line", ("http://127.0.0.1/callback",))


async def find(cloud: Cloud, client_id: str) -> Client:
    """The client of this id. Raises ``NoSuchClient``, ``ClientRefused``, and what a fetch raises."""
    if client_id == OWN_ID:
        return OWN
    if is_random_id(client_id, "cli"):
        async with cloud.catalog.directory() as d:
            row = await oauth.client(d, client_id)
        if row is not None:
            return Client(row.id, row.name, row.redirects)
    elif cloud.settings.client_documents and client_id.startswith(("https://", "http://")):
        return await _documented(cloud, client_id)
    raise NoSuchClient("this server knows no such client")


def is_id(client_id: str) -> bool:
    """Whether this has the form of a client's id: for questions that need no more, since a token names its client."""
    return client_id == OWN_ID or is_random_id(client_id, "cli") or client_id.startswith(("https://", "http://"))


async def register(cloud: Cloud, client: Described) -> ClientRow:
    """Keep a client under a new id. Raises ``TooManyRequests`` where there is no room."""
    now = cloud.clock()
    row = ClientRow(new_id("cli", cloud.random(16)), client.name, client.redirects, now, None)
    async with cloud.catalog.directory(write=True) as d:
        await oauth.expire_clients(d, unused_since=now - UNUSED_MS, idle_since=now - IDLE_MS)
        if not await oauth.add_client(d, row, most=MAX_CLIENTS, spare_ms=SPARE_MS):
            raise TooManyRequests("too many clients are registered at this moment", retry_after=SPARE_MS // 1000)
    return row


async def _documented(cloud: Cloud, url: str) -> Client:
    parts = urlsplit(url[:MAX_ID_CHARACTERS])
    if len(url) > MAX_ID_CHARACTERS or parts.path in ("", "/") or "#" in url:
        raise ClientRefused("the id of the client is not the address of a document")
    document = await cloud.fetcher.document(url)
    if document.get("client_id") != url:
        raise ClientRefused("the client's document is not about the client at its address")
    secret = {"client_secret", "client_secret_expires_at"} & document.keys()
    if secret or document.get("token_endpoint_auth_method", "none") != "none":
        raise ClientRefused("the client's document says that it keeps a secret, which no document can")
    try:
        client = described(document)
    except BadClient as error:
        raise ClientRefused(f"the client's document is not acceptable: {error.message}") from error
    return Client(url, client.name, client.redirects, parts.netloc)
