"""Who lets people in at an MCP server, found as its authorization specification says: the resource's own metadata
(RFC 9728) names an authorization server, whose metadata (RFC 8414, or OpenID Connect Discovery) names its endpoints.

All of it is said by strangers. An address is taken if it is https, or http of this machine where the MCP server is of
this machine too: a server elsewhere sends us to nothing here. Redirects are not followed, an answer is 256 KiB at most,
and metadata count only for the resource and the issuer they were asked of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from satchel.errors import ConfigInvalid, Refused, ServerFailed, ServerLied
from satchel.remote.connection import LOOPBACK, checked_url
from satchel.remote.raw import RawServer, Reply

MAX_BYTES = 256 * 1024
MAX_SCOPE_CHARACTERS = 1_000
"""A scope is shown to the person and the agent: a longer one, or one of other characters, is none (RFC 6749, 3.3)."""
JSON_HEADERS = [("accept", "application/json")]
_LEGACY = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "registration_endpoint": "/register"}
"""Where a server of the specification of 2025-03-26 has what its metadata do not say."""


class LoginImpossible(Refused):
    code = "auth.login_impossible"
    default_hint = "Tell whoever runs that server: an agent cannot log in there as MCP prescribes."


class Challenge(NamedTuple):
    """What a 401 or 403 says of the way in."""

    metadata: str | None
    scope: str | None
    error: str | None


class Authorization(NamedTuple):
    """One authorization server, and the resource it is to be asked for."""

    resource: str
    scopes: tuple[str, ...] | None
    """Those the resource lists."""
    issuer: str
    authorize: str
    token: str
    register: str | None
    revoke: str | None
    methods: tuple[str, ...]
    """How a client may show its secret; ``none``: it has no secret."""
    documents: bool
    """Whether a client may name itself by the address of a document."""
    says_issuer: bool
    """Whether it names itself in the answer that the browser brings."""
    offline: bool
    """Whether refresh tokens are asked for by a scope."""


def challenge_in(headers: Sequence[tuple[str, str]]) -> Challenge:
    """The Bearer challenge of an answer; an empty one where there is none."""
    said: dict[str, str] = {}
    for name, value in headers:
        found = re.search(r"(?i)(?:^|[,\s])bearer\s+(.*)", value) if name == "www-authenticate" else None
        if found:
            for key, quoted, bare in re.findall(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))', found[1]):
                said.setdefault(key.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted else bare)
    scope = said.get("scope", "")
    fits = len(scope) <= MAX_SCOPE_CHARACTERS and re.fullmatch(r"[!#-\[\]-~]+(?: [!#-\[\]-~]+)*", scope)
    return Challenge(said.get("resource_metadata"), scope if fits else None, said.get("error"))


def find(url: str, challenge: Challenge) -> Authorization:
    """Who lets people in at the MCP server at ``url``.

    Raises ``LoginImpossible`` where it does not say so in a way that may be followed, and what a connection raises.
    """
    local = _is_local(url)
    resource = _resource(url, challenge, local)
    if resource is None:  # of before RFC 9728: the server lets people in itself
        issuer = _origin(url)
        about = _metadata(issuer, local) or {name: issuer + path for name, path in _LEGACY.items()}
        return _authorization(url, None, issuer, {"code_challenge_methods_supported": ["S256"], **about}, local)
    servers = _texts(resource.get("authorization_servers"))
    if not servers:
        raise LoginImpossible("the MCP server names no authorization server")
    issuer = servers[0]
    found = _metadata(_checked(issuer, local), local, issuer)
    if found is None:
        raise LoginImpossible(f"the authorization server {issuer[:200]} publishes no metadata")
    scopes = resource.get("scopes_supported")
    return _authorization(resource["resource"], None if scopes is None else _texts(scopes), issuer, found, local)


def _resource(url: str, challenge: Challenge, local: bool) -> dict[str, Any] | None:
    path = urlsplit(url).path.rstrip("/")
    known = f"{_origin(url)}/.well-known/oauth-protected-resource"
    places = [challenge.metadata, known + path, known] if path else [challenge.metadata, known]
    for place in places:
        about = None if place is None else _document(_checked(place, local))
        if about is None:
            continue
        said = about.get("resource")
        if not isinstance(said, str) or not _covers(said, url):
            raise LoginImpossible(f"the metadata at {place} are of another resource than {url}")
        return about
    return None


def _covers(resource: str, url: str) -> bool:
    """Whether ``url`` is the resource or below it: a token for something else would be for something else's owner."""
    try:
        base, asked = urlsplit(resource), urlsplit(url)
    except ValueError:
        return False
    above = base.path.rstrip("/")
    same = _origin(resource) == _origin(url) and not base.query and not base.fragment
    return same and (asked.path.rstrip("/") + "/").startswith(above + "/")


