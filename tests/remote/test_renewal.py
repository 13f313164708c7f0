"""When a token is renewed: after a refusal where the request can be sent again, before it where it cannot."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from satchel.errors import ServerAway
from satchel.remote.connection import Connection


def token(seconds: float) -> str:
    """An access token that ends so many seconds from now, as far as anybody can read."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(time.time() + seconds)}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


class Tokens:
    def __init__(self, now: str, *, away: bool = False) -> None:
        self.now, self.away, self.renewals = now, away, 0

    def token(self) -> str:
        return self.now

    def renew(self, refused: str | None, exchange: Callable[[str], dict[str, Any]]) -> str | None:
        if self.away:
            raise ServerAway("away")
        self.renewals += 1
        self.now = token(600)
        return self.now


def stream() -> Iterator[bytes]:
    yield b"x"


@pytest.mark.parametrize(
    ("ends", "body", "renewals"),
    [(600, stream(), 0), (30, stream(), 1), (-30, stream(), 1), (30, b"x", 0), (30, None, 0)],
)
def test_a_token_about_to_end_is_renewed_before_what_cannot_be_sent_twice(
    monkeypatch: pytest.MonkeyPatch, ends: float, body: Any, renewals: int
) -> None:
    tokens = Tokens(token(ends))
    connection, sent = Connection("http://127.0.0.1:9", tokens), []

    def send(method: str, path: str, body: Any, headers: Any, used: str, *, again: bool) -> Any:
        sent.append(used)
        return SimpleNamespace(status=200, headers={})

    monkeypatch.setattr(connection, "_send", send)
    connection._ask("POST", "/x", body, {}, again=False)
    assert tokens.renewals == renewals
    assert sent == [tokens.now]


@pytest.mark.parametrize("text", ["stl_live_x", "a.b.c", "..", "e30.e30.x"])
def test_what_says_nothing_of_its_end_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    tokens = Tokens(text)
    connection = Connection("http://127.0.0.1:9", tokens)
    monkeypatch.setattr(connection, "_send", lambda *_args, **_more: SimpleNamespace(status=200, headers={}))
    connection._ask("POST", "/x", stream(), {}, again=False)
    assert tokens.renewals == 0


def test_a_renewal_that_fails_leaves_the_word_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(token(5), away=True)
    connection, sent = Connection("http://127.0.0.1:9", tokens), []

    def send(*given: Any, **more: Any) -> Any:
        sent.append(given)
        return SimpleNamespace(status=200, headers={})

    monkeypatch.setattr(connection, "_send", send)
    connection._ask("POST", "/x", stream(), {}, again=False)
    assert len(sent) == 1
