"""``satchel tenant audit`` against a real server, and what ``satchel admin`` words write into the audit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.remote import Remote
from tests.cli.conftest import Cli
from tests.server.running import Client, Running, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Its log would be among what the commands print.
    with serving(tmp_path_factory.mktemp("audit") / "data") as running:
        yield running


@pytest.fixture
def operator(server: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Client:
    """Who operates the server, and whose command line it is."""
    assert server.admin.key is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SATCHEL_URL", server.url)
    monkeypatch.setenv("SATCHEL_KEY", server.admin.key)
    return server.admin


def items(cli: Cli, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("tenant", "audit", *words, "--json").json["items"]
    return found


def test_rows_are_shown_newest_first_and_filtered(cli: Cli, operator: Client) -> None:
    operator.post("/projects", {"slug": "one"}).ok()
    operator.post("/keys", {"name": "bot", "role": "read"}).ok()
    assert [row["action"] for row in items(cli, "--limit", "2")] == ["key.create", "project.create"]
    assert {row["action"] for row in items(cli, "--action", "key.cr")} == {"key.create"}
    assert items(cli, "--until", "1d") == []
    assert items(cli, "--since", "2000-01-01") == items(cli, "--since", "1h")
    ran = cli("tenant", "audit", "--limit", "1")
    assert "admin from 127.0.0.1" in ran.out
    assert "--export FILE" in ran.err


def test_a_time_that_is_none_and_filters_on_an_export_are_refused(cli: Cli, operator: Client) -> None:
    assert "is no time" in cli("tenant", "audit", "--since", "yesterday", status=2).err
    assert "leave the filters out" in cli("tenant", "audit", "--export", "a", "--since", "1d", status=2).err
    assert "goes with --export" in cli("tenant", "audit", "--after", "3", status=2).err


def test_an_export_is_whole_goes_on_where_the_last_one_ended_and_writes_over_nothing(
    cli: Cli, operator: Client, tmp_path: Path
) -> None:
    operator.post("/projects", {"slug": "two"}).ok()
    told = cli("tenant", "audit", "--export", "a.ndjson", "--json").json
    data = (tmp_path / "a.ndjson").read_bytes()
    end = data.rindex(b'{"end"')
    assert told["sha256"] == hashlib.sha256(data[:end]).hexdigest()
    assert json.loads(data[end:])["end"]["last"] == told["last"] == told["rows"]
    more = cli("tenant", "audit", "--export", "b.ndjson", "--after", str(told["last"]), "--json").json
    assert (more["rows"], more["last"]) == (1, told["last"] + 1)
    assert "exists already" in cli("tenant", "audit", "--export", "a.ndjson", status=2).err


def test_an_export_that_was_cut_off_or_changed_on_the_way_is_not_kept(
    cli: Cli, operator: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Remote.audit_export
    spoilt = {
        "cut off": lambda data: data[: data.rindex(b'{"end"')],
        "changed": lambda data: data.replace(b"project.create", b"project.delete", 1),
        "goes on": lambda data: data + b"{}\n",
    }
    operator.post("/projects", {"slug": "three"}).ok()
    for what, spoil in spoilt.items():

        def changed(self: Remote, after: int, spoil: Any = spoil) -> Iterator[bytes]:
            yield spoil(b"".join(whole(self, after)))

        monkeypatch.setattr(Remote, "audit_export", changed)
        cli("tenant", "audit", "--export", f"{what}.ndjson", status=1)
        assert not list(tmp_path.glob("*.ndjson*"))


def test_what_the_operator_does_on_the_machine_is_in_the_operators_audit_and_verify_checks_it(
    cli: Cli, server: Running, operator: Client
) -> None:
    tenant = server.tenant("acme").get("/tenant").ok()["id"]
    data = server.settings.data
    cli("admin", "key", "rotate-tenant", "acme", "--data", data)
    cli("admin", "collect", "--tenant", "acme", "--data", data)
    cli("admin", "verify", "--accept-rows", "--data", data)
    rows = {row["action"]: row for row in items(cli, "--limit", "10")}
    assert rows["key.rotate_tenant"]["target"] == f"{tenant} epoch 2"
    assert rows["tenant.collect"]["target"] == tenant
    assert rows["catalog.accept_rows"]["result"] == "done"
    assert {rows[action]["principal"] for action in ("key.rotate_tenant", "tenant.collect")} == {None}
    assert cli("admin", "verify", "--data", data, "--json").json["auditRows"] > 0