def _metadata(issuer: str, local: bool, name: str | None = None) -> dict[str, Any] | None:
    origin, path = _origin(issuer), urlsplit(issuer).path.rstrip("/")
    places = [
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}/.well-known/openid-configuration{path}",
        *([f"{origin}{path}/.well-known/openid-configuration"] if path else []),
    ]
    for place in places:
        about = _document(place)
        if about is not None:
            if about.get("issuer") != (name or issuer):
                raise LoginImpossible(f"the metadata at {place} are of another issuer than {(name or issuer)[:200]}")
            return about
    return None


def _authorization(
    resource: str, scopes: tuple[str, ...] | None, issuer: str, about: Mapping[str, Any], local: bool
) -> Authorization:
    if "S256" not in _texts(about.get("code_challenge_methods_supported")):
        raise LoginImpossible(f"the authorization server {issuer[:200]} does not do PKCE with S256")
    authorize, token = about.get("authorization_endpoint"), about.get("token_endpoint")
    if not isinstance(authorize, str) or not isinstance(token, str):
        raise LoginImpossible(f"the authorization server {issuer[:200]} names no endpoints")
    register, revoke = about.get("registration_endpoint"), about.get("revocation_endpoint")
    return Authorization(
        resource=resource,
        scopes=scopes,
        issuer=issuer,
        authorize=_checked(authorize, local),
        token=_checked(token, local),
        register=_checked(register, local) if isinstance(register, str) else None,
        revoke=_checked(revoke, local) if isinstance(revoke, str) else None,
        methods=_texts(about.get("token_endpoint_auth_methods_supported")) or ("client_secret_basic",),
        documents=about.get("client_id_metadata_document_supported") is True,
        says_issuer=about.get("authorization_response_iss_parameter_supported") is True,
        offline="offline_access" in _texts(about.get("scopes_supported")),
    )


def ask(method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None = None) -> Reply:
    """One request to an address that was ``_checked``."""
    server = RawServer(_origin(url), limit=MAX_BYTES)
    try:
        return server.send(method, url.removeprefix(server.url), headers, body)
    finally:
        server.close()


def object_in(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer, ``{}`` where it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _document(url: str) -> dict[str, Any] | None:
    """What is published there; ``None`` where nothing is."""
    reply = ask("GET", url, JSON_HEADERS)
    if reply.status >= 500 or reply.status == 429:
        raise ServerFailed(f"{url} answered {reply.status}")
    if reply.status != 200:
        return None
    about = object_in(reply.body)
    if not about:
        raise ServerLied(f"what {url} answers is not a JSON object")
    return about


def _checked(url: str, local: bool) -> str:
    """An address that somebody else named. Raises ``LoginImpossible``."""
    try:
        parts = urlsplit(url)
        checked_url(_origin(url))
        fits = parts.scheme == "https" or local
        if not fits or not re.fullmatch(r"[!-~]{1,2000}", url) or parts.username or parts.fragment:
            raise ValueError
        if not local and LOOPBACK.fullmatch(parts.hostname or ""):
            raise ValueError
    except (ValueError, Refused, ConfigInvalid) as error:
        raise LoginImpossible(f"the server sends us to {url[:200]!r}, where nobody logs in") from error
    return url


def _is_local(url: str) -> bool:
    return LOOPBACK.fullmatch(urlsplit(url).hostname or "") is not None


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _texts(value: object) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
