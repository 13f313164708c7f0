from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from satchel.catalog import packs, projects, quotas, versions
from satchel.catalog.scope import Scope
from satchel.catalog.turns import TenantTurns
from satchel.errors import (
    CredentialInvalid,
    FrameRefused,
    HeadMoved,
    IdempotencyReused,
    InvalidInput,
    NoSuchArtifact,
    ObjectsMissing,
    PathRefused,
    PreconditionFailed,
    QuotaReached,
    SatchelError,
    TooLarge,
    TooManyRequests,
)
from satchel.objects.frame import Frame, make_frames
from satchel.objects.ids import Digest, Lineage, ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.objects.record import decode_record
from satchel.sync import intake, receive
from satchel.sync.peer import Committed, Head
from satchel.sync.receive import Limits
from satchel.sync.wire import LIKELY_CHANGE_BYTES, Parent, Sent, encode_preamble
from tests.sync.cloud import Cloud, InProcessPeer


@pytest.fixture
def peer(cloud: Cloud, tenant: TenantId, project: ProjectId) -> InProcessPeer:
    return cloud.peer(tenant)


def entry(text: str, mode: str = "100644") -> Entry:
    return Entry(mode, object_id(text.encode()))


class Commit:
    """A commit of these files on top of a head, and the stream that sends it."""

    def __init__(self, head: Head, before: dict[str, str], changes: dict[str, str | None]) -> None:
        after = {path: text for path, text in {**before, **changes}.items() if text is not None}
        self.parent = Parent(*head)
        self.digest = digest({path: entry(text) for path, text in after.items()})
        self.changes = [
            Sent(path, None) if text is None else Sent(path, entry(text), len(text.encode()))
            for path, text in changes.items()
        ]
        self.contents = [text.encode() for text in changes.values() if text is not None]

    def stream(self, contents: Sequence[bytes] | None = None, frames: Sequence[Frame] | None = None) -> list[bytes]:
        given = self.contents if contents is None else contents
        made = list(make_frames((object_id(data), data) for data in given)) if frames is None else frames
        start = [*encode_preamble(self.parent, self.digest, self.changes), encode_pack_start()]
        return [*start, *map(encode_frame, made), encode_pack_end(len(made))]

    def send(
        self,
        peer: InProcessPeer,
        key: str = "key",
        *,
        contents: Sequence[bytes] | None = None,
        frames: Sequence[Frame] | None = None,
    ) -> object:
        stream = self.stream(contents, frames)
        return peer.sync("acme", stream, sum(map(len, stream)), key)


FIRST = {"README.md": "# Acme\n", "plan.md": "---\nkind: plan\n---\n# The plan\n"}


def first(peer: InProcessPeer) -> Head:
    Commit(peer.head("acme"), {}, dict(FIRST)).send(peer, "first")
    return peer.head("acme")


def test_a_commit_is_described_recorded_confirmed_and_audited(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, project: ProjectId
) -> None:
    head = first(peer)

    async def look() -> None:
        async with cloud.catalog.read(tenant) as s:
            rows = {row.path: (row.kind, row.title, row.author) for row in await versions.tree(s, project)}
            made = await versions.version(s, project, 1)
        assert rows == {"README.md": ("note", "Acme", "Ann"), "plan.md": ("plan", "The plan", "Ann")}
        confirmed = await cloud.vault.confirmed_head(tenant, project, head.lineage, 1)
        assert confirmed == made.record
        record = decode_record(await cloud.vault.get_record(tenant, project, made.record))
        assert (record.version, record.digest, record.parent) == (1, head.digest, None)
        assert {change.path for change in record.changes} == set(FIRST)
        assert {slot.object for pack in record.packs for frame in pack.frames for slot in frame.table} == {
            object_id(text.encode()) for text in FIRST.values()
        }

    cloud.wait(look())
    assert [(row.action, row.result, row.principal_name) for row in cloud.audited(tenant)] == [("sync", "done", "Ann")]
    assert cloud.verify(tenant, project).clean


