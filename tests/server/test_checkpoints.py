"""Checkpoints of indexes: what a node without an index begins with, and what never stays in one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from satchel.objects.ids import ProjectId, TenantId
from satchel.server import checkpoints as checkpointing
from satchel.server.housekeeping import collect_all
from satchel.server.indexes import Ref
from satchel.store import checkpoints as stored
from satchel.store.checkpoints import Checkpoints
from satchel.store.outage import OutageStore
from tests.postgres import Postgres
from tests.real import Bucket
from tests.server.running import Client, Running, serving, until

QUESTIONS = ("crane", "tide crane", '"lifts 7"', "kind:note crate", "-tide", "", "cranes*", "nothing such")
FILES = {f"docs/{number}.md": f"# Tide {number}\n\nThe crane lifts {number} crates.\n" for number in range(8)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("server") / "data", index_checkpoint_bytes=1) as running:
        yield running


_numbers = itertools.count()


@pytest.fixture
def harbour(server: Running) -> Harbour:
    """A project of a new tenant, whose index has a checkpoint."""
    made = Harbour(server, server.tenant(f"harbour-{next(_numbers)}"))
    made.fill()
    made.search("crane")
    until(lambda: made.whole() == 1)
    return made


class Harbour:
    """A project, seen through one node."""

    def __init__(self, node: Running, owner: Client) -> None:
        self.node, self.owner = node, owner

    def fill(self) -> None:
        made = self.owner.post("/projects", {"slug": "harbour"}).ok()
        for path, text in FILES.items():
            self.owner.put("harbour", path, text.encode()).ok()
        self.ref = Ref(TenantId(self.owner.get("/tenant").ok()["id"]), ProjectId(made["id"]))

    def at(self, other: Running) -> Harbour:
        """The same through another node."""
        made = Harbour(other, other.client(self.owner.key))
        made.ref = self.ref
        return made

    def search(self, query: str) -> Any:
        return self.owner.post("/projects/harbour/search", {"query": query, "limit": 50}).ok()

    def answers(self) -> list[Any]:
        return [self.search(query) for query in QUESTIONS]

    def forget_index(self) -> None:
        """Be a node that has never been asked."""
        self.node.cloud.readers.forget(self.ref)

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.node.cloud.readers.checkpoints.outcomes)

    def look(self) -> None:
        """Look whether the checkpoint is near enough, without waiting for the time to."""
        readers = self.node.cloud.readers
        self.node.run(readers.checkpoints.look(self.ref, readers.trees.tree))

    def names(self) -> list[str]:
        async def ask() -> list[str]:
            listed = self.node.cloud.store.list(stored.folder(self.ref.tenant, self.ref.project))
            return [each.name async for each in listed]

        return self.node.run(ask())

    def whole(self) -> int:
        return sum(name.endswith("/head") for name in self.names())

    def read(self, name: str) -> bytes:
        return self.node.run(self.node.cloud.store.get(name))

    def write(self, name: str, data: bytes) -> None:
        self.node.run(self.node.cloud.store.put(name, data))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of everything that is read of stores."""
    names: list[str] = []
    get = OutageStore.get

    async def noting(self: OutageStore, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        names.append(name)
        return await get(self, name, offset=offset, length=length)

    monkeypatch.setattr(OutageStore, "get", noting)
    return names


def packs(names: list[str]) -> int:
    return sum("/packs/" in name for name in names)


@pytest.mark.promise("P2")
def test_a_cold_node_begins_with_the_checkpoint_reads_the_difference_alone_and_answers_the_same(
    harbour: Harbour, read: list[str]
) -> None:
    before, said = harbour.answers(), harbour.outcomes
    harbour.forget_index()
    read.clear()
    assert harbour.answers() == before
    assert (packs(read), harbour.outcomes["used"]) == (0, said["used"] + 1)
    harbour.owner.put("harbour", "new.md", b"# New\n\nA derrick, no crane.\n").ok()
    harbour.forget_index()
    read.clear()
    assert [hit["path"] for hit in harbour.search("derrick")["hits"]] == ["new.md"]
    assert (packs(read), harbour.outcomes["used"]) == (1, said["used"] + 2)
    cold = harbour.answers()
    harbour.node.run(harbour.node.cloud.store.delete(next(name for name in harbour.names() if "head" in name)))
    harbour.forget_index()
    read.clear()
    assert harbour.answers() == cold
    assert packs(read) == len(FILES) + 1  # each was put alone: without a checkpoint all are read


@pytest.mark.promise("P2")
def test_of_two_nodes_the_cold_one_reads_no_pack_but_that_of_the_commit_made_since(
    postgres: Postgres, seaweedfs: Bucket, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.env.items():
        monkeypatch.setenv(name, value)
    common = {"database_url": postgres.url, "store_url": seaweedfs.url, "root_key": tmp_path / "root.key"}
    common |= {"index_checkpoint_bytes": 1, "store_cache_bytes": 0}
    with ExitStack() as nodes:
        warm = nodes.enter_context(serving(tmp_path / "a", **common))
        harbour = Harbour(warm, warm.tenant("harbour"))
        harbour.fill()
        before = harbour.answers()
        until(lambda: harbour.whole() == 1)
        cold = harbour.at(nodes.enter_context(serving(tmp_path / "b", **common)))
        read.clear()
        assert cold.answers() == before
        assert (packs(read), cold.outcomes["used"]) == (0, 1)
        harbour.owner.put("harbour", "new.md", b"# New\n\nA derrick, no crane.\n").ok()
        assert [hit["path"] for hit in cold.search("derrick")["hits"]] == ["new.md"]
        assert cold.answers() == harbour.answers()
        cold.forget_index()  # and again, where the checkpoint is behind the head
        read.clear()
        assert cold.answers() == harbour.answers()
        assert (packs(read), cold.outcomes["used"]) == (1, 2)
        harbour.owner.post("/projects/harbour/purge", {"paths": ["docs/7.md"]}).ok()
        assert harbour.names() == []
        assert not cold.search("lifts 7 -tide")["hits"]
        assert cold.search('"lifts 7"')["hits"] == []


@pytest.mark.promise("P5")
def test_nothing_that_is_changed_in_the_bucket_opens_and_the_index_is_built_without(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "PIECE_BYTES", 16_384)
    head, first, second, last = _parts(_again(harbour))
    before, whole = harbour.answers(), {name: harbour.read(name) for name in (head, first, second, last)}
    # magic, version, algorithm, zero, epoch, index, count, length, salt, key check, ciphertext, tag
    places = (0, 4, 5, 6, 11, 15, 19, 27, 28, 60, 76, -1)
    changed = [(second, _flipped(whole[second], at)) for at in places]
    changed += [(head, _flipped(whole[head], at)) for at in (0, 11, 76)]
    changed += [(last, b""), (last, whole[last][:-1]), (last, whole[last] + b"\0"), (head, whole[first])]
    changed += [(first, whole[second]), (second, whole[first]), (second, whole[last])]
    for name, data in changed:
        failed = harbour.outcomes["failed"]
        for each, sound in whole.items():
            harbour.write(each, data if each == name else sound)
        harbour.forget_index()
        assert harbour.search("crane") == before[0]
        assert harbour.outcomes["failed"] == failed + 1, (name, data[:80])
    harbour.look()
    assert harbour.whole() == 1  # another, in place of the one that was damaged
    assert head not in harbour.names()
    used = harbour.outcomes["used"]
    harbour.forget_index()
    assert (harbour.answers(), harbour.outcomes["used"]) == (before, used + 1)


def _flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def _again(harbour: Harbour) -> list[str]:
    """The names of a checkpoint made anew."""
    for name in harbour.names():
        harbour.node.run(harbour.node.cloud.store.delete(name))
    harbour.look()
    return harbour.names()


def _parts(names: list[str]) -> tuple[str, str, str, str]:
    """The head, the first two pieces and the last one."""
    ordered = sorted((name for name in names if name[-1].isdecimal()), key=lambda name: int(name.rpartition("/")[2]))
    assert len(ordered) > 2
    return next(name for name in names if name.endswith("/head")), ordered[0], ordered[1], ordered[-1]


@pytest.mark.promise("P5")
def test_a_checkpoint_of_another_project_or_tenant_is_of_no_use(harbour: Harbour, server: Running) -> None:
    other = Harbour(server, server.tenant("thief"))
    other.fill()
    theirs = stored.folder(harbour.ref.tenant, harbour.ref.project)
    own = stored.folder(other.ref.tenant, other.ref.project)
    for name in harbour.names():
        other.write(name.replace(theirs, own), harbour.read(name))
    failed, used = other.outcomes["failed"], other.outcomes["used"]
    assert other.search("crane")["total"] == len(FILES)
    assert (other.outcomes["failed"], other.outcomes["used"]) == (failed + 1, used)


def test_a_piece_that_is_missing_or_a_store_that_fails_only_costs_a_build(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = harbour.answers()
    harbour.node.run(harbour.node.cloud.store.delete(next(name for name in harbour.names() if name[-1] == "0")))
    harbour.forget_index()
    assert harbour.answers() == before
    assert harbour.whole() == 0

    async def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    harbour.look()
    monkeypatch.setattr(Checkpoints, "piece", full)
    harbour.forget_index()
    assert harbour.answers() == before
    assert harbour.whole() == 1  # it is sound: the disk was not


def test_another_is_made_when_a_quarter_of_the_text_came_since_and_one_is_kept(harbour: Harbour) -> None:
    [before] = {name.split("/")[5] for name in harbour.names()}
    harbour.owner.put("harbour", "small.md", b"# Small\n").ok()
    harbour.search("small")
    harbour.look()
    assert {name.split("/")[5] for name in harbour.names()} == {before}
    harbour.owner.put("harbour", "large.md", b"# Large\n\n" + b"The crane is large.\n" * 40).ok()
    harbour.look()  # the index is not at the head: not now
    assert {name.split("/")[5] for name in harbour.names()} == {before}
    harbour.search("large")
    harbour.look()
    [after] = {name.split("/")[5] for name in harbour.names()}
    assert after != before


def test_a_project_is_looked_at_once_in_so_long_and_not_forgotten(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = harbour.node.cloud.readers.checkpoints
    looked: list[Ref] = []

    async def look(ref: Ref, _tree_of: object) -> None:
        looked.append(ref)

    monkeypatch.setattr(checkpointer, "look", look)

    def brought() -> None:
        harbour.node.loop.call_soon_threadsafe(checkpointer.brought, harbour.ref)
        harbour.node.run(asyncio.sleep(0))

    checkpointer._due.clear()
    brought()  # the fixture's look is not long ago
    assert (looked, harbour.ref in checkpointer._due) == ([], True)
    monkeypatch.setattr(checkpointing, "AGAIN_SECONDS", 0.0)
    checkpointer._due.clear()
    brought()
    until(lambda: looked == [harbour.ref])
    assert checkpointer._due == {}


@pytest.mark.promise("P9")
def test_a_purge_deletes_every_checkpoint_and_one_put_back_is_not_believed(harbour: Harbour) -> None:
    whole = {name: harbour.read(name) for name in harbour.names()}
    harbour.owner.post("/projects/harbour/purge", {"paths": ["docs/3.md"]}).ok()
    assert harbour.names() == []
    used = harbour.outcomes["used"]
    for name, data in whole.items():
        harbour.write(name, data)  # as by a node that was stopped on its way
    assert harbour.search('"lifts 3"')["hits"] == []
    assert harbour.outcomes["used"] == used
    harbour.node.run(collect_all(harbour.node.cloud))
    assert not whole.keys() & set(harbour.names())
    again = {name.split("/")[5] for name in harbour.names()}
    assert len(again) <= 1  # made by the node meanwhile, of what is left
    for name, data in whole.items():
        harbour.write(name, data)
    harbour.look()
    assert not whole.keys() & set(harbour.names())


@pytest.mark.promise("P9")
@pytest.mark.parametrize("when", ["before the pieces", "after the head"])
def test_a_purge_while_a_checkpoint_is_written_leaves_none_with_what_it_removed(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    _empty(harbour)
    put = Checkpoints.put
    wrote: list[object] = []

    async def slowly(self: Checkpoints, *given: Any) -> None:
        if when == "after the head":
            await put(self, *given)
        body = {"paths": ["docs/5.md"]}
        (await asyncio.to_thread(harbour.owner.post, "/projects/harbour/purge", body)).ok()
        if when == "before the pieces":
            await put(self, *given)
        wrote.append(given)

    monkeypatch.setattr(Checkpoints, "put", slowly)
    harbour.look()
    assert len(wrote) == 1
    assert harbour.names() == []


def _empty(harbour: Harbour) -> None:
    for name in harbour.names():
        harbour.node.run(harbour.node.cloud.store.delete(name))


def test_a_purge_while_a_cold_node_fetches_leaves_no_index_with_what_it_removed(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece, purged = Checkpoints.piece, list[object]()
    used = harbour.outcomes["used"]

    async def slowly(self: Checkpoints, *given: Any) -> bytes:
        found = await piece(self, *given)
        if not purged:
            purged.append(given)
            body = {"paths": ["docs/5.md"]}
            (await asyncio.to_thread(harbour.owner.post, "/projects/harbour/purge", body)).ok()
        return found

    monkeypatch.setattr(Checkpoints, "piece", slowly)
    harbour.forget_index()
    harbour.owner.post("/projects/harbour/search", {"query": "crane"})  # of a version that held it, if it is answered
    assert purged
    assert harbour.search('"lifts 5"')["hits"] == []
    assert harbour.outcomes["used"] == used


def test_when_the_tenants_key_changes_a_checkpoint_of_the_old_one_goes(harbour: Harbour) -> None:
    before, names, used = harbour.answers(), harbour.names(), harbour.outcomes["used"]
    harbour.node.run(harbour.node.cloud.keyring.begin_epoch(harbour.ref.tenant))
    harbour.forget_index()
    assert (harbour.answers(), harbour.outcomes["used"]) == (before, used)
    harbour.look()
    assert harbour.whole() == 1
    assert not set(names) & set(harbour.names())
    harbour.forget_index()
    assert (harbour.answers(), harbour.outcomes["used"]) == (before, used + 1)


def test_one_of_a_newer_index_format_is_left_to_newer_servers(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the nodes of an installation are replaced one by one."""
    before, used = harbour.answers(), harbour.outcomes["used"]
    monkeypatch.setattr(checkpointing, "INDEX_FORMAT", 99)
    names = _again(harbour)
    monkeypatch.undo()
    harbour.forget_index()
    assert (harbour.answers(), harbour.outcomes["used"]) == (before, used)
    harbour.look()
    assert harbour.names() == names


@pytest.mark.parametrize("from_bytes", [0, 1_000_000])
def test_small_projects_and_a_server_told_not_to_have_none(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch, from_bytes: int
) -> None:
    checkpointer = harbour.node.cloud.readers.checkpoints
    used = harbour.outcomes["used"]
    monkeypatch.setattr(checkpointer, "_from_bytes", from_bytes)
    checkpointer._due.clear()
    harbour.forget_index()
    harbour.search("crane")
    assert (harbour.outcomes["used"], checkpointer._due) == (used, {})
    _empty(harbour)
    harbour.look()
    assert harbour.names() == []


def test_none_is_made_where_the_disk_for_indexes_has_no_room_for_it(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    _empty(harbour)
    indexes = harbour.node.cloud.indexes
    used = indexes.bytes_used
    monkeypatch.setattr(indexes, "_max_bytes", used + 10_000)
    harbour.look()
    assert (harbour.names(), indexes.bytes_used) == ([], used)
    folder = harbour.node.settings.data / "cache" / "index" / harbour.ref.tenant / harbour.ref.project
    assert not list(folder.glob("*.part*"))


@pytest.mark.promise("P9")
def test_what_expired_goes_from_the_checkpoint_with_the_next_collect(harbour: Harbour) -> None:
    names = harbour.names()
    etag = harbour.owner.get("/projects/harbour/artifacts/docs/1.md").headers["etag"]
    harbour.owner.put("harbour", "docs/1.md", b"# Other\n", etag).ok()
    harbour.owner.send("PATCH", "/tenant", {"settings": {"retention": {"versions": 1}}}).ok()
    harbour.node.run(collect_all(harbour.node.cloud))
    assert not set(names) & set(harbour.names())
