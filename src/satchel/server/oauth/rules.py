"""The rules that decide without asking anybody: resources, redirects, PKCE, what a client may say of itself."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

MAX_REDIRECTS = 10
MAX_REDIRECT_CHARACTERS = 512
MAX_NAME_CHARACTERS = 80
MAX_STATE_CHARACTERS = 2_048
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
GRANTS = ("authorization_code", "refresh_token", DEVICE)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_URL_TEXT = re.compile(r"[!$&'()*+,./:;=?@A-Za-z0-9_~%\[\]-]+")
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
_LOOPBACK_URL = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?((?:/[^#]*)?)")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,62}(?::[0-9]{1,5})?")
# An application's own scheme (RFC 8252, 7.1). Those that a browser runs, reads or opens itself lead nowhere safe.
_OWN_SCHEME = re.compile(r"[a-z][a-z0-9.+-]{1,62}")
_NOT_OWN = frozenset(
    {"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "https", "intent", "jar", "javascript"}
    | {"mailto", "vbscript", "view-source", "ws", "wss"}
)


class BadClient(Exception):
    """What a client says of itself is not acceptable. ``error`` is the code of RFC 7591."""

    def __init__(self, message: str, error: str = "invalid_client_metadata") -> None:
        super().__init__(message)
        self.message, self.error = message, error


class Described(NamedTuple):
    """A client as it describes itself."""

    name: str
    redirects: tuple[str, ...]


def audience_of(resource: str, server: str) -> str | None:
    """The audience that a resource indicator (RFC 8707) names: the server, or its MCP endpoint. None for another's."""
    plain = resource.rstrip("/")
    return plain if plain in (server, server + "/mcp") else None


def is_challenge(text: str) -> bool:
    return _CHALLENGE.fullmatch(text) is not None


def proves(verifier: str, challenge: str) -> bool:
    """Whether a verifier is the one behind a challenge (RFC 7636, S256)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    made = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return hmac.compare_digest(made, challenge)


def redirect_allowed(given: str, registered: tuple[str, ...]) -> bool:
    """Whether a redirect is one of the registered, character by character; of a loopback one any port will do."""
    if len(given) > MAX_REDIRECT_CHARACTERS or not _URL_TEXT.fullmatch(given):
        return False
    if given in registered:
        return True
    mine = _LOOPBACK_URL.fullmatch(given)
    if mine is None or not _port_is_one(given):
        return False
    return any((m := _LOOPBACK_URL.fullmatch(other)) and m.groups() == mine.groups() for other in registered)


def source_of(redirect: str) -> str:
    """The origin of a redirect as a Content-Security-Policy names it."""
    parts = urlsplit(redirect)
    if parts.scheme not in ("http", "https") or parts.netloc.startswith("["):
        return f"{parts.scheme}:"  # a policy cannot name an application's scheme or an IPv6 address otherwise
    return f"{parts.scheme}://{parts.netloc}"


def shown_host(redirect: str) -> str:
    """Where a redirect leads, for a person: the host, or that it is this machine or an application on it."""
    parts = urlsplit(redirect)
    if parts.scheme not in ("http", "https"):
        return f"an application on your device ({parts.scheme}:)"
    host = parts.netloc.rpartition(":")[0] or parts.netloc if parts.port else parts.netloc
    return f"a program on this computer ({host})" if host in _LOOPBACK else host


def described(metadata: Mapping[str, Any]) -> Described:
    """A client from its metadata (RFC 7591). What is not used here is not looked at. Raises ``BadClient``."""
    redirects = metadata.get("redirect_uris")
    if not isinstance(redirects, list) or not 1 <= len(redirects) <= MAX_REDIRECTS:
        raise BadClient(f"redirect_uris has to list 1 to {MAX_REDIRECTS} addresses", "invalid_redirect_uri")
    for redirect in redirects:
        _check_redirect(redirect)
    for name, known in (("grant_types", GRANTS), ("response_types", ("code",))):
        wanted = metadata.get(name)
        if wanted is not None and not (isinstance(wanted, list) and any(value in known for value in wanted)):
            raise BadClient(f"{name} names nothing that this server gives: {', '.join(known)}")
    return Described(_name(metadata.get("client_name"), redirects[0]), tuple(redirects))


def _name(given: object, redirect: str) -> str:
    """A name fit to be shown; a client without one goes by where it wants to be sent."""
    if given is None or given == "":
        return f"Unnamed client ({urlsplit(redirect).netloc or urlsplit(redirect).scheme})"[:MAX_NAME_CHARACTERS]
    if not isinstance(given, str) or len(given) > MAX_NAME_CHARACTERS or not given.isprintable() or not given.strip():
        raise BadClient(f"client_name has to be 1 to {MAX_NAME_CHARACTERS} printable characters")
    return given.strip()


def _check_redirect(redirect: object) -> None:
    if (
        not isinstance(redirect, str)
        or len(redirect) > MAX_REDIRECT_CHARACTERS
        or not _URL_TEXT.fullmatch(redirect)
        or not _port_is_one(redirect)
    ):
        raise BadClient(
            f"a redirect is a URL of at most {MAX_REDIRECT_CHARACTERS} plain characters without a fragment",
            "invalid_redirect_uri",
        )
    scheme, colon, rest = redirect.partition(":")
    if scheme in ("http", "https"):
        netloc = re.split("[/?]", rest.removeprefix("//"), maxsplit=1)[0]
        loopback = _LOOPBACK_URL.fullmatch(redirect)
        if rest.startswith("//") and (loopback or (scheme == "https" and _HOST.fullmatch(netloc))):
            return
        raise BadClient(
            "a redirect is https to a host by its name, or http to this machine (127.0.0.1, [::1], localhost)",
            "invalid_redirect_uri",
        )
    if not colon or not _OWN_SCHEME.fullmatch(scheme) or scheme in _NOT_OWN or not rest:
        raise BadClient("a redirect has a scheme that is not taken here", "invalid_redirect_uri")


def _port_is_one(url: str) -> bool:
    """Whether the port, if there is one, can be; False also for a host in brackets that is no address."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False
