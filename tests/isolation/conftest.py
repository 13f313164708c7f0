"""Servers for the tests of isolation over HTTP, and the tenants that a proof founds in one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from satchel.catalog import principals
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.world import Tenant, World, founded, random_words
from tests.isolation.doors import AppDoor
from tests.server.running import Running, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("isolation") / "data", **SETTINGS) as running:
        yield running


SETTINGS: dict[str, object] = {"tenant_concurrency": 1_000, "log_level": "error"}


def world_of(server: Running) -> Iterator[World]:
    """Two fresh tenants of a server, asked without HTTP in between, and everybody who asks."""
    assert server.admin.key is not None
    with founded(
        Asking(AppDoor(server)),
        server.admin.key,
        random_words(os.urandom),
        expired=lambda tenant: expired_key(server, tenant),
    ) as world:
        yield world


def expired_key(server: Running, tenant: Tenant) -> str:
    """A key that ended a second ago: over HTTP none lives less than a minute."""

    async def made() -> str:
        cloud = server.cloud
        async with cloud.catalog.write(tenant.id) as s:
            _, text = await principals.issue_key(
                s, pepper=cloud.pepper, name="old", now=1, expires=cloud.clock() - 1_000
            )
        return text

    return server.run(made())
