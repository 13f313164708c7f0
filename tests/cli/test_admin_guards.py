"""What the operator's words refuse, since it could not be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import StoredObject
from tests.cli.conftest import Cli

HOUR = 60 * 60 * 1000


@pytest.fixture
def data(cli: Cli, tmp_path: Path) -> Path:
    """An installation that was started once."""
    cli("serve", "--check", "--port", "0", "--data", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("off", [-2 * HOUR, 2 * HOUR])
@pytest.mark.parametrize("words", ["collect", "collect --dry-run", "backup --to", "key rotate-tenant default --full"])
def test_nothing_that_goes_by_age_is_done_by_a_clock_that_is_off(
    cli: Cli, data: Path, monkeypatch: pytest.MonkeyPatch, words: str, off: int
) -> None:
    listed = LocalStore._list

    def elsewhere(self: LocalStore, prefix: str) -> Sequence[StoredObject]:
        return [each._replace(modified=each.modified + off) for each in listed(self, prefix)]

    where = [(data / "backups").as_uri()] if words.endswith("--to") else []
    cli("admin", *words.split(), *where, "--data", data)
    before = _files(data)
    monkeypatch.setattr(LocalStore, "_list", elsewhere)
    refused = cli("admin", *words.split(), *where, "--data", data, "--json", status=5)
    assert "clock.off" in refused.out + refused.err
    assert _files(data) == before


def test_the_tenant_that_runs_the_server_is_not_shredded(cli: Cli, data: Path) -> None:
    before = _files(data)
    refused = cli("admin", "key", "shred", "default", "--yes", "--data", data, "--json", status=5)
    assert "tenant.operates" in refused.out + refused.err
    assert _files(data) == before


def _files(data: Path) -> set[str]:
    """What is stored."""
    return {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file() and "catalog.db" not in path.name}
