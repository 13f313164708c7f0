"""A request holds room for its content from before it comes until it counts, and not a moment longer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable

import pytest

from satchel.catalog import quotas, reservations
from satchel.catalog.scope import Scope
from satchel.errors import CredentialInvalid, QuotaReached
from satchel.objects.frame import make_frames
from satchel.objects.ids import TenantId, object_id
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync.peer import Head, NearQuota
from satchel.sync.wire import encode_preamble
from tests.sync.cloud import Cloud, InProcessPeer
from tests.sync.test_receive import Commit

pytestmark = pytest.mark.promise("P8")


@pytest.fixture
def peer(cloud: Cloud, tenant: TenantId, project: str) -> InProcessPeer:
    return cloud.peer(tenant)


def limit(cloud: Cloud, tenant: TenantId, **to: int) -> None:
    async def change() -> None:
        async with cloud.catalog.write(tenant) as s:
            await quotas.set_limits(s, (await quotas.limits(s))._replace(**to))

    cloud.wait(change())


async def held(cloud: Cloud, tenant: TenantId) -> int:
    async with cloud.catalog.read(tenant) as s:
        return await reservations.reserved(s, cloud.clock())


def used(cloud: Cloud, tenant: TenantId) -> quotas.Usage:
    async def look() -> quotas.Usage:
        async with cloud.catalog.read(tenant) as s:
            return await quotas.usage(s)

    return cloud.wait(look())


def packs_in(cloud: Cloud) -> set[str]:
    return {name for name in cloud.stored() if "/packs/" in name}


def sync(cloud: Cloud, peer: InProcessPeer, body: AsyncIterator[bytes], declared: int) -> object:
    async def send() -> object:
        row = await peer._row("acme")
        return await cloud.receiver.sync(peer.caller(), row.id, body, declared, None)

    return cloud.wait(send())


def text(size: int) -> str:
    return os.urandom(size // 2).hex()


def test_what_is_declared_is_held_while_the_body_comes_and_what_is_stored_counts_in_the_end(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId
) -> None:
    pieces = Commit(peer.head("acme"), {}, {"a.md": text(5_000)}).stream()
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
            seen.append(await held(cloud, tenant))

    sync(cloud, peer, body(), 1_000_000)
    assert set(seen[1:]) == {1_000_000}
    assert cloud.wait(held(cloud, tenant)) == 0
    assert 2_500 < used(cloud, tenant).storage_bytes < 6_000


def test_a_sender_that_goes_away_gives_its_room_back(cloud: Cloud, peer: InProcessPeer, tenant: TenantId) -> None:
    pieces = Commit(peer.head("acme"), {}, {"a.md": text(5_000)}).stream()
    came = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces[:-1]:
            yield piece
        came.set()
        await asyncio.Event().wait()

    async def goes_away() -> int:
        row = await peer._row("acme")
        work = asyncio.create_task(cloud.receiver.sync(peer.caller(), row.id, body(), 1_000_000, None))
        await came.wait()
        before = await held(cloud, tenant)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return before

    assert cloud.wait(goes_away()) == 1_000_000
    assert cloud.wait(held(cloud, tenant)) == 0
    assert used(cloud, tenant).storage_bytes == 0


def test_a_long_upload_renews_its_lease_and_one_whose_sender_lost_the_right_ends(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId
) -> None:
    commit = Commit(peer.head("acme"), {}, {"a.md": text(5_000)})

    def slow(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        async def body() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece
                cloud.ticks += reservations.LEASE_MS - 1_000
                assert await held(cloud, tenant) in (0, 1_000_000)  # nothing is held before the changes are known

        return body()

    async def revoked(s: Scope) -> None:
        raise CredentialInvalid("revoked")

    cloud.guard = revoked
    with pytest.raises(CredentialInvalid):
        sync(cloud, peer, slow(commit.stream()), 1_000_000)
    assert cloud.wait(held(cloud, tenant)) == 0
    cloud.guard = None
    sync(cloud, peer, slow(commit.stream()), 1_000_000)
    assert peer.content("acme", "a.md") == commit.contents[0]


def test_many_pushes_at_once_at_the_edge_of_the_quota_store_no_more_than_it_allows(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId
) -> None:
    count, size = 12, 20_000
    limit(cloud, tenant, storage_bytes=5 * 11_000)
    for n in range(count):
        cloud.project(tenant, f"p{n}")
    streams = [Commit(peer.head(f"p{n}"), {}, {"a.md": text(size)}).stream() for n in range(count)]
    puts: list[str] = []
    real = cloud.store.put

    async def put(name: str, data: bytes, *, create: bool = False) -> None:
        puts.append(name)
        await real(name, data, create=create)

    cloud.store.put = put  # type: ignore[method-assign]

    async def all_at_once() -> list[object]:
        work = [peer._sync(f"p{n}", stream, sum(map(len, stream)), None) for n, stream in enumerate(streams)]
        return await asyncio.gather(*work, return_exceptions=True)

    results = cloud.wait(all_at_once())
    refused = [result for result in results if isinstance(result, QuotaReached)]
    assert 4 <= count - len(refused) <= 5
    assert len(refused) + sum(not isinstance(result, BaseException) for result in results) == count
    assert used(cloud, tenant).storage_bytes <= 5 * 11_000
    assert sum("/packs/" in name for name in puts) == count - len(refused)  # of the others not a byte was stored
    assert cloud.wait(held(cloud, tenant)) == 0


def test_a_full_tenant_may_still_delete(cloud: Cloud, peer: InProcessPeer, tenant: TenantId) -> None:
    before = {"a.md": text(5_000), "b.md": text(5_000)}
    Commit(peer.head("acme"), {}, dict(before)).send(peer)
    limit(cloud, tenant, storage_bytes=100, sync_bytes=1, artifacts=1, file_bytes=1)
    stored = packs_in(cloud)
    with pytest.raises(QuotaReached):
        Commit(peer.head("acme"), before, {"c.md": "more"}).send(peer, "more")
    with pytest.raises(QuotaReached):
        peer.write("acme", "c.md", b"more", "*absent")
    assert packs_in(cloud) == stored
    Commit(peer.head("acme"), before, {"a.md": None}).send(peer, "less")
    peer.write("acme", "b.md", None, "*present")
    assert peer.head("acme").version == 3


@pytest.mark.parametrize("way", ["sync", "write", "commit"])
def test_files_and_their_size_are_limited_whichever_way_they_come(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId, way: str
) -> None:
    def send(path: str, data: str, head: Head) -> None:
        commit = Commit(head, {}, {path: data})
        if way == "write":
            peer.write("acme", path, data.encode(), "*absent")
        elif way == "sync":
            commit.send(peer, path)
        else:
            peer.commit("acme", commit.parent, commit.digest, commit.changes)

    for data in (b"long text", b"short"):  # content ahead of its commit
        frames = [encode_frame(frame) for frame in make_frames([(object_id(data), data)])]
        pieces = [*encode_preamble(None, None, []), encode_pack_start(), *frames, encode_pack_end(len(frames))]
        peer.packs("acme", pieces, sum(map(len, pieces)))
    limit(cloud, tenant, file_bytes=5)
    with pytest.raises(QuotaReached) as caught:
        send("a.md", "long text", peer.head("acme"))
    assert caught.value.facts["quota"] == {"name": "fileBytes", "used": 9, "limit": 5}
    limit(cloud, tenant, artifacts=0)
    with pytest.raises(QuotaReached) as caught:
        send("a.md", "short", peer.head("acme"))
    assert caught.value.facts["quota"] == {"name": "artifacts", "used": 0, "limit": 0}
    limit(cloud, tenant, artifacts=1)
    send("a.md", "short", peer.head("acme"))
    assert used(cloud, tenant).artifacts == 1


def test_whoever_fills_a_quota_is_told_and_the_audit_says_it_once(
    cloud: Cloud, peer: InProcessPeer, tenant: TenantId
) -> None:
    limit(cloud, tenant, artifacts=5)
    answers = [peer.write("acme", f"{n}.md", b"%d" % n, "*absent", key=f"key-{n}") for n in range(5)]
    assert [answer.warnings for answer in answers] == [
        (), (), (), (NearQuota("artifacts", 4, 5),), (NearQuota("artifacts", 5, 5),)
    ]  # fmt: skip
    assert peer.write("acme", "3.md", b"3", "*absent", key="key-3") == answers[3]  # a replay says the same
    told = [row.target for row in cloud.audited(tenant) if row.action == "quota.near"]
    assert told == ["artifacts: 4 of 5"]
