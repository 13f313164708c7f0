"""A tenant's export: all that it has, nothing of others, checked on the way, and known to be whole or not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Callable

import pytest

from satchel.errors import ServerAway, ServerLied
from satchel.remote import FixedToken, Remote
from satchel.remote.exported import ExportCheck, Exported
from satchel.server import export as export_module
from tests.server.running import Client, Running, serving

LONG = "a-folder-with-a-long-name/" * 6 + "übersicht.md"


def _fill(owner: Client) -> dict[str, bytes]:
    """Two projects, one of them archived; what the export is to hold of them."""
    owner.post("/projects", {"slug": "acme", "description": "The platform"}).ok()
    owner.post("/projects", {"slug": "archive"}).ok()
    files = {"docs/a.md": b"# A\n", "docs/empty.md": b"", LONG: b"# Long\n", "tool.sh": b"#!/bin/sh\n"}
    files["x.sha256"] = b"# as of sums\n"
    for path, data in files.items():
        mode = "100755" if path.endswith(".sh") else "100644"
        owner.put("acme", path, data, **{"satchel-mode": mode}).ok()
    owner.put("archive", "docs/a.md", b"# Another\n").ok()
    owner.send("DELETE", "/projects/archive").ok()
    expected = {f"projects/acme/{path}": data for path, data in files.items()}
    return {**expected, "projects/archive/docs/a.md": b"# Another\n"}


def _opened(data: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {each.name: (each, tar.extractfile(each).read()) for each in tar}  # type: ignore[union-attr]


def _checked(data: bytes, step: int = 1_000) -> Exported:
    check = ExportCheck()
    for start in range(0, len(data), step):
        check.feed(data[start : start + step])
    return check.result()


@pytest.mark.parametrize("size", [b"-0000002000", b"-1", b"0x10", b"1_0", b"99"])
def test_a_size_that_no_tar_has_is_refused_and_read_no_further(size: bytes) -> None:
    block = bytearray(tarfile.TarInfo("tenant.json").tobuf())
    block[124:136] = size.ljust(12, b"\0")
    with pytest.raises(ServerLied):
        ExportCheck().feed(bytes(block) + bytes(1024))


def test_an_export_has_every_file_of_every_head_and_all_about_the_tenant(server: Running, owner: Client) -> None:
    expected = _fill(owner)
    reader = owner.post("/keys", {"name": "reader", "projects": [{"project": "acme", "role": "read"}]}).ok()
    person = {"email": f"{reader['id']}@example.com", "name": "Ann", "password": "a long enough password"}
    owner.post("/members", person).ok()
    owner.send("PATCH", "/tenant", {"settings": {"retention": {"days": 90}}}).ok()
    answer = owner.get("/tenant/export")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-tar")
    assert (
        answer.headers["content-disposition"]
        == f'attachment; filename="{owner.get("/tenant").ok()["slug"]}-export.tar"'
    )
    held = _opened(answer.body)
    assert {name: data for name, (_, data) in held.items() if name in expected} == expected
    assert held["projects/acme/tool.sh"][0].mode == 0o755
    assert held["projects/acme/docs/a.md"][0].mode == 0o644
    rest = [name for name in held if name not in expected]
    assert rest == ["tenant.json", "audit.ndjson", "projects/acme.sha256", "projects/archive.sha256", "manifest.json"]
    about = json.loads(held["tenant.json"][1])
    assert about["settings"]["retention"] == {"versions": None, "days": 90}
    assert [(row["name"], row["email"]) for row in about["members"]] == [("Ann", person["email"])]
    assert {row["name"] for row in about["keys"]} == {"admin", "reader"}
    assert [(row["slug"], row["archived"]) for row in about["projects"]] == [("acme", False), ("archive", True)]
    assert about["projects"][0]["grants"] == [{"principal": reader["id"], "name": "reader", "role": "read"}]
    rows = [json.loads(line) for line in held["audit.ndjson"][1].splitlines()]
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["action"] == "tenant.export"
    for line in held["projects/acme.sha256"][1].decode().splitlines():
        digest, path = line.split("  ")
        assert hashlib.sha256(held[f"projects/{path}"][1]).hexdigest() == digest
    manifest = json.loads(held["manifest.json"][1])
    assert [(row["slug"], row["files"]) for row in manifest["projects"]] == [("acme", 5), ("archive", 1)]
    assert manifest["projects"][0]["digest"] == owner.get("/projects/acme").ok()["digest"]
    assert _checked(answer.body) == Exported(len(answer.body), 6, 2, 0, ())


@pytest.mark.promise("P10")
def test_an_export_holds_no_secret_of_a_key_and_nothing_of_another_tenant(
    owner: Client, new_tenant: Callable[[], Client]
) -> None:
    other = new_tenant()
    other.post("/projects", {"slug": "acme"}).ok()
    other.put("acme", "docs/a.md", b"# Theirs, a canary\n").ok()
    _fill(owner)
    body = owner.get("/tenant/export").body
    assert b"canary" not in body
    assert other.get("/tenant").ok()["id"].encode() not in body
    assert owner.key is not None
    assert owner.key.encode() not in body
    assert owner.key.rpartition("_")[2].encode() not in body


def test_two_exports_of_the_same_content_have_it_in_the_same_order(owner: Client) -> None:
    _fill(owner)
    first, second = (_opened(owner.get("/tenant/export").body) for _ in range(2))
    assert list(first) == list(second)
    for name in first:
        if name not in ("audit.ndjson", "tenant.json", "manifest.json"):
            assert first[name][0].tobuf() == second[name][0].tobuf()
            assert first[name][1] == second[name][1]


def test_only_admins_of_the_tenant_export_it_and_not_the_operator(server: Running, owner: Client) -> None:
    for role in ("read", "write", "admin"):
        key = owner.post("/keys", {"name": role, "role": role}).ok()["key"]
        assert server.client(key).get("/tenant/export").code == "auth.insufficient_scope"
    theirs = server.admin.get("/tenant/export")  # the operator's own tenant, since the credential says which
    assert json.loads(_opened(theirs.body)["tenant.json"][1])["slug"] == "default"


def test_what_the_store_lost_is_left_out_named_and_everything_else_is_there(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    for number in range(3):
        owner.put("acme", f"{number}.md", os.urandom(2_000)).ok()
    tenant = owner.get("/tenant").ok()["id"]
    packs = sorted((server.settings.data / "store" / "tenants" / tenant).rglob("pak_*"), key=os.path.getmtime)
    packs[1].unlink()
    body = owner.get("/tenant/export").body
    assert {"projects/acme/0.md", "projects/acme/2.md"} <= _opened(body).keys()
    told = _checked(body)
    assert (told.files, told.left_out, told.missing) == (2, 1, (("acme", "1.md", "store.missing"),))


def test_one_export_of_a_tenant_is_sent_at_a_time(server: Running, owner: Client) -> None:
    tenant = owner.get("/tenant").ok()["id"]
    server.cloud.exporting.add(tenant)
    try:
        busy = owner.get("/tenant/export")
        assert (busy.status, busy.code, busy.headers["retry-after"]) == (429, "rate.limited", "30")
    finally:
        server.cloud.exporting.discard(tenant)
    for _ in range(2):  # and the place is given back
        assert owner.get("/tenant/export").status == 200


@pytest.mark.promise("P8")
def test_an_export_ends_when_its_reader_loses_the_right_to_it_and_is_then_known_not_to_be_whole(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "WINDOW_BYTES", 1 << 20)
    owner.post("/projects", {"slug": "acme"}).ok()
    for number in range(24):
        owner.put("acme", f"{number:02}.bin", os.urandom(1 << 20)).ok()
    key = owner.post("/keys", {"name": "k", "tenantRole": "admin"}).ok()
    remote, check = Remote(server.url, FixedToken(key["key"])), ExportCheck()
    pieces = remote.export()
    check.feed(next(pieces))
    owner.send("DELETE", f"/keys/{key['id']}").ok()
    with pytest.raises(ServerAway):
        deque(map(check.feed, pieces))
    remote.close()
    assert check.bytes < 24 << 20
    with pytest.raises(ServerLied, match="not whole"):
        check.result()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small export, to be broken."""
    with serving(tmp_path_factory.mktemp("whole") / "data") as running:
        owner = running.tenant("acme")
        _fill(owner)
        return owner.get("/tenant/export").body


def test_an_export_is_checked_alike_however_it_is_cut_into_pieces(whole: bytes) -> None:
    assert {_checked(whole, step) for step in (1, 511, 512, 513, 10_240, len(whole))} == {_checked(whole)}


def test_an_export_cut_anywhere_is_not_whole(whole: bytes) -> None:
    manifest = whole.rindex(b"manifest.json")
    for end in (*range(0, manifest, 700), manifest, manifest + 600, len(whole.rstrip(b"\0"))):
        with pytest.raises(ServerLied):
            _checked(whole[:end])


def test_an_export_with_a_byte_changed_is_noticed_wherever_it_is(whole: bytes) -> None:
    for at in (*range(0, whole.rindex(b"manifest.json"), 97), whole.rindex(b"sha256Before") + 20):
        broken = bytearray(whole)
        broken[at] ^= 1
        with pytest.raises(ServerLied):
            _checked(bytes(broken))
