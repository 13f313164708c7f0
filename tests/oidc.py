"""A small provider of OpenID Connect on loopback: discovery, keys, authorization that signs the next person in, tokens.

It keeps to the specification unless a test tells it not to, by changing what it says (``says``), its answer to an
exchange (``exchanged``) or the claims of its tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

CLIENT, SECRET, AUDIENCE = "satchel-here", "s3cret/of+the:client", "https://context.example.org"
Claims = dict[str, Any]


class Provider:
    """One provider, running."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.keys: dict[str, Any] = {}
        self.rotate("first")
        self.person: Claims = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.away = False
        self.says: Callable[[str, Any], Any] = lambda _path, said: said
        """Changes a document before it is sent; bytes are sent as they are."""
        self.claimed: Callable[[Claims], Claims] = lambda claims: claims
        """Changes the claims of an ID token before it is signed."""
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def rotate(self, kid: str, kind: str = "EC") -> None:
        """Sign with another key from now on, and show no other."""
        key: Any = ECKey.generate_key("P-256") if kind == "EC" else RSAKey.generate_key(2_048)
        self.kid, self.keys = kid, {kid: key}

    def sign(self, claims: Claims, *, kid: str | None = None, **header: object) -> str:
        key = self.keys[self.kid]
        algorithm = "ES256" if isinstance(key, ECKey) else "RS256"
        head = {"alg": algorithm, "kid": self.kid if kid is None else kid, **header}
        return jws.serialize_compact(head, json.dumps(claims), key, [str(head["alg"])])

    def token(self, person: Claims, **more: object) -> str:
        """An access token for a person."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 300, **person, **more}
        return self.sign({name: value for name, value in claims.items() if value is not None}, typ="at+jwt")

    # What it answers

    def get(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
        if path == "/keys":
            rows = [{**key.as_dict(private=False), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
            return 200, {"keys": rows}
        if path == "/authorize":
            code = secrets.token_urlsafe(16)
            self.codes[code] = query
            return (
                303,
                f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.issuer})}",
            )
        return 404, {"error": "not_found"}

    def post(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        wanted = "Basic " + base64.b64encode(b"satchel-here:s3cret%2Fof%2Bthe%3Aclient").decode()
        asked = self.codes.pop(form.get("code", ""), None)
        if path != "/token" or authorization != wanted or asked is None:
            return 400, {"error": "invalid_grant"}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if asked["code_challenge_method"] != "S256" or asked["code_challenge"] != challenge.decode():
            return 400, {"error": "invalid_grant"}
        if form["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        claims = self.claimed({**claims, **self.person})
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)}


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            self._answer(parts.path, *provider.get(parts.path, _first(parts.query)))

        def do_POST(self) -> None:
            form = _first(self.rfile.read(int(self.headers["content-length"])).decode())
            provider.asked.append(self.path)
            self._answer(self.path, *provider.post(self.path, form, self.headers.get("authorization", "")))

        def _answer(self, path: str, status: int, said: Any) -> None:
            if provider.away:
                status, said = 503, {"error": "away"}
            self.send_response(status)
            if status == 303:
                self.send_header("location", said)
                said = {}
            said = provider.says(path, said)
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _first(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


@contextmanager
def providing() -> Iterator[Provider]:
    provider = Provider()
    try:
        yield provider
    finally:
        provider.stop()
