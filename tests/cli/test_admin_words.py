"""What the operator's words say: where they stand in the wrong place, and what they found."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from satchel.catalog import upkeep
from satchel.catalog.bootstrap import found_tenant
from satchel.cli.estate import with_estate
from satchel.cli.face import error_data
from satchel.config.server import server_settings
from satchel.objects.ids import ObjectId
from satchel.upkeep import verify
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import ASKED_FOR, Problem, VerifyReport
from satchel.upkeep.lease import LEASE_MS
from tests.cli.conftest import Cli
from tests.upkeep.house import PEPPER

WORDS = ["verify", "collect", "key rotate-root", "key rotate-tenant default"]


@pytest.fixture
def data(cli: Cli, tmp_path: Path) -> Path:
    """An installation that was started once."""
    cli("serve", "--check", "--port", "0", "--data", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("words", WORDS)
def test_where_no_installation_is_the_data_directory_is_asked_for(cli: Cli, tmp_path: Path, words: str) -> None:
    ran = cli("admin", *words.split(), "--data", tmp_path / "nowhere", status=5)
    assert f"there is no installation in {tmp_path / 'nowhere'}" in ran.err
    assert "--data" in ran.err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("words", WORDS)
def test_a_wrong_root_key_is_refused_as_the_server_refuses_it(cli: Cli, data: Path, words: str) -> None:
    (data / "root.key").write_bytes(secrets.token_bytes(32))
    ran = cli("admin", *words.split(), "--data", data, status=5)
    assert f"the root key {data / 'root.key'} (id " in ran.err
    assert "[serve.refused]" in cli("serve", "--check", "--port", "0", "--data", data, status=5).err


def test_a_check_says_that_all_is_in_order_and_nothing_runs(cli: Cli, data: Path) -> None:
    assert "everything is in order" in cli("serve", "--check", "--port", "0", "--data", data).err


def test_a_store_in_use_without_its_root_key_is_told_from_a_new_one(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SATCHEL_STORE_URL", (data / "store").as_uri())
    ran = cli("serve", "--check", "--port", "0", "--data", tmp_path / "new", status=5)
    assert "there is data here, in the store" in ran.err
    assert "SATCHEL_STORE_URL" in ran.err


def test_objects_that_clients_are_asked_for_are_one_line_and_the_next_step_is_theirs(
    cli: Cli, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [ObjectId(f"{n:064x}") for n in range(80)]
    lost = [Problem("object", name, ASKED_FOR, "acme", "notes", objects=(name,)) for name in names]

    async def found(_estate: Estate, **_look: object) -> VerifyReport:
        return VerifyReport(full=False, problems=lost)

    monkeypatch.setattr(verify, "verify", found)
    ran = cli("admin", "verify", "--data", data, status=1)
    assert f"acme/notes: 80 objects: {ASKED_FOR}" in ran.out
    assert len(ran.out.splitlines()) == 2
    assert "satchel sync" in ran.err
    assert "--repair" not in ran.err


def test_the_way_back_can_be_pasted_into_a_shell(cli: Cli, data: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/this&that"
    assert f"--from '{url}' --data" in cli("admin", "backup", "--to", url, "--data", data).err
    own = cli("admin", "backup", "--to", (data / "store").as_uri(), "--data", data, status=2)
    assert "in the store itself" in own.err


def test_facts_of_an_error_are_in_camel_case() -> None:
    told = error_data("a.b", "m", "h", 6, {"retry_after": "5", "path": "x"})
    assert told == {
        "error": {"code": "a.b", "message": "m", "hint": "h", "exitStatus": 6, "retryAfter": "5", "path": "x"}
    }


def test_a_tenant_on_which_other_upkeep_is_under_way_keeps_no_other_from_being_collected(cli: Cli, data: Path) -> None:
    settings = server_settings({"data": data}, env={})

    async def begin(estate: Estate) -> None:
        """What another tenant is, and work on the first that was killed."""
        (first,), now = await estate.tenants(), estate.clock()
        async with estate.catalog.directory(write=True) as d:
            second = await found_tenant(d, slug="second", name="Second", pepper=PEPPER, now=now)
            await estate.keyring.create(second.tenant.id)
        async with estate.catalog.write(first.id) as s:
            await upkeep.take(s, "verify", "another", now, now + LEASE_MS)

    with_estate(settings, begin)
    ran = cli("admin", "collect", "--data", data, "--json", status=6)
    assert ran.json["busy"] == ["default"]
    assert [tenant["tenant"] for tenant in ran.json["tenants"]] == ["second"]
    assert "satchel admin collect --tenant default" in ran.err
    refused = cli("admin", "collect", "--tenant", "default", "--data", data, "--json", status=6)
    assert refused.json["error"]["code"] == "upkeep.busy"
