"""One tenant with its people for the tests of this folder: passwords are dear to hash."""

from __future__ import annotations

import pytest

from tests.server.running import Client, Running
from tests.server.web.people import Person, let_in, member


@pytest.fixture(scope="session")
def acme(server: Running) -> Client:
    """The owner of the tenant that the people here are members of."""
    return server.tenant("acme-pages")


@pytest.fixture(scope="session")
def ada_of_acme(server: Running, acme: Client) -> Person:
    return member(server, acme, "ada")


@pytest.fixture
def ada(server: Running, ada_of_acme: Person) -> Person:
    """A member who is signed in."""
    return let_in(server, ada_of_acme.email)
