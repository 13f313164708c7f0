"""A tenant's settings over HTTP: who may change which, from what, and what they then do."""

from __future__ import annotations

import pytest

from satchel.objects.ids import object_id
from satchel.objects.listing import Entry, digest
from satchel.sync.wire import MEDIA_TYPE
from tests.server.running import Answer, Client, Running

DEFAULTS = {"retention": {"versions": None, "days": None}, "allowedStorage": [], "syncIntervalSeconds": 0}


def _set(client: Client, match: str | None = None, **settings: object) -> Answer:
    headers = {} if match is None else {"if-match": match}
    return client.send("PATCH", "/tenant", {"settings": settings}, headers)


def _address(client: Client) -> str:
    return f"/admin/tenants/{client.get('/tenant').ok()['id']}"


def _push(client: Client, project: str, text: str, key: str | None = None) -> Answer:
    """One file more, committed of content that the project holds: the second half of a push in steps."""
    head = client.get(f"/projects/{project}").ok()
    held = client.get(f"/projects/{project}/changes", since=0).ok()["items"]
    tree = {row["path"]: Entry(row["mode"], row["object"]) for row in held}
    content, path = object_id(b"# A\n"), f"{text}.md"
    after = digest({**tree, path: Entry("100644", content)})
    change = {"path": path, "mode": "100644", "object": content, "size": 4}
    parent = {name: head[name] for name in ("lineage", "version", "digest")}
    headers = {} if key is None else {"idempotency-key": key}
    return client.post(
        f"/projects/{project}/commits", {"parent": parent, "digest": after, "changes": [change]}, headers
    )


def test_settings_are_shown_and_changed_by_admins_one_revision_at_a_time(owner: Client) -> None:
    shown = owner.get("/tenant").ok()
    assert (shown["settings"], shown["settingsRevision"], shown["deleteAt"]) == (DEFAULTS, 0, None)
    assert owner.get("/tenant/settings/history").ok() == {"items": [], "next": None}
    changed = _set(owner, syncIntervalSeconds=5).ok()
    assert (changed["settings"], changed["settingsRevision"]) == ({**DEFAULTS, "syncIntervalSeconds": 5}, 1)
    changed = _set(owner, retention={"days": 30}).ok()  # what is not named stays
    assert changed["settings"] == {**DEFAULTS, "syncIntervalSeconds": 5, "retention": {"versions": None, "days": 30}}
    assert _set(owner, retention={"days": 30}).ok()["settingsRevision"] == 2  # so it is already
    history = owner.get("/tenant/settings/history", limit=2).ok()
    assert [(row["revision"], row["name"]) for row in history["items"]] == [(2, "admin"), (1, "admin")]
    assert history["items"][0]["settings"] == changed["settings"]
    rest = owner.get("/tenant/settings/history", cursor=history["next"]).ok()
    assert [(row["revision"], row["principal"], row["settings"]) for row in rest["items"]] == [(0, None, DEFAULTS)]
    assert rest["next"] is None
    rows = owner.get("/tenant/audit").ok()["items"]
    noted = [row["target"].partition(" ")[2] for row in rows if row["action"] == "tenant.settings"]
    assert noted == ["revision 2: retention", "revision 1: syncIntervalSeconds"]


