"""``satchel tenant quota`` and ``usage``, and what a full quota looks like from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from satchel.cli import tenant_usage
from satchel.errors import InvalidInput
from tests.cli.conftest import Ran, process
from tests.server.running import Running, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server whose operator, an owner of the first tenant, this machine acts as."""
    with serving(tmp_path / "data") as running:
        monkeypatch.setenv("SATCHEL_URL", running.url)
        monkeypatch.setenv("SATCHEL_KEY", running.admin.key or "")
        yield running


def test_limits_are_written_as_people_write_them() -> None:
    pairs = ("storageBytes=1.5GB", "fileBytes=20MB", "syncBytesPerDay=512", "keys=12", "artifacts=none")
    assert tenant_usage._limits(pairs) == {
        "storageBytes": 1_500_000_000, "fileBytes": 20_000_000, "syncBytesPerDay": 512, "keys": 12, "artifacts": None
    }  # fmt: skip


@pytest.mark.parametrize("pair", ["storage=1", "keys", "keys=", "keys=3KB", "keys=1.5", "fileBytes=-1", "fileBytes=x"])
def test_what_is_no_limit_is_refused(pair: str) -> None:
    with pytest.raises(InvalidInput):
        tenant_usage._limits([pair])


@pytest.mark.promise("P8")
def test_a_sync_into_a_full_tenant_says_so_once_and_goes_on_when_there_is_room(here: Path, server: Running) -> None:
    def cli(*words: str, status: int = 0) -> Ran:
        done = process(*words, cwd=here)
        assert done.returncode == status, (words, done.stdout, done.stderr)
        return Ran(done.returncode, done.stdout, done.stderr)

    cli("init")
    cli("remote", "add", server.url)
    said = cli("tenant", "quota", "default", "artifacts=100", "fileBytes=10KB")
    assert "artifacts          100" in said.out
    (here / "large.md").write_text("x" * 10_001)
    refused = cli("sync", status=5)
    assert "large.md has 10,001 bytes; a file of this tenant has at most 10,000" in refused.err
    assert "[quota.reached]" in refused.err
    assert "trying again" not in refused.err
    (here / "large.md").unlink()
    cli("sync")
    files = cli("tenant", "usage", "--json").json["artifacts"]
    cli("tenant", "quota", "default", f"artifacts={files + 1}")
    (here / "one-more.md").write_text("# One more\n")
    told = cli("sync")
    assert f"of the tenant's quota artifacts is used ({files + 1} of {files + 1})" in told.err
    (here / "too-many.md").write_text("# Too many\n")
    full = cli("sync", "--json", status=5).json["error"]
    assert full["quota"] == {"name": "artifacts", "used": files + 1, "limit": files + 1}
    shown = cli("tenant", "usage", "--projects").out
    assert "(100 %)" in shown
    assert f"{files + 1} artifacts, 2 versions" in shown
    cli("tenant", "quota", "default", "artifacts=none")
    assert cli("sync", "--json").json["inStep"]
