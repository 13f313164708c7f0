"""One server for the tests of this folder; every test makes a tenant of its own in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from argon2 import PasswordHasher

from satchel.auth import passwords
from tests.server.running import Client, Running, serving

_numbers = itertools.count(1)
_QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_NOBODYS = _QUICK.hash("the password of nobody")


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of passwords that take no time: their real cost is looked at in ``tests/auth``."""
    monkeypatch.setattr(passwords, "_HASHER", _QUICK)
    monkeypatch.setattr(passwords, "_DUMMY", _NOBODYS)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


@pytest.fixture
def new_tenant(server: Running) -> Callable[[], Client]:
    """Makes the owner of another fresh tenant."""
    return lambda: server.tenant(f"tenant-{next(_numbers)}")


@pytest.fixture
def owner(new_tenant: Callable[[], Client]) -> Client:
    """The owner of a fresh tenant."""
    return new_tenant()
