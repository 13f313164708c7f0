"""A client of the authorization server as tests need one: it can be right in everything, or wrong in one thing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.server.running import Answer, Running
from tests.server.web.people import Person

VERIFIER = "v" * 21 + ".~_-" + "0" * 21
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
REDIRECT = "http://127.0.0.1:33000/callback"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@dataclass(frozen=True)
class Client:
    """A registered client, and the server it registered with."""

    server: Running
    id: str

    @property
    def mcp(self) -> str:
        return self.server.url + "/mcp"

    def query(self, **changed: str | None) -> str:
        """A request for authorization that is right but for what is changed; ``None`` leaves a field out."""
        fields: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": REDIRECT,
            "state": "st@te",
            "scope": "satchel:read",
            "resource": self.mcp,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **changed,
        }
        return urlencode({name: value for name, value in fields.items() if value is not None})

    def allow(self, person: Person, decision: str = "allow", **changed: str | None) -> Answer:
        """The answer to the consent that a person gives."""
        page = person.get("/oauth/authorize?" + self.query(**changed))
        assert page.status == 200, (page.status, page.headers, page.body[-600:])
        return person.submit(page, "/oauth/consent", decision=decision)

    def code(self, person: Person, **changed: str | None) -> str:
        """A fresh code."""
        return told(self.allow(person, "allow", **changed))["code"]

    def token(self, **fields: str | None) -> Answer:
        """A question to the token endpoint."""
        given = {"client_id": self.id, **fields}
        body = urlencode({name: value for name, value in given.items() if value is not None})
        return Person(self.server.url).post("/oauth/token", body)

    def redeem(self, code: str, **changed: str | None) -> Answer:
        """Tokens for a code, asked for rightly but for what is changed."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
        }  # fmt: skip
        return self.token(**{**fields, **changed})

    def refresh(self, token: str, **changed: str | None) -> Answer:
        fields: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": token}
        return self.token(**{**fields, **changed})


def told(answer: Answer) -> dict[str, str]:
    """What a redirect tells the client."""
    assert answer.status == 303, (answer.status, answer.body[-600:])
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def registered(server: Running, *redirects: str, name: str = "Probe") -> Client:
    asked = {"client_name": name, "redirect_uris": list(redirects) or [REDIRECT]}
    return Client(server, server.client().send("POST", "/oauth/register", asked).ok(201)["client_id"])