def test_a_change_can_say_which_revision_it_was_made_from(owner: Client) -> None:
    _set(owner, '"0"', syncIntervalSeconds=5).ok()
    late = _set(owner, '"0"', syncIntervalSeconds=9)
    assert (late.status, late.code, late.json["revision"]) == (412, "tenant.settings_changed", 1)
    _set(owner, '"1"', syncIntervalSeconds=9).ok()
    _set(owner, "*", syncIntervalSeconds=10).ok()
    assert _set(owner, '"first"', syncIntervalSeconds=1).code == "request.invalid"
    assert owner.get("/tenant").ok()["settings"]["syncIntervalSeconds"] == 10


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"syncIntervalSeconds": -1}, "syncIntervalSeconds"),
        ({"syncIntervalSeconds": 86_401}, "syncIntervalSeconds"),
        ({"syncInterval": 5}, "syncInterval"),
        ({"retention": {"days": 1, "versions": 1}}, "not both"),
        ({"retention": {"weeks": 1}}, "weeks"),
        ({"allowedStorage": []}, "allowedStorage"),
    ],
)
def test_a_field_or_value_that_cannot_be_is_named(owner: Client, wrong: dict[str, object], named: str) -> None:
    answer = _set(owner, **wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert (answer.status, answer.code) == (422, "request.invalid")
    assert named in answer.json["detail"]
    assert owner.get("/tenant").ok()["settingsRevision"] == 0


@pytest.mark.promise("P5")
def test_only_admins_change_settings_and_only_the_operator_says_where_content_may_rest(
    server: Running, owner: Client
) -> None:
    reader = server.client(owner.post("/keys", {"name": "r", "role": "read"}).ok()["key"])
    assert _set(reader, syncIntervalSeconds=5).code == "auth.insufficient_scope"
    assert reader.get("/tenant/settings/history").code == "auth.insufficient_scope"
    assert reader.get("/tenant").ok()["settings"] == DEFAULTS
    address = _address(owner)
    assert owner.send("PATCH", address, {"settings": {"allowedStorage": []}}).status == 404
    wrong = server.admin.send("PATCH", address, {"settings": {"allowedStorage": ["ftp://x"]}})
    assert (wrong.status, wrong.code) == (422, "request.invalid")
    server.admin.send("PATCH", address, {"settings": {"allowedStorage": ["s3:"]}}).ok()
    [row, _] = owner.get("/tenant/settings/history").ok()["items"]
    assert (row["principal"], row["name"]) == (None, "operator")  # whom the tenant does not get to know


def test_where_the_servers_storage_is_not_allowed_nothing_more_is_written_and_everything_read(
    server: Running, owner: Client
) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    tag = owner.put("acme", "a.md", b"# A\n").ok() and owner.get("/projects/acme/artifacts/a.md").headers["etag"]
    address = _address(owner)
    server.admin.send("PATCH", address, {"settings": {"allowedStorage": ["s3://acme-eu"]}}).ok()
    refused = [
        owner.put("acme", "b.md", b"# B\n"),
        owner.put("acme", "a.md", b"# B\n", tag),
        owner.send("POST", "/projects/acme/sync", b"", {"content-type": MEDIA_TYPE, "satchel-declared-bytes": "9"}),
        owner.send("POST", "/projects/acme/packs", b"", {"content-type": MEDIA_TYPE, "satchel-declared-bytes": "9"}),
        _push(owner, "acme", "b"),
    ]
    assert {(answer.status, answer.code) for answer in refused} == {(403, "tenant.storage_not_allowed")}
    assert owner.get("/projects/acme/artifacts/a.md").body == b"# A\n"
    assert owner.get("/search", q="A").ok()["hits"]
    server.admin.send("PATCH", address, {"settings": {"allowedStorage": ["s3://acme-eu", server.settings.store]}}).ok()
    owner.put("acme", "b.md", b"# B\n").ok()


def test_a_second_push_within_the_interval_is_told_when_to_come_again_before_its_body(
    server: Running, owner: Client
) -> None:
    owner.post("/projects", {"slug": "acme"}).ok()
    owner.post("/projects", {"slug": "other"}).ok()
    for project in ("acme", "other"):
        owner.put(project, "a.md", b"# A\n").ok()
    _set(owner, syncIntervalSeconds=3_600).ok()
    first = _push(owner, "acme", "first", "key-1")
    first.ok()
    soon = [
        owner.send("POST", "/projects/acme/sync", b"junk", {"content-type": MEDIA_TYPE, "satchel-declared-bytes": "9"}),
        owner.post("/projects/acme/commits", {"nonsense": True}),
        _push(owner, "acme", "second", "key-2"),
    ]
    for answer in soon:
        assert (answer.status, answer.code) == (429, "sync.too_soon")
        assert 3_500 < int(answer.headers["retry-after"]) <= 3_600
    # Neither another project, nor another principal, nor a write of one artifact, nor an answer that was lost.
    _push(owner, "other", "first").ok()
    assert _push(owner, "other", "second").code == "sync.too_soon"  # noted though it came without a key
    colleague = server.client(owner.post("/keys", {"name": "c", "role": "write"}).ok()["key"])
    _push(colleague, "acme", "theirs").ok()
    owner.put("acme", "b.md", b"# B\n").ok()
    again = _push_again(owner, first)
    assert again == first.json
    _set(owner, syncIntervalSeconds=0).ok()
    _push(owner, "acme", "second").ok()


def _push_again(owner: Client, first: Answer) -> object:
    """The very request of the first push once more."""
    line = owner.get("/projects/acme/versions").ok()["items"]
    parent = next(row for row in line if row["version"] == first.json["version"] - 1)
    lineage = owner.get("/projects/acme").ok()["lineage"]
    change = {"path": "first.md", "mode": "100644", "object": object_id(b"# A\n"), "size": 4}
    body = {
        "parent": {"lineage": lineage, "version": parent["version"], "digest": parent["digest"]},
        "digest": first.json["digest"],
        "changes": [change],
    }
    return owner.post("/projects/acme/commits", body, {"idempotency-key": "key-1"}).ok()
