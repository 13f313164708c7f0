"""Logging in at a server by OAuth, as the command line does it: the questions of both flows, and nothing of a terminal.

The command line is a client that every Satchel knows (``satchel-cli``). It keeps no secret; PKCE ties a code to the
process that asked for it, ``state`` and ``iss`` tie the answer to this request and this server.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from satchel.errors import ConfigInvalid, CredentialInvalid, ServerLied, SignInNeeded
from satchel.remote.connection import problem_error
from satchel.remote.raw import RawServer

CLIENT = "satchel-cli"
SCOPE = "satchel:admin"
"""No cap: the session may do what its person may."""
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
MAX_INTERVAL_SECONDS = 60
MAX_DEVICE_SECONDS = 24 * 60 * 60


class LoginRefused(SignInNeeded):
    code = "auth.login_refused"
    default_hint = "Begin anew with `satchel login URL`."


class Tokens(NamedTuple):
    access: str
    refresh: str


class Device(NamedTuple):
    """A login that waits for a person elsewhere."""

    device_code: str
    user_code: str
    address: str
    complete: str
    """The same with the code in it."""
    seconds: float
    interval: float


class Asking(NamedTuple):
    """A login that was begun in a browser."""

    address: str
    """What the browser is to open."""
    state: str
    verifier: str
    redirect: str


class Login:
    """One server to log in at."""

    def __init__(self, url: str, *, insecure: bool = False) -> None:
        """Raises ``ConfigInvalid`` where no Satchel with this address answers, and what a connection raises."""
        self._server = RawServer(url, insecure=insecure)
        self.url = self._server.url
        reply = self._server.send("GET", "/.well-known/oauth-authorization-server", [("accept", "application/json")])
        about = _object(reply.body) if reply.status == 200 else {}
        issuer = about.get("issuer")
        if issuer != self.url:
            said = f"calls itself {issuer}"[:200] if isinstance(issuer, str) else "does not offer to log in"
            raise ConfigInvalid(
                f"the server at {self.url} {said}",
                hint="Log in at the address the server has for itself, or with an API key: --key-file.",
            )

    def close(self) -> None:
        self._server.close()

    def ask(self, redirect: str, random: Callable[[int], bytes]) -> Asking:
        """Begin in a browser, which is sent to ``redirect`` afterwards."""
        state, verifier = _text(random(16)), _text(random(32))
        query = {
            "response_type": "code",
            "client_id": CLIENT,
            "redirect_uri": redirect,
            "scope": SCOPE,
            "resource": self.url,
            "state": state,
            "code_challenge": _text(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        return Asking(f"{self.url}/oauth/authorize?{urlencode(query)}", state, verifier, redirect)

    def is_answer(self, asking: Asking, said: Mapping[str, str]) -> bool:
        """Whether what came to the redirect answers this request, from this server: else it is somebody else's."""
        same = hmac.compare_digest(said.get("state", "").encode(), asking.state.encode())
        return same and said.get("iss") == self.url

    def finish(self, asking: Asking, said: Mapping[str, str]) -> Tokens:
        """The tokens for the answer that came to the redirect. Raises ``LoginRefused``."""
        if "error" in said or "code" not in said:
            raise LoginRefused("the login was not allowed" if said.get("error") == "access_denied" else "it failed")
        fields = {
            "grant_type": "authorization_code",
            "code": said["code"],
            "redirect_uri": asking.redirect,
            "code_verifier": asking.verifier,
        }
        status, answer = self._token(fields)
        if status != 200:
            raise CredentialInvalid("the server took the code back", hint="Begin anew with `satchel login URL`.")
        return _tokens(answer)

    def begin_device(self) -> Device:
        """Begin a login that a person finishes on another machine."""
        status, answer = self._post("/oauth/device", {"client_id": CLIENT, "scope": SCOPE, "resource": self.url})
        if status != 200:
            raise problem_error(status, {"detail": answer.get("error_description")})
        try:
            device = Device(
                str(answer["device_code"]),
                str(answer["user_code"]),
                str(answer["verification_uri"]),
                str(answer.get("verification_uri_complete", answer["verification_uri"])),
                float(answer["expires_in"]),
                float(answer.get("interval", 5)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ServerLied("the server's answer to a device is not one") from error
        if not (0 < device.seconds <= MAX_DEVICE_SECONDS and 1 <= device.interval <= MAX_INTERVAL_SECONDS):
            raise ServerLied("the server's answer to a device is not one")  # no time, or one to ask without a rest in
        return device

    def wait_for_device(self, device: Device, sleep: Callable[[float], None]) -> Tokens:
        """Ask until the person has decided. Raises ``LoginRefused``."""
        interval, waited = device.interval, 0.0
        while waited < device.seconds:
            sleep(interval)
            waited += interval
            status, answer = self._token({"grant_type": DEVICE_GRANT, "device_code": device.device_code})
            if status == 200:
                return _tokens(answer)
            match answer.get("error"):
                case "authorization_pending" | "temporarily_unavailable":
                    continue
                case "slow_down":
                    interval = min(interval + 5, MAX_INTERVAL_SECONDS)
                case "access_denied":
                    raise LoginRefused("the login was not allowed")
                case "expired_token":
                    break
                case _:
                    raise LoginRefused("the server does not know the login any more")
        raise LoginRefused("nobody allowed the login in time")

    def _token(self, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        return self._post("/oauth/token", {"client_id": CLIENT, **fields})

    def _post(self, path: str, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        headers = [("content-type", "application/x-www-form-urlencoded"), ("accept", "application/json")]
        reply = self._server.send("POST", path, headers, urlencode(fields).encode())
        return reply.status, _object(reply.body)


def _tokens(answer: Mapping[str, Any]) -> Tokens:
    access, refresh = answer.get("access_token"), answer.get("refresh_token")
    if not isinstance(access, str) or not isinstance(refresh, str):
        raise ServerLied("the server's answer holds no tokens")
    return Tokens(access, refresh)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
