"""The hosted reader beside the local one: equal digests, equal answers (P2); and what keeps indexes apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.context.local import LocalProject, LocalReader
from satchel.errors import DiskFull
from satchel.objects.ids import ProjectId, TenantId
from satchel.search.index import Index
from satchel.server.indexes import Ref
from satchel.worktree.ignore import Rules
from tests.sample import write_sample_project
from tests.server.running import Client, Running, serving, until

QUERIES = [
    "warning",
    "red warning retraction",
    '"two channels"',
    "kind:decision warning",
    "path:docs -storm",
    "zzz",
]
HISTORY = ("version", "author", "authorKind", "modified", "history", "lastSync")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return write_sample_project(tmp_path / "lighthouse")


@pytest.fixture
def local(sample: Path, tmp_path: Path) -> Iterator[LocalReader]:
    project = LocalProject("lighthouse", "prj_x", sample, Rules(), tmp_path / "state.db", tmp_path / "index.db")
    reader = LocalReader([project])
    yield reader
    reader.close()


def _upload(owner: Client, local: LocalReader, root: Path) -> None:
    owner.post("/projects", {"slug": "lighthouse"}).ok()
    for item in local.artifacts("lighthouse", limit=1000)["items"]:
        headers = {"satchel-mode": item["mode"]}
        owner.put("lighthouse", item["path"], (root / item["path"]).read_bytes(), **headers).ok()


def _without_history(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_history(value) for name, value in node.items() if name not in HISTORY}
    return [_without_history(value) for value in node] if isinstance(node, list) else node


@pytest.mark.promise("P2")
def test_a_hosted_project_answers_as_the_folder_does(owner: Client, local: LocalReader, sample: Path) -> None:
    _upload(owner, local, sample)
    for query in QUERIES:
        here = local.search(query, limit=50)
        there = owner.post("/projects/lighthouse/search", {"query": query, "limit": 50}).ok()
        assert _without_history(there) == _without_history(here), query
    for address, answer in (
        ("artifacts", local.artifacts("lighthouse")),
        ("tasks", local.tasks("lighthouse")),
        ("tasks?done=true", local.tasks("lighthouse", done=True)),
    ):
        assert _without_history(owner.get(f"/projects/lighthouse/{address}").ok()) == _without_history(answer)
    here_context = _without_history(local.context("lighthouse"))
    there_context = _without_history(owner.get("/projects/lighthouse/context").ok())
    for name in ("id", "lineage", "recent", "tokens"):  # of history, or of the machine
        here_context.pop(name)
        there_context.pop(name)
    assert there_context == here_context


@pytest.mark.promise("P2")
def test_an_index_reached_by_edits_answers_like_a_fresh_one(owner: Client, local: LocalReader, sample: Path) -> None:
    _upload(owner, local, sample)
    owner.get("/search", q="warning").ok()
    for number, item in enumerate(local.artifacts("lighthouse", limit=1000)["items"][:6]):
        path = sample / item["path"]
        path.write_bytes(path.read_bytes() + f"\nAnother warning, number {number}.\n".encode())
        owner.put("lighthouse", item["path"], path.read_bytes(), f'"{item["object"]}"').ok()
        if number % 2:
            owner.get("/search", q="warning").ok()
    for query in QUERIES:
        there = owner.post("/projects/lighthouse/search", {"query": query, "limit": 50}).ok()
        assert _without_history(there) == _without_history(local.search(query, limit=50))


def test_a_search_sees_a_write_that_was_acknowledged_before_it(owner: Client) -> None:
    owner.post("/projects", {"slug": "p"}).ok()
    for number in range(8):
        owner.put("p", f"{number}.md", f"# N\n\nword{number}\n".encode()).ok()
        hits = owner.get("/projects/p/search", q=f"word{number}").ok()["hits"]
        assert [hit["path"] for hit in hits] == [f"{number}.md"]
        assert hits[0]["version"] == number + 1


def test_small_questions_take_no_thread_and_others_do(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = server.cloud.readers
    taken: list[object] = []
    submit = readers._askers.submit

    def counted(*work: Any) -> Any:
        taken.append(work)
        return submit(*work)

    def threads(address: str, **asked: object) -> tuple[int, Any]:
        taken.clear()
        answer = owner.send("GET", address, query=asked).ok()
        return len(taken), answer

    owner.post("/projects", {"slug": "p"}).ok()
    text = "".join(f"## H{number}\n\nword {'often' if number % 2 else 'seldom'}\n\n" for number in range(300))
    owner.put("p", "a.md", f"# N\n\n{text}".encode()).ok()
    monkeypatch.setattr(readers._askers, "submit", counted)
    small = {"q": "seldom word"}
    first, answer = threads("/projects/p/search", **small)
    assert first  # the index was built for it
    assert threads("/projects/p/search", **small, limit=10) == (0, answer)
    assert threads("/projects/p/search", **small, limit=9)[0] == 0
    assert threads("/projects/p/search", q="wodr")[0] == 0
    assert threads("/projects/p/artifacts", limit=10)[0] == 0
    monkeypatch.setattr("satchel.server.hosted.LIGHT_WORK", 100)
    assert threads("/projects/p/search", **small, offset=0) == (1, answer)
    monkeypatch.undo()
    monkeypatch.setattr(readers._askers, "submit", counted)
    for heavy in ({"q": "wor*"}, {"q": "word since:2020"}, {"q": "word", "at": "1"}, {"q": "-word"}):
        assert threads("/projects/p/search", **heavy)[0], heavy
    assert threads("/projects/p/search", q="seldom", limit=50)[0]
    assert threads("/projects/p/search", q=" ".join(f"w{number}" for number in range(9)))[0]
    assert threads("/projects/p/tasks")[0]
    readers._under_way[Ref(TenantId("ten_x"), ProjectId("prj_x"))] = 0.0  # another project's index is being built
    try:
        assert threads("/projects/p/search", **small, limit=8)[0]
    finally:
        readers._under_way.clear()


def test_a_small_question_whose_index_is_taken_away_meanwhile_takes_a_thread(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the event loop it would wait for a key that the loop itself has to fetch."""
    owner.post("/projects", {"slug": "p"}).ok()
    owner.put("p", "a.md", b"# N\n\nword\n").ok()
    ref = Ref(TenantId(owner.get("/tenant").ok()["id"]), ProjectId(owner.get("/projects/p").ok()["id"]))
    before = owner.get("/projects/p/search", q="word").ok()
    indexes = server.cloud.indexes
    at_hand, gone = indexes.at_hand, list[Ref]()

    def taken_away(asked: Ref) -> bool:
        found = at_hand(asked)
        if not gone:
            gone.append(asked)
            indexes.discard(asked)
        return found

    monkeypatch.setattr(indexes, "at_hand", taken_away)
    assert at_hand(ref)
    assert owner.get("/projects/p/search", q="word", limit=10).ok() == before


