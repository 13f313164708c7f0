"""One tenant, its people and a client for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from satchel.server.cloud import now_ms
from tests.server.oauth.flow import Client, registered
from tests.server.running import Client as Rest
from tests.server.running import Running
from tests.server.web.people import Person, let_in, member


@pytest.fixture(scope="session")
def harbour(server: Running) -> Rest:
    """The owner of the tenant that the people here are members of."""
    owner = server.tenant("harbour")
    owner.post("/projects", {"slug": "lighthouse"}).ok(201)
    return owner


@pytest.fixture(scope="session")
def grace_of_harbour(server: Running, harbour: Rest) -> Person:
    return member(server, harbour, "grace", "admin")


@pytest.fixture
def grace(server: Running, grace_of_harbour: Person) -> Person:
    """An admin of the tenant who is signed in."""
    return let_in(server, grace_of_harbour.email)


@pytest.fixture(autouse=True)
def many_may_register(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tests have one address."""
    monkeypatch.setattr("satchel.server.oauth.registration.REGISTRATIONS_A_MINUTE", 100_000)


@pytest.fixture
def probe(server: Running) -> Client:
    """A client that has just registered."""
    return registered(server)


@pytest.fixture
def later(server: Running) -> Iterator[Callable[[int], None]]:
    """Lets the server believe that so many seconds more have gone by."""
    began, ahead = server.cloud.clock, 0

    def pass_by(seconds: int) -> None:
        nonlocal ahead
        ahead += seconds * 1000

    moved = lambda: now_ms() + ahead  # noqa: E731
    object.__setattr__(server.cloud, "clock", moved)
    for part in (server.cloud.authenticator, server.cloud.guesses, server.cloud.sign_in):
        part._clock = moved
    yield pass_by
    object.__setattr__(server.cloud, "clock", began)
    for part in (server.cloud.authenticator, server.cloud.guesses, server.cloud.sign_in):
        part._clock = began
