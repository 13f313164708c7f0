"""Signing in to the pages by an external provider: out to it, and back (OpenID Connect, authorization code with PKCE).

What the way back has to match (state, nonce, verifier, where to go on) rests in one cookie, sealed, for ten minutes: a
browser that did not begin a sign-in cannot end one, and the server keeps nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request, Response
from markupsafe import Markup
from starlette.responses import RedirectResponse

from satchel.auth.federation import check_sign_in
from satchel.errors import CredentialInvalid, NoSuchThing
from satchel.server.access import cloud_of, exchange_of
from satchel.server.federated import known_here
from satchel.server.provider import Provider, ProviderRefused
from satchel.server.web import browser as browsing
from satchel.server.web.browser import browser_of, onward
from satchel.server.web.forms import fields_of
from satchel.server.web.layout import NOTHING
from satchel.server.web.routing import pages_router

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

router = pages_router()
START, BACK = "/oauth/federated", "/oauth/federated/back"
_NAME = "satchel-federated"
LIFETIME_MS = 10 * 60 * 1000
SCOPE = "openid email profile"
MAX_CODE_CHARACTERS = 4_096
_LINK = Markup('<p><a class=button href="{href}">Sign in with {name}</a></p>')


class Begun(NamedTuple):
    """A sign-in on its way."""

    state: str
    nonce: str
    verifier: str
    onward: str
    expires: int


def link(cloud: Cloud, path: str) -> Markup:
    """The way to the provider, for the sign-in page; nothing where there is none to sign in by."""
    if cloud.provider is None or not cloud.provider.client_id:
        return NOTHING
    return _LINK.format(href=f"{START}?{urlencode({'next': path})}", name=cloud.provider.name)


@router.get(START)
async def out(request: Request) -> Response:
    cloud, provider = _provider(request)
    path = onward(fields_of(request.scope["query_string"].decode("latin-1")).get("next"))
    begun = Begun(_fresh(cloud), _fresh(cloud), _fresh(cloud), path, cloud.clock() + LIFETIME_MS)
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": cloud.settings.url + BACK,
        "scope": SCOPE,
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": _b64(hashlib.sha256(begun.verifier.encode()).digest()),
        "code_challenge_method": "S256",
    }
    address = (await provider.discovery()).authorization
    answer = RedirectResponse(f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}", 303)
    answer.headers["referrer-policy"] = "no-referrer"
    answer.headers["cache-control"] = "no-store"
    answer.headers["set-cookie"] = _cookie(cloud, _sealed(cloud, begun), LIFETIME_MS // 1000)
    return answer


@router.get(BACK)
async def back(request: Request) -> Response:
    cloud, provider = _provider(request)
    fields = fields_of(request.scope["query_string"].decode("latin-1"))
    begun = _opened(cloud, request.cookies.get(_cookie_name(cloud), ""))
    if begun is None or not hmac.compare_digest(fields.get("state", "").encode(), begun.state.encode()):
        raise ProviderRefused("this browser did not begin the sign-in, or it took too long")
    if fields.get("iss", provider.issuer) != provider.issuer:
        raise ProviderRefused("the answer came from another identity provider")
    code = fields.get("code", "")
    if "error" in fields or not 0 < len(code) <= MAX_CODE_CHARACTERS:
        raise ProviderRefused("the identity provider did not sign you in")
    claims = await provider.exchange(code, begun.verifier, cloud.settings.url + BACK, cloud.clock())
    try:
        check_sign_in(claims, client_id=provider.client_id, nonce=begun.nonce)
    except CredentialInvalid as error:
        raise ProviderRefused("the identity provider's answer is not one to trust") from error
    person, _ = await known_here(cloud, provider, claims, exchange_of(request))
    answer = (await browsing.signed_in(cloud, person, await browser_of(request))).to(begun.onward)
    answer.headers.append("set-cookie", _cookie(cloud, "", 0))
    return answer


def _provider(request: Request) -> tuple[Cloud, Provider]:
    cloud = cloud_of(request)
    if cloud.provider is None or not cloud.provider.client_id:
        raise NoSuchThing("nobody signs in by an external provider here")
    return cloud, cloud.provider


def _fresh(cloud: Cloud) -> str:
    return _b64(cloud.random(32))


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _key(cloud: Cloud) -> AESGCM:
    return AESGCM(hmac.digest(cloud.pepper, b"satchel federated sign-in", hashlib.sha256))


def _sealed(cloud: Cloud, begun: Begun) -> str:
    nonce = cloud.random(12)
    return _b64(nonce + _key(cloud).encrypt(nonce, json.dumps(begun).encode(), _NAME.encode()))


def _opened(cloud: Cloud, text: str) -> Begun | None:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found: list[Any] = json.loads(_key(cloud).decrypt(data[:12], data[12:], _NAME.encode()))
    except (InvalidTag, ValueError):
        return None
    begun = Begun._make(found)
    return begun if begun.expires > cloud.clock() else None


def _cookie_name(cloud: Cloud) -> str:
    # Behind TLS no host beside this one can plant a sign-in that somebody else began: as for the session (`browser`).
    return f"__Host-{_NAME}" if cloud.settings.url.startswith("https:") else _NAME


def _cookie(cloud: Cloud, value: str, seconds: int) -> str:
    secure = "; Secure" if cloud.settings.url.startswith("https:") else ""
    return f"{_cookie_name(cloud)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