def test_records_form_a_chain_and_every_64th_holds_the_listing(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, project: ProjectId
) -> None:
    for number in range(66):
        peer.write("acme", f"{number}.md", b"%d" % number, "*absent")

    async def look() -> None:
        async with cloud.catalog.read(tenant) as s:
            rows = await versions.versions(s, project, limit=100)
        records = [decode_record(await cloud.vault.get_record(tenant, project, row.record)) for row in reversed(rows)]
        assert [record.version for record in records] == list(range(1, 67))
        for older, newer in itertools.pairwise(records):
            assert newer.parent is not None
            assert newer.parent.id == older.id
        assert [record.version for record in records if record.listing] == [64]

    cloud.wait(look())


@pytest.mark.promise("P4")
def test_a_commit_after_the_head_moved_is_refused_and_leaves_nothing(cloud: Cloud, peer: InProcessPeer) -> None:
    old = peer.head("acme")
    now = first(peer)
    stored = cloud.stored()
    with pytest.raises(HeadMoved) as refused:
        Commit(old, {}, {"late.md": "late\n"}).send(peer)
    assert refused.value.facts == now._asdict()
    assert (peer.head("acme"), cloud.stored()) == (now, stored)


@pytest.mark.promise("P4")
def test_of_many_commits_at_once_on_one_head_exactly_one_wins(cloud: Cloud, peer: InProcessPeer) -> None:
    head = first(peer)

    async def all_at_once() -> list[object]:
        sends = []
        for number in range(12):
            stream = Commit(head, dict(FIRST), {f"{number}.md": f"{number}\n"}).stream()
            sends.append(peer._sync("acme", stream, 1 << 20, f"key-{number}"))
        return await asyncio.gather(*sends, return_exceptions=True)

    results = cloud.wait(all_at_once())
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, HeadMoved) for result in results) == 11
    assert peer.head("acme").version == 2


@pytest.mark.promise("P7")
def test_the_same_request_sent_twice_is_done_once_and_answered_twice(cloud: Cloud, peer: InProcessPeer) -> None:
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    answer = commit.send(peer)
    stored = cloud.stored()
    assert commit.send(peer) == answer
    assert (peer.head("acme").version, cloud.stored()) == (1, stored)
    with pytest.raises(IdempotencyReused):
        Commit(peer.head("acme"), dict(FIRST), {"other.md": "other\n"}).send(peer)


@pytest.mark.promise("P7")
def test_the_same_request_sent_twice_at_once_is_done_once(cloud: Cloud, peer: InProcessPeer) -> None:
    stream = Commit(peer.head("acme"), {}, dict(FIRST)).stream()

    async def twice() -> list[object]:
        return await asyncio.gather(*(peer._sync("acme", stream, 1 << 20, "key") for _ in range(2)))

    one, other = cloud.wait(twice())
    assert one == other
    assert len([name for name in cloud.stored() if "/packs/" in name]) == 1


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ([Sent("a.md", entry("a"), 8)], InvalidInput),  # another size than the content has
        ([Sent("a.md", entry("a"), 9 << 20)], TooLarge),
        ([Sent("gone.md", None)], InvalidInput),
        ([], InvalidInput),
        ([Sent("a.md", entry("a"), 1), Sent("a.md/b", entry("b"), 1)], PathRefused),
        ([Sent("A.md", entry("a"), 1), Sent("a.md", entry("b"), 1)], PathRefused),
    ],
)
def test_changes_that_cannot_be_are_refused_before_content_is_kept(
    cloud: Cloud, peer: InProcessPeer, changes: list[Sent], error: type[SatchelError]
) -> None:
    commit = Commit(peer.head("acme"), {}, {})
    commit.changes = changes
    commit.digest = digest({path: held for path, held, _ in changes if held is not None})
    stored = cloud.stored()
    with pytest.raises(error):
        commit.send(peer, contents=[b"a", b"b"][: max(1, len(changes))])
    assert (peer.head("acme").version, cloud.stored()) == (0, stored)


def test_a_digest_that_the_changes_do_not_lead_to_is_refused(peer: InProcessPeer) -> None:
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    commit.digest = Digest("0" * 64)
    with pytest.raises(InvalidInput):
        commit.send(peer)