def test_what_is_kept_of_trees_does_not_grow_with_the_versions_asked(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "p"}).ok()
    readers = server.cloud.readers
    others = readers.trees.rows
    for number in range(1, 6):
        owner.put("p", f"{number}.md", f"# N\n\nword{number}\n".encode()).ok()
        owner.get("/projects/p/search", q="word1").ok()
    head = owner.get("/projects/p").ok()
    ref = Ref(TenantId(owner.get("/tenant").ok()["id"]), ProjectId(head["id"]))
    kept = [version for version in range(1, 6) if readers.trees.known(ref, head["lineage"], version) is not None]
    assert 5 in kept
    assert len(kept) <= 2
    assert readers.trees.rows == others + sum(kept)
    readers.forget_trees(ref)
    assert readers.trees.rows == others
    assert readers.trees.known(ref, head["lineage"], 5) is None


def test_what_is_known_of_indexes_does_not_grow_with_the_projects_asked(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("satchel.server.readers.MOST_HELD", 2)
    for slug in ("a", "b", "c"):
        owner.post("/projects", {"slug": slug}).ok()
        owner.put(slug, "x.md", b"# N\n\nword\n").ok()
        assert owner.get(f"/projects/{slug}/search", q="word").ok()["total"] == 1
    assert len(server.cloud.readers._held) <= 2
    owner.put("a", "y.md", b"# N\n\nword\n").ok()
    assert owner.get("/projects/a/search", q="word").ok()["total"] == 2


def test_readers_and_writers_at_once_always_get_a_whole_answer(server: Running, owner: Client) -> None:
    owner.post("/projects", {"slug": "p"}).ok()
    owner.put("p", "0.md", b"# N\n\nword\n").ok()
    failed: list[object] = []
    done = threading.Event()

    def read() -> None:
        client = server.client(owner.key)
        while not done.is_set():
            answer = client.get("/projects/p/search", q="word", limit=50)
            found = answer.json if answer.status == 200 else None
            if found is None or found["total"] != found["projects"][0]["version"]:
                failed.append(answer)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 15):
            owner.put("p", f"{number}.md", b"# N\n\nword\n").ok()
    finally:
        done.set()
        for reader in readers:
            reader.join()
    assert failed == []


