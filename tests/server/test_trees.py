"""What the server remembers of the newest versions: it is what the catalog has, and nothing that was purged."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from satchel.context.answers import ContextReader
from satchel.errors import NoSuchProject
from satchel.objects.ids import ObjectId, TenantId
from satchel.server import readers, trees
from satchel.server.indexes import Ref
from satchel.server.trees import Trees
from tests.server.running import Client, Running


def _ref(server: Running, owner: Client, slug: str) -> tuple[Ref, str, int]:
    tenant = owner.get("/auth/whoami").ok()["tenant"]["id"]
    project = owner.get(f"/projects/{slug}").ok()
    return Ref(TenantId(tenant), project["id"]), project["lineage"], project["version"]


@pytest.fixture
def read(server: Running, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that were read from the store."""
    found: list[str] = []
    real = server.cloud.readers.bytes_of

    async def counted(tenant: Any, row: Any, entry: Any) -> bytes:
        found.append(entry.object)
        return await real(tenant, row, entry)

    monkeypatch.setattr(server.cloud.readers, "bytes_of", counted)
    return found


@pytest.mark.promise("P2")
def test_a_tree_that_follows_edits_is_the_one_that_the_catalog_has(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    chance, held = random.Random(3), dict[str, str]()
    for number in range(24):
        path = f"{chance.choice('abcdef')}.md"
        if path in held and chance.random() < 0.4:
            owner.send("DELETE", f"/projects/a/artifacts/{path}", headers={"if-match": "*"}).ok()
            del held[path]
        else:
            match = held.get(path)
            held[path] = owner.put("a", path, f"# {number % 5}\n".encode(), match).headers["etag"]
        if number % 3:
            continue
        where = _ref(server, owner, "a")
        followed = server.run(server.cloud.readers.trees.tree(*where))
        assert followed == server.run(Trees(server.cloud.catalog).tree(*where))
        assert sorted(followed) == sorted(held)


def test_a_tree_follows_a_version_that_replaced_every_file(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a folder is renamed: twice as many paths changed as there are files."""
    monkeypatch.setattr(trees, "MAX_FILES", 2)
    owner.post("/projects", {"slug": "a"}).ok()
    for old in ("a.md", "b.md"):
        owner.put("a", old, b"# Old\n").ok()
    server.run(server.cloud.readers.trees.tree(*_ref(server, owner, "a")))
    for old, new in (("a.md", "x.md"), ("b.md", "y.md")):
        owner.send("DELETE", f"/projects/a/artifacts/{old}", headers={"if-match": "*"}).ok()
        owner.put("a", new, b"# New\n").ok()
    where = _ref(server, owner, "a")
    assert sorted(server.run(server.cloud.readers.trees.tree(*where))) == ["x.md", "y.md"]


def test_content_of_the_head_is_read_from_the_store_once(owner: Client, read: list[str]) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    owner.put("a", "a.md", b"# One\n").ok()
    owner.put("a", "large.bin", b"\0" * (trees.MAX_ONE_CONTENT + 1)).ok()
    for _ in range(3):
        assert owner.get("/projects/a/artifacts/a.md").body == b"# One\n"
        assert owner.get("/projects/a/artifacts/a.md", {"accept": "application/json"}).ok()["text"] == "# One\n"
    assert len(read) == 1
    for _ in range(2):
        assert len(owner.get("/projects/a/artifacts/large.bin").body) > trees.MAX_ONE_CONTENT
        assert owner.get("/projects/a/artifacts/a.md", at=1).body == b"# One\n"
    assert len(read) == 5  # neither large artifacts nor old versions are remembered


def test_content_that_the_head_has_no_more_is_not_kept(server: Running, owner: Client, read: list[str]) -> None:
    """A server would fill up with what every commit replaced."""
    owner.post("/projects", {"slug": "a"}).ok()
    owner.put("a", "same.md", b"# 0\n").ok()
    match = owner.put("a", "a.md", b"# 0\n").headers["etag"]
    kept = server.cloud.readers.trees.contents
    ref, _, _ = _ref(server, owner, "a")
    for number in range(1, 4):
        assert owner.get("/projects/a/artifacts/a.md").body == f"# {number - 1}\n".encode()
        match = owner.put("a", "a.md", f"# {number}\n".encode(), match).headers["etag"]
    assert owner.get("/projects/a/artifacts/a.md").body == b"# 3\n"
    zero = owner.get("/projects/a/artifacts/same.md").headers["etag"]
    assert {f'"{name}"' for name in kept.names(ref)} == {zero, match}


def test_of_a_small_project_all_content_is_read_at_once_and_damage_to_one_harms_no_other(
    server: Running, owner: Client, read: list[str]
) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    for name in ("a", "b"):
        owner.put("a", f"{name}.md", f"# {name}\n".encode()).ok()
    ref, _, _ = _ref(server, owner, "a")
    assert owner.get("/projects/a/artifacts/a.md").body == b"# a\n"
    assert owner.get("/projects/a/artifacts/b.md").body == b"# b\n"
    assert (len(server.cloud.readers.trees.contents.names(ref)), read) == (2, [])
    server.cloud.readers.forget_trees(ref)
    packs = server.settings.data / "store" / "tenants" / ref.tenant / "projects" / ref.project / "packs"
    max(packs.iterdir(), key=lambda pack: pack.stat().st_mtime_ns).unlink()
    assert owner.get("/projects/a/artifacts/a.md").body == b"# a\n"
    assert owner.get("/projects/a/artifacts/b.md").code == "store.missing"


def test_what_the_store_lost_is_replaced_also_by_what_looks_like_a_credential_where_that_is_allowed(
    server: Running, owner: Client
) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    lost = owner.put("a", "a.md", b"# Lost\n").ok()
    assert lost["version"] == 1
    ref, _, _ = _ref(server, owner, "a")
    [pack] = (server.settings.data / "store" / "tenants" / ref.tenant / "projects" / ref.project / "packs").iterdir()
    pack.unlink()
    chance = random.Random(4)
    text = b"ghp_" + bytes(chance.choices(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", k=36))
    assert owner.put("a", "a.md", text, "*").code == "secret.refused"
    assert owner.put("a", "a.md", text, "*", **{"satchel-secrets-allowed": "a.md"}).ok()["version"] == 2


@pytest.mark.promise("P5")
def test_content_is_remembered_for_its_project_alone(new_tenant: Callable[[], Client], read: list[str]) -> None:
    for owner in (new_tenant(), new_tenant()):
        for slug in ("a", "b"):
            owner.post("/projects", {"slug": slug}).ok()
            owner.put(slug, "a.md", b"# The same\n").ok()
            for _ in range(2):
                assert owner.get(f"/projects/{slug}/artifacts/a.md").body == b"# The same\n"
    assert len(read) == 4


def test_nothing_purged_is_remembered_also_where_it_was_being_read(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    owner.put("a", "a.md", b"# Secret\n").ok()
    secret = ObjectId(owner.get("/projects/a/artifacts/a.md").headers["etag"].strip('"'))
    kept = server.cloud.readers.trees
    ref, _, _ = _ref(server, owner, "a")
    assert kept.contents.get(ref, secret) == b"# Secret\n"
    began = kept.moment
    owner.post("/projects/a/purge", {"paths": ["a.md"]}).ok()
    assert owner.get("/projects/a/artifacts/a.md").code == "artifact.not_found"
    kept.keep_content(ref, secret, b"# Secret\n", began)
    assert kept.contents.get(ref, secret) is None
    assert not kept.contents.names(ref)


@pytest.mark.promise("P8")
def test_what_is_remembered_is_bounded_and_what_was_used_last_stays() -> None:
    one, other = (Ref(TenantId(f"ten_{n}"), f"prj_{n}") for n in range(2))  # type: ignore[arg-type]
    kept: trees.Weighed[str, bytes] = trees.Weighed(100)
    for name in "abcdef":
        kept.keep(one, name, name.encode(), 20)
        assert kept.use(one, "a") == b"a"
    assert kept.names(one) == {"a", "c", "d", "e", "f"}
    kept.keep(other, "huge", b"h", 1_000)
    assert (kept.names(one), kept.names(other)) == (set(), {"huge"})
    kept.keep(one, "a", b"a", 20)
    kept.forget_tenant(other.tenant)
    assert (kept.names(one), kept.get(other, "huge")) == ({"a"}, None)


def test_a_question_that_takes_no_index_takes_no_thread_and_one_that_waits_often_does(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.post("/projects", {"slug": "a"}).ok()
    owner.put("a", "a.md", b"# One\n\ntext\n").ok()
    cloud, asked = server.cloud, list[object]()
    who = server.run(cloud.authenticator.check(f"Bearer {owner.key}")).principal
    real = cloud.readers._askers.submit

    def counted(*args: Any, **more: Any) -> Any:
        asked.append(args[0])
        return real(*args, **more)

    monkeypatch.setattr(cloud.readers._askers, "submit", counted)

    def ask(question: Callable[[ContextReader], Any]) -> Any:
        return server.run(cloud.readers.ask(who, question))

    assert ask(lambda r: r.artifact("a", "a.md"))["text"] == "# One\n\ntext\n"
    assert [row["project"] for row in ask(lambda r: r.projects())] == ["a"]
    with pytest.raises(NoSuchProject):
        ask(lambda r: r.outline("b", "a.md"))
    assert asked == []
    assert ask(lambda r: [r.outline("a", "a.md")["total"] for _ in range(readers.WAITS)]) == [1] * readers.WAITS
    assert len(asked) == 1
    assert ask(lambda r: r.search("text", projects=["a"]))["total"] == 1
    assert len(asked) >= 2
