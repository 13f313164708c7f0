"""A server for the tests of isolation over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.running import Running, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("isolation") / "data", tenant_concurrency=1_000) as running:
        yield running
