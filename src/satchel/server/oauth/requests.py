"""What a client asks for at ``/oauth/authorize``, read strictly, and the ways to answer it.

Until the client and its redirect are known to belong together nobody is sent anywhere: what is wrong is shown to the
person. From then on it is told to the client, at that redirect.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlencode

from satchel.auth.roles import Role
from satchel.auth.scopes import SCOPES, scope_of
from satchel.errors import InvalidInput
from satchel.server.cloud import Cloud
from satchel.server.oauth import clients
from satchel.server.oauth.clients import Client
from satchel.server.oauth.rules import MAX_STATE_CHARACTERS, audience_of, is_challenge, redirect_allowed
from satchel.server.web.forms import fields_of


class Asked(NamedTuple):
    """A request that can be put before a person."""

    client: Client
    redirect: str
    state: str | None
    challenge: str
    scope: Role
    audience: str
    query: str
    """The request as it came, to be carried along by the pages."""


class Answerable(Exception):
    """A request that is refused at the client's redirect; ``error`` is the code of RFC 6749."""

    def __init__(self, redirect: str, state: str | None, error: str, description: str) -> None:
        super().__init__(description)
        self.redirect, self.state, self.error, self.description = redirect, state, error, description

    def location(self, issuer: str) -> str:
        return answer_at(
            self.redirect, issuer, self.state, {"error": self.error, "error_description": self.description}
        )


def answer_at(redirect: str, issuer: str, state: str | None, said: dict[str, str]) -> str:
    """The address at which a client is told something; ``iss`` says by whom (RFC 9207)."""
    given = {**said, **({} if state is None else {"state": state}), "iss": issuer}
    return f"{redirect}{'&' if '?' in redirect else '?'}{urlencode(given)}"


def names_document(query: str) -> bool:
    """Whether the client of a request is known by a document, to be fetched. Raises ``InvalidInput``."""
    return fields_of(query).get("client_id", "").startswith(("https://", "http://"))


async def read(cloud: Cloud, query: str) -> Asked:
    """The request in a query. Raises ``InvalidInput``, ``NoSuchClient`` and others for a person; ``Answerable``."""
    fields = fields_of(query)
    client = await clients.find(cloud, fields.get("client_id", ""))
    redirect = fields.get("redirect_uri", "")
    if not redirect_allowed(redirect, client.redirects):
        raise InvalidInput(
            "the client asks to be answered at an address that is not its own",
            hint="Nothing was sent there. Connect the client anew; if this comes again, do not trust it.",
        )
    state = fields.get("state")
    if state is not None and len(state) > MAX_STATE_CHARACTERS:
        raise Answerable(redirect, None, "invalid_request", f"state is over {MAX_STATE_CHARACTERS} characters")

    def refused(error: str, description: str) -> Answerable:
        return Answerable(redirect, state, error, description)

    for name in ("request", "request_uri", "registration"):
        if name in fields:
            raise refused(f"{name}_not_supported", f"{name} is not taken here")
    if fields.get("response_type") != "code":
        raise refused("unsupported_response_type", "response_type has to be code")
    if fields.get("response_mode", "query") != "query":
        raise refused("invalid_request", "response_mode has to be query")
    challenge = fields.get("code_challenge", "")
    if fields.get("code_challenge_method") != "S256" or not is_challenge(challenge):
        raise refused("invalid_request", "code_challenge with code_challenge_method S256 is needed")
    scope = scope_of(fields.get("scope", ""))
    if scope is None:
        raise refused("invalid_scope", f"the scopes are {' '.join(SCOPES)}")
    url = cloud.settings.url
    audience = audience_of(fields.get("resource", url + "/mcp"), url)
    if audience is None:
        raise refused("invalid_target", "resource names another server")
    if fields.get("prompt") == "none":
        raise refused("interaction_required", "a person has to be asked")
    return Asked(client, redirect, state, challenge, scope, audience, query)
