"""Logging in at any MCP server by OAuth: what the bridge asks of an authorization server, and nothing of a terminal.

A client is known there by an id the person was given, by the address of a document, or by registering, in this order.
What it is known by, and its tokens, count for one issuer alone: when a server changes its authorization server, all of
it is left behind. PKCE ties a code to this process, ``state`` and ``iss`` tie the answer to this request and server.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus, urlencode

from satchel.errors import ServerFailed, ServerLied
from satchel.remote.discovery import JSON_HEADERS, Authorization, LoginImpossible, ask, object_in
from satchel.remote.oauth import Asking, LoginRefused

NAME = "Satchel"
FORM_HEADERS = [*JSON_HEADERS, ("content-type", "application/x-www-form-urlencoded")]
MAX_TEXT = 16_384


class Client(NamedTuple):
    """What we are known by at one issuer."""

    issuer: str
    id: str
    secret: str | None = None
    method: str = "none"
    redirect: str | None = None
    """The redirect it was registered with; ``None`` where any port of this machine will do."""


class Granted(NamedTuple):
    """What a person allowed, and where to ask for more of it."""

    client: Client
    access: str
    refresh: str | None
    scope: str
    """All that was asked for so far."""


class McpLogin:
    """One login of a person at an authorization server; ``cli.browser`` brings the person there and back."""

    def __init__(
        self,
        at: Authorization,
        scope: str | None,
        *,
        known: Client | None,
        id: str | None = None,  # noqa: A002 - its name in OAuth
        secret: str | None = None,
    ) -> None:
        """``scope`` is what the server asks for; ``known`` what we are known by somewhere, from before."""
        self._at, self._known, self._id, self._secret = at, known, id, secret
        wanted = at.scopes if scope is None else scope.split()
        if at.offline and wanted is not None and "offline_access" not in wanted:
            wanted = [*wanted, "offline_access"]
        self._scope = " ".join(wanted or ())
        self._client: Client | None = None

    def ask(self, redirect: str, random: Callable[[int], bytes]) -> Asking:
        """Begin in a browser, which is sent to ``redirect`` afterwards. Raises ``LoginImpossible``."""
        self._client = client = self._client_for(redirect)
        state, verifier = _text(random(16)), _text(random(32))
        query = {
            "response_type": "code",
            "client_id": client.id,
            "redirect_uri": redirect,
            "resource": self._at.resource,
            "state": state,
            "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **({"scope": self._scope} if self._scope else {}),
        }
        if "offline_access" in self._scope.split():
            query["prompt"] = "consent"  # OpenID Connect gives a refresh token only so
        joined = "&" if "?" in self._at.authorize else "?"
        return Asking(self._at.authorize + joined + urlencode(query, quote_via=quote), state, verifier, redirect)

    def is_answer(self, asking: Asking, said: Mapping[str, str]) -> bool:
        """Whether what came to the redirect answers this request. From whom it is ``finish`` looks at."""
        return hmac.compare_digest(said.get("state", "").encode(), asking.state.encode())

    def finish(self, asking: Asking, said: Mapping[str, str]) -> Granted:
        """What the person allowed. Raises ``LoginRefused``."""
        assert self._client is not None
        named = said.get("iss")
        if named != self._at.issuer and (named is not None or self._at.says_issuer):
            raise LoginRefused("the answer of the browser is not from the server that was asked: it was not used")
        if "error" in said or "code" not in said:
            raise LoginRefused("the login was not allowed" if said.get("error") == "access_denied" else "it failed")
        fields = {
            "grant_type": "authorization_code",
            "code": said["code"],
            "redirect_uri": asking.redirect,
            "code_verifier": asking.verifier,
        }
        status, answer = token_answer(self._at, self._client, fields)
        if status != 200:
            raise LoginRefused(f"the authorization server took the code back ({_error(answer)})")
        return granted(answer, self._client, self._scope)

    def _client_for(self, redirect: str) -> Client:
        at, known = self._at, self._known
        if self._id is not None and not self._id.startswith("https://"):
            method = "none" if self._secret is None else _method(at, "client_secret_basic", "client_secret_post")
            return Client(at.issuer, self._id, self._secret, method)
        if self._id is not None and at.documents:
            return Client(at.issuer, self._id)
        if known is not None and known.issuer == at.issuer and known.redirect == redirect:
            return known
        if at.register is None:
            raise LoginImpossible(
                f"{at.issuer[:200]} lets no client register",
                hint="Ask whoever runs it for a client id, and give it with --client-id.",
            )
        return _registered(at, redirect)


def renewed(at: Authorization, old: Granted) -> Granted | None:
    """The same for a while longer; ``None`` where a person has to log in again."""
    if old.refresh is None or old.client.issuer != at.issuer:
        return None
    status, answer = token_answer(at, old.client, {"grant_type": "refresh_token", "refresh_token": old.refresh})
    if status >= 500 or status == 429:
        raise ServerFailed(f"{at.token} answered {status}")
    return granted(answer, old.client, old.scope, old.refresh) if status == 200 else None


def revoke(at: Authorization, old: Granted) -> bool:
    """End it at the server; whether it says that this was done."""
    if at.revoke is None or old.client.issuer != at.issuer:
        return False
    fields = {"token": old.refresh or old.access}
    return _post(at.revoke, old.client, fields)[0] == 200


def token_answer(at: Authorization, client: Client, fields: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """Status and answer of the token endpoint."""
    return _post(at.token, client, {**fields, "resource": at.resource})


def granted(answer: Mapping[str, Any], client: Client, scope: str, refresh: str | None = None) -> Granted:
    """What a token endpoint gave. Raises ``ServerLied``."""
    access, fresh = answer.get("access_token"), answer.get("refresh_token", refresh)
    kind = answer.get("token_type", "bearer")
    if not _is_text(access) or not (fresh is None or _is_text(fresh)) or str(kind).lower() != "bearer":
        raise ServerLied("the authorization server's answer holds no bearer token")
    return Granted(client, str(access), fresh, scope)


def _registered(at: Authorization, redirect: str) -> Client:
    asked = {
        "client_name": NAME,
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": _method(at, "none", "client_secret_basic", "client_secret_post"),
        "application_type": "native",
    }
    assert at.register is not None
    reply = ask("POST", at.register, [*JSON_HEADERS, ("content-type", "application/json")], json.dumps(asked).encode())
    answer = object_in(reply.body)
    if reply.status not in (200, 201):
        raise LoginImpossible(f"{at.issuer[:200]} does not register this client ({_error(answer)})")
    name, secret = answer.get("client_id"), answer.get("client_secret")
    if not _is_text(name) or not (secret is None or _is_text(secret)):
        raise ServerLied("the authorization server's answer to a registration names no client")
    method = answer.get("token_endpoint_auth_method", asked["token_endpoint_auth_method"])
    return Client(at.issuer, str(name), secret if method != "none" else None, str(method), redirect)


def _method(at: Authorization, *liked: str) -> str:
    """The first way we know that the server takes."""
    for method in liked:
        if method in at.methods:
            return method
    raise LoginImpossible(f"{at.issuer[:200]} takes no client in a way known here")


def _post(url: str, client: Client, fields: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    headers, sent = list(FORM_HEADERS), dict(fields)
    if client.method == "client_secret_basic" and client.secret is not None:
        pair = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"  # RFC 6749, 2.3.1
        headers.append(("authorization", "Basic " + b64encode(pair.encode()).decode()))
    else:
        sent["client_id"] = client.id
        if client.method == "client_secret_post" and client.secret is not None:
            sent["client_secret"] = client.secret
    reply = ask("POST", url, headers, urlencode(sent).encode())
    return reply.status, object_in(reply.body)


def _error(answer: Mapping[str, Any]) -> str:
    """The code of an OAuth error, which is a word: descriptions may hold anything."""
    code = answer.get("error")
    return code if isinstance(code, str) and code.isascii() and len(code) <= 64 and code.isprintable() else "no reason"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isascii() and value.isprintable()


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