def test_content_that_no_change_names_is_refused(cloud: Cloud, peer: InProcessPeer) -> None:
    stored = cloud.stored()
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    with pytest.raises(InvalidInput):
        commit.send(peer, contents=[*commit.contents, b"smuggled"])
    assert cloud.stored() == stored


def test_content_with_another_hash_is_refused(cloud: Cloud, peer: InProcessPeer) -> None:
    stored = cloud.stored()
    commit = Commit(peer.head("acme"), {}, {"a.md": "expected"})
    (frame,) = make_frames([(object_id(b"expected"), b"wrong!!!")])
    with pytest.raises(FrameRefused):
        commit.send(peer, frames=[frame])
    assert cloud.stored() == stored


def test_objects_that_were_neither_sent_nor_there_are_named(peer: InProcessPeer) -> None:
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    with pytest.raises(ObjectsMissing) as refused:
        commit.send(peer, contents=commit.contents[:1])
    assert refused.value.facts["objects"] == [object_id(commit.contents[1])]


@pytest.mark.promise("P5")
def test_an_object_of_another_project_does_not_count_as_there(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId
) -> None:
    first(peer)
    cloud.project(tenant, "other")
    commit = Commit(peer.head("other"), {}, {"README.md": FIRST["README.md"]})
    with pytest.raises(ObjectsMissing):
        peer.sync("other", commit.stream(contents=[]), 1 << 20, "key")


@pytest.mark.promise("P8")
@pytest.mark.parametrize("keep", [0, 20, 300, -30])
def test_a_body_cut_off_changes_nothing(cloud: Cloud, peer: InProcessPeer, keep: int) -> None:
    stored = cloud.stored()
    body = b"".join(Commit(peer.head("acme"), {}, {"a.md": "x" * 400}).stream())
    with pytest.raises((InvalidInput, FrameRefused)):
        peer.sync("acme", [body[:keep]], 1 << 20, "key")
    assert (peer.head("acme").version, cloud.stored()) == (0, stored)


@pytest.mark.promise("P8")
def test_more_bytes_than_declared_are_refused(cloud: Cloud, peer: InProcessPeer) -> None:
    stored = cloud.stored()
    stream = Commit(peer.head("acme"), {}, {"a.md": os.urandom(3 << 20).hex()}).stream()
    with pytest.raises(TooLarge):
        peer.sync("acme", stream, sum(map(len, stream)) - 1, "key")
    assert cloud.stored() == stored