@pytest.mark.promise("P5")
def test_index_files_are_encrypted_and_named_by_tenant_and_project(server: Running, owner: Client) -> None:
    project = owner.post("/projects", {"slug": "p"}).ok()["id"]
    owner.put("p", "a.md", b"# Canary\n\ncanarycanary\n").ok()
    owner.get("/projects/p/search", q="canarycanary").ok()
    tenant = owner.get("/tenant").ok()["id"]
    files = list((server.settings.data / "cache" / "index" / tenant / project).iterdir())
    assert files
    for file in files:
        data = file.read_bytes()
        assert b"anary" not in data
        assert not data.startswith(b"SQLite format 3")


@pytest.mark.promise("P8")
def test_the_cache_of_indexes_stays_within_its_bound(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bounded") / "data"
    with serving(folder, index_cache_bytes=1024 * 1024) as bounded:
        for number in range(12):
            bounded.admin.post("/projects", {"slug": f"p{number}"}).ok()
            words = " ".join(f"w{number}x{i}" for i in range(9_000))
            bounded.admin.put(f"p{number}", "a.md", f"# A\n\n{words}\n".encode()).ok()
            bounded.admin.get(f"/projects/p{number}/search", q=f"w{number}x7").ok()
        until(lambda: bounded.cloud.indexes.bytes_used <= 1024 * 1024)
        # A question that needs more than fits is answered all the same, and the bound holds again afterwards.
        found = bounded.admin.get("/search", q="w0x7").ok()
        assert ([hit["project"] for hit in found["hits"]], len(found["projects"])) == (["p0"], 12)
        until(lambda: bounded.cloud.indexes.bytes_used <= 1024 * 1024)


def test_where_the_disk_is_full_caches_make_room_for_the_index_that_is_asked_for(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slug in ("one", "two"):
        owner.post("/projects", {"slug": slug}).ok()
        owner.put(slug, "a.md", f"# {slug}\n\nword\n".encode()).ok()
    owner.get("/projects/one/search?q=word").ok()
    indexes = server.cloud.indexes
    held, bring = indexes.bytes_used, Index.bring

    def full(index: Index, *what: Any) -> None:
        if indexes.bytes_used >= held:
            raise DiskFull("the disk is full: the index could not be written")
        bring(index, *what)

    monkeypatch.setattr(Index, "bring", full)
    [hit] = owner.get("/projects/two/search?q=word").ok()["hits"]
    assert hit["path"] == "a.md"
