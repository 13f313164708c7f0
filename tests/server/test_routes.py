"""What the addresses of ``/api/v1`` do, asked over HTTP."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from satchel.catalog import projects
from satchel.catalog.scope import Scope
from satchel.objects.ids import ProjectId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import PackReader
from tests.server.running import Client, Running

PASSWORD = "correct horse battery"


def _project(owner: Client, slug: str = "acme") -> str:
    return str(owner.post("/projects", {"slug": slug}).ok(201)["id"])


# Artifacts -------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P3")
def test_bytes_written_are_the_bytes_read_under_their_own_hash(owner: Client) -> None:
    _project(owner)
    data = bytes(range(256)) * 300
    done = owner.put("acme", "bin/données ü.bin", data).ok()
    assert (done["version"], done["added"]) == (1, 1)
    answer = owner.get("/projects/acme/artifacts/bin/donn%C3%A9es%20%C3%BC.bin")
    assert answer.body == data
    assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert answer.headers["content-disposition"] == "attachment"
    tree = {"bin/données ü.bin": Entry("100644", object_id(data))}
    assert done["digest"] == digest(tree) == owner.get("/projects/acme").ok()["digest"]


def test_a_write_has_to_say_what_it_replaces_and_a_stale_one_changes_nothing(owner: Client) -> None:
    _project(owner)
    first = f'"{object_id(b"one")}"'
    owner.put("acme", "a.md", b"one").ok()
    path = "/projects/acme/artifacts/a.md"
    bare = owner.send("PUT", path, b"two", {"content-type": "text/plain"})
    assert (bare.status, bare.code) == (428, "artifact.precondition_required")
    again = owner.put("acme", "a.md", b"two")
    assert (again.status, again.code) == (412, "artifact.changed")
    changed = owner.put("acme", "a.md", b"two", first)
    assert changed.ok()["changed"] == 1
    assert changed.headers["etag"] == f'"{object_id(b"two")}"'
    assert owner.put("acme", "a.md", b"three", first).status == 412
    assert owner.send("DELETE", path, None, {"if-match": first}).status == 412
    assert owner.get(path).body == b"two"
    owner.send("DELETE", path, None, {"if-match": changed.headers["etag"]}).ok()
    assert owner.get(path).code == "artifact.not_found"
    assert owner.get(path, at=2).body == b"two"


@pytest.mark.parametrize("name", ["first", "last", "section", "cursor", "budget", "tokens"])
def test_what_says_which_text_is_wanted_is_not_ignored_where_the_bytes_are_asked_for(owner: Client, name: str) -> None:
    owner.post("/projects", {"slug": "acme"}).ok(201)
    owner.put("acme", "a.md", b"# One\n\ntext\n").ok()
    query = {name: "One" if name == "section" else "1:0" if name == "cursor" else 1}
    refused = owner.get("/projects/acme/artifacts/a.md", None, **query)
    assert (refused.status, refused.code) == (422, "request.invalid")
    assert name in refused.json["detail"]
    assert "Accept: application/json" in refused.json["hint"]
    owner.get("/projects/acme/artifacts/a.md", {"accept": "application/json"}, **query).ok()


def test_an_unchanged_artifact_is_not_sent_again(owner: Client) -> None:
    _project(owner)
    etag = owner.put("acme", "a.md", b"one").headers["etag"]
    path = "/projects/acme/artifacts/a.md"
    same = owner.get(path, {"if-none-match": f'"other", {etag}'})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    weakened = f'W/"other", W/{etag}'  # by a proxy that compresses
    assert owner.get(path, {"if-none-match": weakened}).status == 304
    assert owner.get(path, {"if-none-match": '"other"'}).body == b"one"
    assert owner.get(path, at=9).code == "version.not_found"


def test_no_version_is_kept_unasked_since_another_project_may_come_by_its_address(owner: Client) -> None:
    _project(owner)
    etag = owner.put("acme", "a.md", b"one").headers["etag"]
    path = "/projects/acme/artifacts/a.md"
    kept = owner.get(path, at=1)
    assert kept.headers["cache-control"] == "private, no-cache"
    assert owner.get(path, {"if-none-match": etag}, at=1).status == 304
    owner.send("PATCH", "/projects/acme", {"slug": "former"}).ok()
    _project(owner)
    owner.put("acme", "a.md", b"other").ok()
    assert owner.get(path, {"if-none-match": etag}, at=1).body == b"other"


@pytest.mark.parametrize("path", ["a/%2e%2e/b", ".git/config", "a%00b", "CON", "a%5Cb", "x" * 1025, "%2e%2e/x"])
def test_a_name_that_is_not_safe_everywhere_is_refused(owner: Client, path: str) -> None:
    _project(owner)
    answer = owner.send(
        "PUT", f"/projects/acme/artifacts/{path}", b"x", {"if-none-match": "*", "content-type": "text/plain"}
    )
    assert answer.status in (404, 422)
    assert owner.get("/projects/acme").ok()["version"] == 0


@pytest.mark.promise("P8")
def test_a_file_over_the_limit_is_refused(server: Running, owner: Client) -> None:
    _project(owner)
    answer = owner.put("acme", "big.bin", b"x" * (server.settings.max_file_bytes + 1))
    assert (answer.status, answer.code) == (413, "request.too_large")
    owner.put("acme", "fits.bin", b"x" * server.settings.max_file_bytes).ok()


@pytest.mark.promise("P7")
def test_a_write_sent_twice_under_one_key_is_done_once(owner: Client) -> None:
    _project(owner)
    headers = {"idempotency-key": "once"}
    first = owner.put("acme", "a.md", b"one", **headers).ok()
    assert owner.put("acme", "a.md", b"one", **headers).ok() == first
    assert owner.put("acme", "a.md", b"other", **headers).code == "request.idempotency_reused"
    merge = {"idempotency-key": "merge"}
    change = {"description": "d"}
    done = owner.post("/projects/acme/context", change, merge).ok()
    assert owner.post("/projects/acme/context", change, merge).ok() == done
    assert owner.get("/projects/acme").ok()["version"] == 2
    made = owner.post("/keys", {"name": "k", "role": "read"}, headers).ok()
    replayed = owner.post("/keys", {"name": "k", "role": "read"}, headers).ok()
    assert made["key"].startswith("stl_live_")
    assert replayed == made | {"key": None}
    bad = owner.put("acme", "b.md", b"x", **{"idempotency-key": "x" * 201})
    assert (bad.status, bad.code) == (422, "request.invalid")


def test_lists_page_by_cursor_without_gap_or_repeat(owner: Client) -> None:
    _project(owner)
    names = [f"docs/{number:02}.md" for number in range(7)]
    for name in names:
        owner.put("acme", name, f"# {name}\n\n- [ ] task of {name}\n".encode()).ok()
    for address, field in (("artifacts", "path"), ("tasks", "path"), ("changes", "path"), ("versions", "version")):
        seen, cursor = [], None
        while True:
            page = owner.get(f"/projects/acme/{address}", limit=3, **({"cursor": cursor} if cursor else {})).ok()
            seen += [item[field] for item in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == (names if field == "path" else [7, 6, 5, 4, 3, 2, 1]), address
    for address in ("changes", "artifacts", "tasks"):
        assert owner.get(f"/projects/acme/{address}", cursor="nonsense").code == "request.invalid"


def test_changes_tell_what_was_set_and_what_was_deleted_since_a_version(owner: Client) -> None:
    _project(owner)
    etag = owner.put("acme", "a.md", b"one").headers["etag"]
    owner.put("acme", "b.md", b"two").ok()
    owner.send("DELETE", "/projects/acme/artifacts/a.md", None, {"if-match": etag}).ok()
    since = owner.get("/projects/acme/changes", since=1).ok()
    assert [(item["path"], item.get("deleted", False), item["version"]) for item in since["items"]] == [
        ("a.md", True, 3),
        ("b.md", False, 2),
    ]
    assert owner.get("/projects/acme/changes", since=9).code == "version.not_found"


def test_changes_between_two_versions_tell_nothing_of_later_ones(owner: Client) -> None:
    _project(owner)
    etag = owner.put("acme", "a.md", b"one").headers["etag"]
    owner.put("acme", "b.md", b"two").ok()
    owner.put("acme", "c.md", b"three").ok()
    owner.send("DELETE", "/projects/acme/artifacts/a.md", None, {"if-match": etag}).ok()

    def told(since: int, until: int, **page_of: Any) -> list[tuple[str, bool, int]]:
        page = owner.get("/projects/acme/changes", None, since=since, until=until, **page_of).ok()
        assert page["digest"] == owner.get(f"/projects/acme/versions/{page['version']}").ok()["digest"]
        return [(item["path"], item.get("deleted", False), item["version"]) for item in page["items"]]

    assert told(1, 3) == [("b.md", False, 2), ("c.md", False, 3)]
    assert told(0, 2) == [("a.md", False, 1), ("b.md", False, 2)]
    assert told(3, 4) == [("a.md", True, 4)]
    page = owner.get("/projects/acme/changes", since=1, until=3, limit=1).ok()
    assert told(1, 3, limit=1, cursor=page["next"]) == [("c.md", False, 3)]
    assert owner.get("/projects/acme/changes", since=1, until=2, cursor=page["next"]).code == "request.invalid"
    for since, until in ((1, 5), (3, 2)):
        assert owner.get("/projects/acme/changes", since=since, until=until).code == "version.not_found"


# Projects --------------------------------------------------------------------------------------------------------


def test_what_files_of_a_version_hold_is_read_by_their_places(owner: Client) -> None:
    _project(owner)
    for number in range(4):
        owner.put("acme", f"{number}.md", b"text %d" % (number // 2)).ok()
    owner.put("acme", "2.md", b"new", f'"{object_id(b"text 1")}"').ok()

    def read(objects: Sequence[str] = (), **files: object) -> list[str]:
        answer = owner.post("/projects/acme/objects/read", {"objects": list(objects), "files": files})
        assert answer.status == 200, answer.body
        return sorted(slot.object for frame in PackReader().feed(answer.body) for slot in frame.table)

    assert read(version=4) == sorted(map(object_id, (b"text 0", b"text 1")))
    assert read(version=5, after="1.md", limit=1) == [object_id(b"new")]
    assert read([object_id(b"text 0")], version=5, after="2.md") == sorted(map(object_id, (b"text 0", b"text 1")))
    assert read(version=5, after="3.md") == []
    for files, status, code in (
        ({"version": 6}, 404, "version.not_found"),
        ({"version": 0}, 422, "request.invalid"),
        ({"version": 5, "limit": 10_001}, 422, "request.invalid"),
        ({"after": "1.md"}, 422, "request.invalid"),
    ):
        refused = owner.post("/projects/acme/objects/read", {"objects": [], "files": files})
        assert (refused.status, refused.code) == (status, code), files


def test_what_another_did_to_a_project_meanwhile_does_not_keep_it_from_being_archived(
    owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _project(owner)
    owner.send("DELETE", "/projects/acme").ok()
    update = projects.update

    async def brought_back(s: Scope, id: ProjectId, **changes: Any) -> None:  # noqa: A002
        await projects.archive(s, id, None)
        await update(s, id, **changes)

    monkeypatch.setattr(projects, "update", brought_back)
    assert owner.send("PATCH", "/projects/acme", {"archived": True}).ok()["archived"]


def test_a_project_can_be_renamed_described_archived_and_brought_back(owner: Client) -> None:
    project = _project(owner)
    _project(owner, "taken")
    assert owner.post("/projects", {"slug": "taken"}).code == "resource.exists"
    assert owner.send("PATCH", "/projects/acme", {"slug": "taken"}).code == "resource.exists"
    changed = owner.send("PATCH", "/projects/acme", {"slug": "renamed", "description": "d"}).ok()
    assert (changed["id"], changed["slug"], changed["description"]) == (project, "renamed", "d")
    assert owner.get("/projects/acme").code == "project.not_found"
    owner.put("renamed", "a.md", b"one").ok()
    owner.send("DELETE", "/projects/renamed").ok()
    assert [item["slug"] for item in owner.get("/projects").ok()["items"]] == ["taken"]
    refused = owner.put("renamed", "b.md", b"two")
    assert (refused.status, refused.code) == (403, "project.archived")
    assert owner.get("/projects/renamed/artifacts/a.md").body == b"one"
    owner.send("PATCH", "/projects/renamed", {"archived": False}).ok()
    owner.put("renamed", "b.md", b"two").ok()


def test_a_field_that_no_body_has_is_refused_by_name_with_those_there_are(owner: Client) -> None:
    refused = owner.post("/search", {"q": "word"})
    assert (refused.status, refused.json["detail"]) == (
        422,
        "the body has unknown field `q`; known: at, limit, offset, projects, query, related",
    )
    inner = owner.post("/keys", {"name": "bot", "projects": [{"project": "acme", "rolle": "read"}]})
    assert inner.json["detail"] == "projects[0]: the body has unknown field `rolle`"


def test_the_manifest_is_merged_and_has_to_stay_valid(owner: Client) -> None:
    _project(owner)
    owner.post("/projects/acme/context", {"name": "Acme", "services": [{"name": "api"}], "own": {"a": 1, "b": 2}}).ok()
    owner.post("/projects/acme/context", {"own": {"b": None}, "relations": [{"type": "part-of", "project": "x"}]}).ok()
    found = owner.get("/projects/acme/context").ok()
    assert found["manifest"]["own"] == {"a": 1}
    assert found["manifest"]["name"] == "Acme"
    assert owner.get("/projects/acme").ok()["relations"] == [{"type": "part-of", "project": "x"}]
    refused = owner.post("/projects/acme/context", {"relations": "none"})
    assert (refused.status, refused.code) == (422, "context.invalid")
    assert owner.get("/projects/acme").ok()["version"] == 2
    etag = owner.get("/projects/acme/artifacts/context.json").headers["etag"]
    owner.put("acme", "context.json", b"not json", etag).ok()
    assert owner.post("/projects/acme/context", {"name": "x"}).code == "context.invalid"
    assert owner.get("/projects/acme/context").ok()["problems"]


def test_a_manifest_that_cannot_be_changed_safely_is_refused_by_name(owner: Client) -> None:
    _project(owner)
    owner.put("acme", "context.json", b'\xef\xbb\xbf{"name": "a"}').ok()
    owner.post("/projects/acme/context", {"description": "b"}).ok()
    found = owner.get("/projects/acme/artifacts/context.json")
    assert json.loads(found.body) == {"name": "a", "description": "b"}
    etag = found.headers["etag"]
    for text in (b'{"x": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", b'{"own": 1, "own": 2}'):
        etag = owner.put("acme", "context.json", text, etag).headers["etag"]
        refused = owner.post("/projects/acme/context", {"name": "c"})
        assert (refused.status, refused.code) == (422, "context.invalid")


# Signing in ------------------------------------------------------------------------------------------------------


def test_a_key_gets_a_token_that_is_it_until_it_is_revoked(server: Running, owner: Client) -> None:
    made = owner.post("/keys", {"name": "bot", "role": "read"}).ok()
    tokens = server.client().post("/auth/token", {"apiKey": made["key"]}).ok()
    assert (tokens["tokenType"], tokens["expiresIn"]) == ("Bearer", 600)
    assert "refreshToken" not in tokens
    bearer = server.client(tokens["accessToken"])
    assert bearer.get("/auth/whoami").ok()["principal"]["id"] == made["id"]
    server.client().post("/auth/revoke", {"token": tokens["accessToken"]}).ok()
    assert bearer.get("/auth/whoami").code == "auth.invalid"
    other = server.client(server.client().post("/auth/token", {"apiKey": made["key"]}).ok()["accessToken"])
    other.get("/projects").ok()
    owner.send("DELETE", f"/keys/{made['id']}").ok()
    assert other.get("/projects").code == "auth.invalid"
    assert server.client().post("/auth/token", {"apiKey": made["key"]}).code == "auth.invalid"
    assert owner.send("DELETE", f"/keys/{made['id']}").ok() == {"ok": True}


def test_a_persons_session_is_renewed_and_a_copied_refresh_token_ends_it(server: Running, owner: Client) -> None:
    email = f"{owner.get('/tenant').ok()['slug']}@example.org"
    member = owner.post("/members", {"email": email, "name": "Ada", "password": PASSWORD}).ok(201)
    nobody = server.client()
    first = nobody.post("/auth/token", {"email": email.upper(), "password": PASSWORD}).ok()
    assert server.client(first["accessToken"]).get("/auth/whoami").ok()["principal"]["id"] == member["id"]
    second = nobody.post("/auth/refresh", {"refreshToken": first["refreshToken"]}).ok()
    assert second["refreshToken"] != first["refreshToken"]
    again = nobody.post("/auth/refresh", {"refreshToken": first["refreshToken"]}).ok()
    assert again["refreshToken"] == second["refreshToken"]  # the answer may have been lost
    nobody.post("/auth/refresh", {"refreshToken": second["refreshToken"]}).ok()
    assert nobody.post("/auth/refresh", {"refreshToken": first["refreshToken"]}).code == "auth.invalid"
    assert nobody.post("/auth/refresh", {"refreshToken": second["refreshToken"]}).code == "auth.invalid"
    third = nobody.post("/auth/token", {"email": email, "password": PASSWORD}).ok()
    nobody.post("/auth/revoke", {"token": third["refreshToken"]}).ok()
    assert server.client(third["accessToken"]).get("/auth/whoami").code == "auth.invalid"
    fourth = nobody.post("/auth/token", {"email": email, "password": PASSWORD}).ok()
    owner.send("DELETE", f"/members/{member['id']}").ok()
    assert nobody.post("/auth/refresh", {"refreshToken": fourth["refreshToken"]}).code == "auth.invalid"
    assert nobody.post("/auth/token", {"email": email, "password": PASSWORD}).code == "auth.invalid"


def test_a_wrong_password_and_an_unknown_person_look_the_same(server: Running, owner: Client) -> None:
    owner.post("/members", {"email": "known@example.org", "name": "K", "password": PASSWORD}).ok()
    answers = [
        server.client().post("/auth/token", {"email": email, "password": password})
        for email, password in (("known@example.org", "x"), ("unknown@example.org", PASSWORD), ("nonsense", "x"))
    ]
    assert {(answer.status, answer.code, answer.json["detail"]) for answer in answers} == {
        (401, "auth.invalid", "the e-mail address or the password is not right")
    }


@pytest.mark.promise("P5")
def test_somebody_elses_person_cannot_be_added_to_another_tenant(new_tenant: Callable[[], Client]) -> None:
    """Whoever chose a password could sign in with it wherever its person is a member."""
    first, second = new_tenant(), new_tenant()
    first.post("/members", {"email": "shared@example.org", "name": "S", "password": PASSWORD}).ok()
    answer = second.post("/members", {"email": "shared@example.org", "name": "S", "password": PASSWORD + "x"})
    assert (answer.status, answer.code) == (409, "resource.exists")
    again = first.post("/members", {"email": "shared@example.org", "name": "S", "password": PASSWORD})
    assert (again.status, again.json["detail"]) == (409, "this person is a member already")
    assert answer.json["detail"] != again.json["detail"]


@pytest.mark.promise("P5")
def test_a_grant_and_its_end_count_at_once_and_inside_a_write(server: Running, owner: Client) -> None:
    project = _project(owner)
    _project(owner, "other")
    made = owner.post("/keys", {"name": "bot", "projects": [{"project": "other", "role": "read"}]}).ok()
    bot = server.client(made["key"])
    assert bot.get("/projects/acme").status == 404
    owner.post("/projects/acme/grants", {"principal": made["id"], "role": "write"}).ok()
    bot.put("acme", "a.md", b"one").ok()
    assert [grant["role"] for grant in owner.get("/projects/acme/grants").ok()["items"]] == ["write"]
    assert bot.get("/auth/whoami").ok()["grants"][0]["role"] in ("read", "write")
    owner.send("DELETE", f"/projects/acme/grants/{made['id']}").ok()
    assert bot.put("acme", "b.md", b"two").status == 404
    assert owner.send("DELETE", f"/projects/acme/grants/{made['id']}").code == "resource.not_found"
    assert project in str(owner.get("/tenant/audit").ok())


def test_nobody_makes_a_key_with_more_than_they_have(server: Running, owner: Client) -> None:
    admin = server.client(owner.post("/keys", {"name": "a", "tenantRole": "admin"}).ok()["key"])
    assert admin.post("/keys", {"name": "o", "tenantRole": "owner"}).code == "auth.insufficient_scope"
    assert admin.post("/keys", {"name": "nothing"}).code == "request.invalid"
    mine = owner.get("/keys").ok()["items"][0]
    own = next(key for key in owner.get("/keys").ok()["items"] if key["tenantRole"] == "owner")
    assert admin.send("DELETE", f"/keys/{own['id']}").code == "auth.insufficient_scope"
    assert mine
    assert owner.send("DELETE", f"/keys/{own['id']}").code == "tenant.last_owner"


# Tenants ---------------------------------------------------------------------------------------------------------


def test_the_operator_suspends_resumes_limits_and_shreds_a_tenant(server: Running, owner: Client) -> None:
    tenant = owner.get("/tenant").ok()
    address = f"/admin/tenants/{tenant['slug']}"
    _project(owner)
    owner.put("acme", "a.md", b"# A\n\nword\n").ok()
    owner.get("/search", q="word").ok()
    server.admin.send("PATCH", address, {"suspended": True}).ok()
    refused = owner.get("/projects")
    assert (refused.status, refused.code) == (403, "tenant.suspended")
    server.admin.send("PATCH", address, {"suspended": False, "quota": {"storageBytes": 10, "projects": 1}}).ok()
    full = owner.put("acme", "b.md", b"two")
    assert (full.status, full.code) == (429, "quota.reached")
    assert full.json["quota"]["name"] == "storageBytes"
    assert " of 10 bytes are used" in full.json["detail"]
    assert "satchel tenant retention" in full.json["hint"]
    assert "retry-after" not in full.headers
    assert owner.post("/projects", {"slug": "second"}).code == "quota.reached"
    assert owner.get("/projects/acme/artifacts/a.md").body == b"# A\n\nword\n"
    usage = {quota["name"]: quota for quota in owner.get("/tenant/usage").ok()["quotas"]}
    assert usage["projects"] == {"name": "projects", "used": 1, "reserved": 0, "limit": 1, "near": True}
    index = server.settings.data / "cache" / "index" / tenant["id"]
    assert index.exists()
    told = server.admin.send("DELETE", address + "?now=true").ok()
    assert told == {  # no store of backups is set
        "ok": True,
        "state": "shredded",
        "deleteAt": None,
        "backupsLooked": False,
        "keysExpireAt": None,
    }
    assert owner.get("/projects").status == 401
    assert not index.exists()
    assert server.admin.send("DELETE", address).status == 404


def test_an_operator_cannot_lock_itself_out(server: Running) -> None:
    answer = server.admin.send("PATCH", "/admin/tenants/default", {"suspended": True})
    assert (answer.status, answer.code) == (403, "tenant.own")
    assert server.admin.send("DELETE", "/admin/tenants/default").code == "tenant.own"


def test_health_names_its_dependencies_and_no_secret(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = server.client()
    report = nobody.get("/health").ok()
    assert report["status"] == "ok"
    assert {row["name"]: row["state"] for row in report["dependencies"]} == {"catalog": "ok", "store": "ok"}

    async def away() -> None:
        raise OSError("gone")

    monkeypatch.setattr(server.cloud.store, "check", away)
    assert nobody.get("/health/live").status == 200
    assert nobody.get("/health/startup").ok() == {"status": "started"}
    assert nobody.get("/health").ok()["status"] == "degraded"
    assert nobody.get("/health/ready").status == 200  # it reads what it has, and refuses writes itself
    monkeypatch.setattr(server.cloud.catalog, "check", away)
    assert nobody.get("/health/ready").status == 503


def test_the_public_keys_verify_tokens_and_hold_nothing_private(server: Running) -> None:
    for key in server.client().get("/.well-known/jwks.json").ok()["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "alg", "use", "kid"}


@pytest.mark.parametrize(
    ("how", "code"), [("flip", "seal.broken"), ("salt", "seal.broken"), ("remove", "store.missing")]
)
def test_damaged_content_is_named_and_everything_else_is_served(server: Running, how: str, code: str) -> None:
    owner = server.tenant(f"damaged-{how}")
    project = owner.post("/projects", {"slug": "notes"}).ok()
    before = set((server.settings.data / "store").rglob("pak_*"))
    owner.put("notes", "docs/hurt.md", b"# Hurt\n\nneedle\n").ok()
    (pack,) = set((server.settings.data / "store").rglob("pak_*")) - before
    owner.put("notes", "docs/sound.md", b"# Sound\n").ok()
    data = pack.read_bytes()
    pack.unlink()
    if how != "remove":
        at = {"flip": len(data) - 1, "salt": 40}[how]
        pack.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    answer = owner.get("/projects/notes/artifacts/docs/hurt.md")
    assert (answer.status, answer.code, answer.json["path"]) == (500, code, "docs/hurt.md")
    assert "satchel sync" in answer.json["hint"]
    assert owner.get("/projects/notes/artifacts/docs/sound.md").body == b"# Sound\n"
    search = owner.get("/projects/notes/search", q="needle")
    assert (search.status, search.code) == (500, "store.missing")
    assert "search index" in search.json["detail"]
    assert owner.get(f"/projects/{project['id']}").ok()["damaged"] == 0  # nobody has looked yet
    assert owner.get("/projects/notes/objects/damaged").ok() == {"items": [], "next": None}


@pytest.mark.parametrize(("at", "code"), [(-1, "seal.broken"), (40, "seal.wrong_key")])
def test_content_is_not_called_damaged_where_it_is_the_keyring(server: Running, at: int, code: str) -> None:
    owner = server.tenant(f"keyring{at}")
    owner.post("/projects", {"slug": "notes"}).ok()
    owner.put("notes", "a.md", b"# A\n").ok()
    tenant = owner.get("/auth/whoami").ok()["tenant"]["id"]
    (file,) = (server.settings.data / "store/tenants" / tenant / "keys").iterdir()
    sealed = bytearray(file.read_bytes())
    sealed[at] ^= 1
    file.unlink()
    file.write_bytes(sealed)
    server.cloud.keyring.forget(tenant)
    answer = owner.get("/projects/notes/artifacts/a.md")
    assert (answer.status, answer.code) == (500, code)
    assert "a.md" not in answer.json["detail"]
    assert "satchel sync" not in answer.json["hint"]


def test_a_damaged_index_is_built_anew_whoever_else_is_asked_with_it(server: Running) -> None:
    owner = server.tenant("hurt-index")
    for slug in ("left", "right"):
        owner.post("/projects", {"slug": slug}).ok()
        owner.put(slug, "a.md", b"# Needle\n\nA needle.\n").ok()
    before = owner.get("/search", q="needle").ok()
    assert [hit["project"] for hit in before["hits"]] == ["left", "right"]
    server.cloud.indexes.close()
    hurt = [*(server.settings.data / "cache").rglob("*.db*")]
    assert hurt
    for path in hurt:
        path.write_bytes(path.read_bytes()[:4096] + b"x" * 40_000)
    assert owner.get("/search", q="needle").ok() == before


@pytest.mark.promise("P8")
def test_a_version_that_no_project_can_have_is_refused(owner: Client) -> None:
    owner.post("/projects", {"slug": "far"}).ok()
    assert owner.get("/projects/far/artifacts", None, at=2**63).code == "request.invalid"
    assert owner.get(f"/projects/far/versions/{2**63}").status in (404, 422)


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/projects", {"slug": "notes\n"}),
        ("/projects", {"slug": "notes", "id": "prj_" + "0" * 26 + "\n"}),
        *(
            ("/keys", {"name": name, "role": "read"})
            for name in ("  ", "bot\n", "bot\n 9  Ann", "\x1b[2J", "to\u202eb")
        ),
    ],
)
def test_a_name_is_one_line_that_shows_all_of_itself(owner: Client, path: str, body: dict[str, str]) -> None:
    """It stands beside what its owner did, in lists that people read."""
    answer = owner.post(path, body)
    assert (answer.status, answer.code) == (422, "request.invalid")


def test_a_packed_body_is_refused_and_not_kept_as_what_was_meant(owner: Client) -> None:
    owner.post("/projects", {"slug": "packed"}).ok()
    data, packed = b"# Notes\n", {"content-encoding": "gzip"}
    refused = owner.put("packed", "a.md", gzip.compress(data), **packed)
    assert (refused.status, refused.code) == (415, "request.media_type")
    assert "unpacked" in refused.json["hint"]
    body = gzip.compress(b'{"query": "x"}')
    json = {"content-type": "application/json", "accept": "application/json"}
    for address in ("/projects/packed/search", "/mcp"):
        assert owner.send("POST", address, body, json | packed).code == "request.media_type"
    stream = {"content-type": "application/x-satchel-sync", "satchel-declared-bytes": "9"}
    assert owner.send("POST", "/projects/packed/packs", b"x", stream | packed).code == "request.media_type"
    assert owner.send("PUT", "/projects/absent/artifacts/a.md", data, packed).code == "project.not_found"
    owner.put("packed", "a.md", data, **{"content-encoding": "identity"}).ok()