@pytest.mark.promise("P8")
def test_memory_does_not_grow_with_the_body(cloud: Cloud, peer: InProcessPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two frames are being worked on while the rest of the body waits at the sender."""
    from satchel.sync.intake import Intake

    taken = done = most = 0
    real_take, real_work = Intake.take, Intake._work

    async def take(self: Intake, frames: list[Frame]) -> None:
        nonlocal taken, most
        taken += len(frames)
        await real_take(self, frames)
        most = max(most, taken - done)

    async def work(self: Intake, frames: list[Frame]) -> None:
        nonlocal done
        await real_work(self, frames)
        done += len(frames)

    monkeypatch.setattr(Intake, "take", take)
    monkeypatch.setattr(Intake, "_work", work)
    files = {f"{n}.bin": os.urandom(500_000).hex() for n in range(12)}
    Commit(peer.head("acme"), {}, dict(files)).send(peer)
    assert taken == 12
    assert most <= 2


def test_a_full_quota_refuses_before_and_inside_the_transaction(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId
) -> None:
    async def limit(to: int) -> None:
        async with cloud.catalog.directory(write=True) as d:
            s = d.enter(tenant)
            await quotas.set_limits(s, (await quotas.limits(s))._replace(storage_bytes=to))

    stored = cloud.stored()
    cloud.wait(limit(100))
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    with pytest.raises(QuotaReached):
        commit.send(peer)
    with pytest.raises(QuotaReached):
        peer.write("acme", "a.md", os.urandom(200), "*absent")
    assert {name for name in cloud.stored() - stored if "/packs/" in name} == set()
    cloud.wait(limit(1_000_000))
    commit.send(peer)
    assert peer.head("acme").version == 1


@pytest.mark.promise("P5")
def test_a_right_lost_during_the_upload_stops_the_commit(cloud: Cloud, peer: InProcessPeer) -> None:
    async def revoked(s: Scope) -> None:
        raise CredentialInvalid("revoked meanwhile")

    stored = cloud.stored()
    cloud.guard = revoked
    with pytest.raises(CredentialInvalid):
        Commit(peer.head("acme"), {}, dict(FIRST)).send(peer)
    assert peer.head("acme").version == 0
    assert {name for name in cloud.stored() - stored if "/packs/" in name} == set()


@pytest.mark.promise("P8")
def test_content_sent_ahead_is_bounded_in_objects_and_not_in_bytes_alone(
    peer: InProcessPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_OBJECTS", 2)
    frames = list(make_frames((object_id(data), data) for data in (b"a", b"b", b"c")))
    ahead = [*encode_preamble(None, None, []), encode_pack_start(), *map(encode_frame, frames)]
    with pytest.raises(TooLarge):
        peer.packs("acme", [*ahead, encode_pack_end(len(frames))], 1 << 20)


@pytest.mark.promise("P7")
def test_an_object_that_a_stream_brings_again_is_kept_once(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, project: ProjectId
) -> None:
    long = "\n".join(map(str, range(300_000)))
    commit = Commit(peer.head("acme"), {}, {"a.md": "a", "b.md": "b", "c.md": "c", "long.txt": long})
    a, b, c, whole = ((object_id(data), data) for data in commit.contents)
    frames = [frame for some in ([a, b], [whole], [a, b], [whole], [b, c], [c]) for frame in make_frames(some)]
    commit.send(peer, frames=frames)
    assert peer.content("acme", "c.md") == b"c"
    assert cloud.verify(tenant, project).clean

    async def places() -> list[str]:
        async with cloud.catalog.read(tenant) as s:
            return [row.object for row in await packs.available(s, project, [a[0], b[0], c[0]])]

    assert sorted(cloud.wait(places())) == sorted([a[0], b[0], c[0]])


@pytest.mark.promise("P8")
def test_what_a_push_keeps_is_weighed_before_its_content_comes(
    cloud: Cloud, peer: InProcessPeer, project: ProjectId
) -> None:
    commit, told = Commit(peer.head("acme"), {}, dict(FIRST)), []

    async def weigh(total: int) -> None:
        told.append(total)
        if total > 2 * LIKELY_CHANGE_BYTES:
            raise TooManyRequests("no room", retry_after=1)

    async def send(some: Commit) -> None:
        stream = some.stream()

        async def body() -> AsyncIterator[bytes]:
            for piece in stream:
                yield piece

        caller = peer.caller()._replace(weigh=weigh)
        await cloud.receiver.sync(caller, project, body(), sum(map(len, stream)), None)

    heavy = Commit(peer.head("acme"), {}, {**FIRST, "x" * 900: "long"})
    with pytest.raises(TooManyRequests):
        cloud.wait(send(heavy))
    assert peer.head("acme").version == 0
    cloud.wait(send(commit))
    assert max(told) > 2 * LIKELY_CHANGE_BYTES
    assert peer.head("acme").version == 1


@pytest.mark.promise("P7")
def test_a_request_whose_twin_was_done_while_its_content_came_gets_the_same_answer(
    cloud: Cloud, peer: InProcessPeer, project: ProjectId
) -> None:
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    stream = commit.stream()
    size = sum(map(len, stream))

    async def whole() -> AsyncIterator[bytes]:
        for piece in stream:
            yield piece

    async def broken_in_on() -> AsyncIterator[bytes]:
        for piece in stream[:-1]:
            yield piece
        twins.append(await cloud.receiver.sync(peer.caller(), project, whole(), size, "key"))
        yield stream[-1]

    twins: list[Committed] = []
    answer = cloud.wait(cloud.receiver.sync(peer.caller(), project, broken_in_on(), size, "key"))
    assert [answer] == twins
    assert peer.head("acme").version == 1


def test_the_hash_of_a_request_is_that_of_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compared with what a server of before saved, and made of parts."""
    monkeypatch.setattr(receive, "ROWS_PER_BLOCK", 2)
    for count in range(6):
        commit = Commit(
            Head(Lineage("lin_a"), 0, digest({})), {}, {f"é{n}.md": "x" if n % 2 else None for n in range(count)}
        )
        rows = [[c.path] if c.entry is None else [c.path, *c.entry, c.size] for c in commit.changes]
        said = json.dumps([list(commit.parent), commit.digest, rows], ensure_ascii=False, separators=(",", ":"))
        assert receive._said(commit.parent, commit.digest, commit.changes) == hashlib.sha256(said.encode()).hexdigest()


def test_content_sent_ahead_is_committed_by_name(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, project: ProjectId
) -> None:
    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    frames = list(make_frames((object_id(data), data) for data in commit.contents))
    ahead = [*encode_preamble(None, None, []), encode_pack_start(), *map(encode_frame, frames)]
    kept = peer.packs("acme", [*ahead, encode_pack_end(len(frames))], 1 << 20)
    assert (kept.packs, kept.objects) == (1, 2)
    assert peer.head("acme").version == 0
    done = peer.commit("acme", commit.parent, commit.digest, commit.changes)
    assert (done.version, done.added) == (1, 2)
    assert peer.content("acme", "README.md") == FIRST["README.md"].encode()
    assert cloud.verify(tenant, project).clean

    async def record_names_the_pack() -> bool:
        async with cloud.catalog.read(tenant) as s:
            made = await versions.version(s, project, 1)
        return len(decode_record(await cloud.vault.get_record(tenant, project, made.record)).packs) == 1

    assert cloud.wait(record_names_the_pack())


def test_a_large_object_travels_in_parts(cloud: Cloud, peer: InProcessPeer) -> None:
    data = os.urandom(2_000_000).hex()
    Commit(peer.head("acme"), {}, {"big.txt": data, "small.md": "small\n"}).send(peer)
    assert peer.content("acme", "big.txt") == data.encode()


def test_one_artifact_is_written_replaced_and_deleted(peer: InProcessPeer) -> None:
    made = peer.write("acme", "a.md", b"one", "*absent")
    assert (made.version, made.added) == (1, 1)
    assert peer.write("acme", "a.md", b"two", object_id(b"one")).changed == 1
    assert peer.write("acme", "a.md", b"two", "*present").version == 2  # nothing to do: no version
    assert peer.content("acme", "a.md") == b"two"
    assert peer.content("acme", "a.md", at=1) == b"one"
    assert peer.write("acme", "a.md", None, object_id(b"two")).deleted == 1
    assert peer.head("acme").digest == digest({})


@pytest.mark.parametrize("precondition", ["*absent", "0" * 64])
def test_a_write_whose_precondition_fails_changes_nothing(peer: InProcessPeer, precondition: str) -> None:
    peer.write("acme", "a.md", b"one", "*absent")
    with pytest.raises(PreconditionFailed):
        peer.write("acme", "a.md", b"two", precondition)
    with pytest.raises(PreconditionFailed):
        peer.write("acme", "b.md", b"two", "*present")
    with pytest.raises(NoSuchArtifact):
        peer.write("acme", "b.md", None, "*present")
    assert peer.head("acme").version == 1


@pytest.mark.promise("P7")
def test_a_write_sent_twice_is_done_once(peer: InProcessPeer) -> None:
    one = peer.write("acme", "a.md", b"one", "*absent", key="k")
    assert peer.write("acme", "a.md", b"one", "*absent", key="k") == one
    with pytest.raises(IdempotencyReused):
        peer.write("acme", "a.md", b"other", "*absent", key="k")


@pytest.mark.promise("P4")
def test_writers_of_different_artifacts_do_not_disturb_each_other(cloud: Cloud, peer: InProcessPeer) -> None:
    cloud.receiver._writers = TenantTurns(1, 60)  # thirty after one another may take long on a busy machine

    async def at_once() -> None:
        writes = [
            cloud.receiver.write(peer.caller(), project, f"{n}.md", b"%d" % n, None, "*absent", None) for n in range(30)
        ]
        await asyncio.gather(*writes)

    async def find() -> ProjectId:
        async with cloud.catalog.read(peer.tenant) as s:
            row = await projects.get(s, "acme")
            assert row is not None
            return row.id

    project = cloud.wait(find())
    cloud.wait(at_once())
    assert peer.head("acme").version == 30


def test_the_manifest_s_relations_follow_its_commit(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, project: ProjectId
) -> None:
    async def relations() -> list[tuple[str, str]]:
        async with cloud.catalog.read(tenant) as s:
            return [tuple(row) for row in await projects.relations(s, project)]  # type: ignore[misc]

    text = b'{"relations": [{"type": "part-of", "project": "platform"}]}'
    peer.write("acme", "context.json", text, "*absent")
    assert cloud.wait(relations()) == [("part-of", "platform")]
    peer.write("acme", "context.json", b"{not json", "*present")
    assert cloud.wait(relations()) == []


def test_a_receiver_that_starts_anew_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    cloud = Cloud(tmp_path / "server", Limits())
    tenant = cloud.tenant("acme")
    project = cloud.project(tenant)
    first(cloud.peer(tenant))
    cloud.close()
    cloud = Cloud(tmp_path / "server")
    peer = cloud.peer(tenant)
    Commit(peer.head("acme"), dict(FIRST), {"README.md": None, "moved.md": FIRST["README.md"]}).send(peer)
    assert peer.head("acme").version == 2
    assert cloud.verify(tenant, project).clean
    cloud.close()


@pytest.mark.promise("P3")
def test_packs_stay_when_the_head_cannot_be_confirmed_after_the_commit(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*rest: object) -> None:
        raise OSError("the store went away")

    commit = Commit(peer.head("acme"), {}, dict(FIRST))
    monkeypatch.setattr(cloud.vault, "confirm_head", fails)
    with pytest.raises(OSError, match="went away"):
        commit.send(peer)
    monkeypatch.undo()
    assert peer.content("acme", "README.md") == FIRST["README.md"].encode()
    answer = commit.send(peer)  # sent again it is answered, and the confirmation is made up for
    head = peer.head("acme")
    assert getattr(answer, "version", None) == head.version == 1
    assert cloud.wait(cloud.vault.confirmed_head(tenant, project, head.lineage, 1)) is not None


@pytest.mark.promise("P3")
def test_a_sender_that_goes_away_in_the_middle_leaves_only_what_the_catalog_names(
    cloud: Cloud, peer: InProcessPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = cloud.stored()
    pieces = Commit(peer.head("acme"), {}, {f"{n}.bin": os.urandom(600_000).hex() for n in range(16)}).stream()
    real = cloud.store.put

    async def hangs_up() -> None:
        a_pack_was_put = asyncio.Event()

        async def put(name: str, data: bytes, *, create: bool = False) -> None:
            await real(name, data, create=create)
            a_pack_was_put.set()

        async def body() -> AsyncIterator[bytes]:
            for piece in pieces[:-2]:
                yield piece
            await asyncio.Event().wait()

        monkeypatch.setattr(cloud.store, "put", put)
        row = await peer._row("acme")
        work = asyncio.create_task(cloud.receiver.sync(peer.caller(), row.id, body(), 1 << 30, "key"))
        await a_pack_was_put.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    cloud.wait(hangs_up())
    [row] = [row for row in cloud.audited(peer.tenant) if row.action == "packs"]
    assert len(cloud.stored() - stored) == int(row.target.split()[1])  # kept for a day: the sender may go on


def test_many_files_of_one_content_are_no_more_work_than_as_many_contents() -> None:
    changes = [Sent(f"{number}.md", Entry("100644", object_id(b"")), 0) for number in range(30_000)]
    before = time.process_time()
    wanted = intake.Wanted(changes)
    assert time.process_time() - before < 1  # 0.01 s; what grows with the square of it took 4
    assert [sent for _, sent in wanted.undescribed()] == changes
    with pytest.raises(InvalidInput, match="two sizes"):
        intake.Wanted([*changes[:2], changes[2]._replace(size=1)])
