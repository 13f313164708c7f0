"""Collect removes what no readable version needs, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from satchel.catalog import quotas, retention, versions
from satchel.catalog.quotas import Limits
from satchel.catalog.retention import DAY_MS, Retention
from satchel.errors import BodyTimeout, ObjectsMissing, QuotaReached, VersionExpired
from satchel.objects.frame import make_frames
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.objects.record import FULL_LISTING_EVERY
from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import StoredObject
from satchel.store.packs import pack_table
from satchel.sync import failpoints
from satchel.sync.receive import LEASE_MS
from satchel.sync.wire import Parent, Sent, encode_preamble
from satchel.upkeep.collect import CollectReport, Counted, collect
from satchel.upkeep.lease import UpkeepBusy, upkeep_lease
from satchel.upkeep.sweep import ORPHAN_MS, first_kept
from tests.engines import on_file
from tests.upkeep.house import House, fill, open_house

pytestmark = pytest.mark.anyio
WINDOW = 7 * DAY_MS


async def keep(house: House, tenant: TenantId, versions: int | None = None, days: int | None = None) -> None:
    async with house.estate.catalog.write(tenant) as s:
        await retention.set_(s, Retention(versions, days))


async def run(house: House, tenant: TenantId, window: int = WINDOW, *, dry: bool = False) -> CollectReport:
    return await collect(house.estate, tenant, window_ms=window, dry=dry)


async def used(house: House, tenant: TenantId) -> int:
    async with house.estate.catalog.read(tenant) as s:
        return (await quotas.usage(s)).storage_bytes


async def packs(house: House) -> set[str]:
    return {name for name in await house.names() if "/packs/" in name}


def noise(seed: int, size: int = 4_000) -> bytes:
    """Bytes that do not compress."""
    return b"".join(object_id(b"%d %d" % (seed, n)).encode() for n in range(size // 64))


async def send(house: House, tenant: TenantId, project: ProjectId, *contents: bytes) -> None:
    """The first step of two: content ahead of its commit, in packs together."""
    frames = make_frames([(object_id(data), data) for data in contents])
    encoded = [encode_frame(frame) for frame in frames]
    whole = [*encode_preamble(None, None, []), encode_pack_start(), *encoded, encode_pack_end(len(encoded))]

    async def body() -> AsyncIterator[bytes]:
        for chunk in whole:
            yield chunk

    await house.receiver.packs(house.caller(tenant), project, body(), 64 << 20)


async def commit(house: House, tenant: TenantId, project: ProjectId, files: Mapping[str, bytes | None]) -> None:
    """The second step: changes whose content the project holds."""
    async with house.estate.catalog.read(tenant) as s:
        head = await versions.head(s, project)
    tree = {path: Entry("100644", object_id(data)) for path, data in (await house.tree(tenant, project)).items()}
    changes = []
    for path, data in files.items():
        entry = None if data is None else Entry("100644", object_id(data))
        changes.append(Sent(path, entry, len(data or b"")))
        tree.pop(path, None)
        if entry is not None:
            tree[path] = entry
    await house.receiver.commit(house.caller(tenant), project, Parent(*head), digest(tree), changes, None)


async def push(house: House, tenant: TenantId, project: ProjectId, files: dict[str, bytes]) -> None:
    """Several new files in one commit, in packs together."""
    await send(house, tenant, project, *files.values())
    await commit(house, tenant, project, files)


async def test_by_default_every_version_is_kept_for_ever(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {f"{n}.md": noise(n) for n in range(3)})
    await house.put(tenant, project, "0.md", None)
    house.clock.now += 1_000 * DAY_MS
    before = await house.names()
    assert await run(house, tenant) == CollectReport(dry=False, projects=1)
    assert await house.names() == before
    assert set(await house.tree(tenant, project, 1)) == {"0.md"}


@pytest.mark.promise("P3")
async def test_the_last_versions_stay_readable_and_older_ones_expire_by_name(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    for n in range(6):
        await house.put(tenant, project, "a.md", noise(n))
    trees = {n: await house.tree(tenant, project, n) for n in range(1, 7)}
    await keep(house, tenant, versions=3)
    report = await run(house, tenant)
    assert (report.expired, report.entries, report.dying.items) == (3, 3, 3)
    for n in (4, 5, 6):
        assert await house.tree(tenant, project, n) == trees[n]
    for n in (1, 3):
        with pytest.raises(VersionExpired) as expired:
            await house.tree(tenant, project, n)
        assert expired.value.facts == {"oldest": 4}
    async with house.estate.catalog.read(tenant) as s:
        assert [row.version for row in await versions.versions(s, project)] == [6, 5, 4, 3, 2, 1]
        with pytest.raises(VersionExpired):  # a path that ended below the floor would be missing from the difference
            await versions.changes(s, project, 3, 6)
        assert [row.path for row in await versions.changes(s, project, 4, 6)] == ["a.md"]
    assert await run(house, tenant) == CollectReport(dry=False, projects=1)


async def test_by_days_the_state_of_that_day_stays_readable(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    for n in range(5):
        await house.put(tenant, project, "a.md", noise(n))
        house.clock.now += 10 * DAY_MS
    await keep(house, tenant, days=25)  # made 50, 40, 30, 20 and 10 days ago: 25 days ago the third was the head
    assert (await run(house, tenant)).expired == 2
    assert await house.tree(tenant, project, 3) == {"a.md": noise(2)}
    house.clock.now += 10_000 * DAY_MS
    assert (await run(house, tenant)).expired == 2
    assert await house.tree(tenant, project) == await house.tree(tenant, project, 5) == {"a.md": noise(4)}


async def test_a_version_that_a_wrong_clock_dated_long_ago_expires_with_its_neighbours(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))
    house.clock.now -= 1_000 * DAY_MS
    await house.put(tenant, project, "a.md", noise(2))
    house.clock.now += 1_001 * DAY_MS
    await keep(house, tenant, days=30)
    assert (await run(house, tenant)).expired == 0


async def test_bytes_go_after_the_backup_window_and_use_falls_with_them(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    for n in range(4):
        await house.put(tenant, project, "a.md", noise(n))
    await keep(house, tenant, versions=1)
    before, full = await packs(house), await used(house, tenant)
    assert (await run(house, tenant)).dying.items == 3
    house.clock.now += WINDOW - 1_000
    assert (await run(house, tenant)).deleted == Counted()
    assert await packs(house) == before
    assert await used(house, tenant) == full
    house.clock.now += 2_000
    report = await run(house, tenant)
    assert report.deleted.items == 3
    assert len(await packs(house)) == 1
    assert await used(house, tenant) == full - report.deleted.bytes
    assert await house.tree(tenant, project) == {"a.md": noise(3)}


async def test_a_full_quota_is_cured_by_retention_and_collect(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    for n in range(4):
        await house.put(tenant, project, "a.md", noise(n))
    async with house.estate.catalog.write(tenant) as s:
        await quotas.set_limits(s, Limits(storage_bytes=await used(house, tenant)))
    with pytest.raises(QuotaReached):
        await house.put(tenant, project, "a.md", noise(9))
    await keep(house, tenant, versions=1)
    await run(house, tenant, 0)
    await house.put(tenant, project, "a.md", noise(9))
    assert await house.tree(tenant, project) == {"a.md": noise(9)}


async def test_a_pack_needed_by_less_than_half_is_rewritten_and_reads_the_same(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    long = noise(77, 3 << 20)
    data = {f"{n}.md": noise(n) for n in range(10)} | {"long.bin": long}
    await push(house, tenant, project, data)
    [pack] = await packs(house)
    for n in range(10):
        await house.put(tenant, project, f"{n}.md", None)
    await push(house, tenant, project, {"x": noise(100, 900_000), "y": noise(101)})
    await house.put(tenant, project, "x", None)
    await keep(house, tenant, versions=1)
    report = await run(house, tenant, 0)
    assert report.repacked.items == 1
    assert report.deleted.items == 1
    assert pack in await packs(house)  # the long object is more than half of it
    assert await house.tree(tenant, project) == {"long.bin": long, "y": noise(101)}
    tables = [name for name in await house.names() if "/tables/" in name]
    assert len(tables) == 1
    assert await run(house, tenant, 0) == CollectReport(dry=False, projects=1)


@pytest.mark.promise("P4")
async def test_a_commit_that_wants_what_is_dying_is_told_to_send_it_again(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))
    await house.put(tenant, project, "a.md", noise(2))
    await keep(house, tenant, versions=1)
    await run(house, tenant)
    with pytest.raises(ObjectsMissing):
        await commit(house, tenant, project, {"b.md": noise(1)})
    await house.put(tenant, project, "b.md", noise(1))
    house.clock.now += 2 * WINDOW
    await run(house, tenant)
    assert await house.tree(tenant, project) == {"a.md": noise(2), "b.md": noise(1)}


async def test_content_sent_ahead_is_kept_for_its_day_and_not_longer(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await send(house, tenant, project, noise(1))
    house.clock.now += LEASE_MS - 60_000
    assert (await run(house, tenant)).abandoned == Counted()
    await commit(house, tenant, project, {"a.md": noise(1)})
    await send(house, tenant, project, noise(2))
    full = await used(house, tenant)
    house.clock.now += LEASE_MS + 60_000
    report = await run(house, tenant)
    assert report.abandoned.items == 1
    assert await used(house, tenant) == full - report.abandoned.bytes
    assert len(await packs(house)) == 1
    with pytest.raises(ObjectsMissing):
        await commit(house, tenant, project, {"b.md": noise(2)})
    assert await house.tree(tenant, project) == {"a.md": noise(1)}


def age(house: House, name: str, by: int) -> None:
    """Let a stored object be older, by the store's clock."""
    path = house.folder / "store" / name
    now = path.stat().st_mtime
    os.utime(path, (now - by / 1000, now - by / 1000))


async def test_leavings_of_crashes_go_after_two_days_of_the_stores_clock_whatever_ours_says(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))
    before = await house.names()
    writer = house.estate.vault.writer(tenant, project)
    for frame in make_frames([(object_id(noise(5)), noise(5))]):
        await writer.add(frame)
    await writer.finish()
    await house.estate.vault.put_record(tenant, project, "rec_00000000000000000000000000", b"lost")
    left = await house.names() - before
    house.clock.now += 1_000 * DAY_MS  # our clock is years ahead: the store's counts
    assert (await run(house, tenant)).swept == Counted()
    for name in left:
        age(house, name, ORPHAN_MS + 60_000)
    dry = await run(house, tenant, dry=True)
    assert await house.names() == before | left
    done = await run(house, tenant)
    assert dry.swept == done.swept
    assert done.swept.items == 2
    assert await house.names() == before


@on_file
@pytest.mark.promise("P3")
async def test_what_heads_confirm_is_never_swept_when_an_old_catalog_was_put_back(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        tenant = await house.tenant()
        project = await house.project(tenant)
        await house.put(tenant, project, "a.md", noise(1))
    old = (tmp_path / "catalog.db").read_bytes()
    async with open_house(tmp_path) as house:
        await house.put(tenant, project, "a.md", noise(2))
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"catalog.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "catalog.db").write_bytes(old)
    async with open_house(tmp_path) as house:
        for name in await house.names():
            if "/projects/" in name:
                age(house, name, 10 * DAY_MS)
        before = await house.names()
        assert (await run(house, tenant, 0)).swept == Counted()
        assert await house.names() == before


@pytest.mark.promise("P9")
async def test_history_is_kept_from_a_full_listing_at_or_below_the_floor(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "kept.md", noise(0))
    for n in range(1, FULL_LISTING_EVERY + 6):
        await house.put(tenant, project, "a.md", noise(n, 640))
    await keep(house, tenant, versions=3)
    assert first_kept(FULL_LISTING_EVERY + 4) == FULL_LISTING_EVERY
    dry = await run(house, tenant, 0, dry=True)
    done = await run(house, tenant, 0)
    assert dry.history == done.history
    assert done.history.items == 2 * (FULL_LISTING_EVERY - 1)
    heads = sorted(int(name.rpartition("/")[2]) for name in await house.names() if "/heads/" in name)
    assert heads == list(range(FULL_LISTING_EVERY, FULL_LISTING_EVERY + 7))
    # The pack of version 1 is still needed, and its record is gone: a table tells what lies in it.
    told = set()
    async for stored in house.estate.vault.names(tenant, project, "tables"):
        for table in await house.estate.vault.get_tables(tenant, project, stored.name):
            told |= {slot.object for frame in table.frames for slot in frame.table}
    assert object_id(noise(0)) in told
    assert (await house.tree(tenant, project))["kept.md"] == noise(0)
    assert (await run(house, tenant, 0)).history == Counted()


async def test_a_dry_run_says_the_numbers_of_the_run_and_changes_nothing(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await push(house, tenant, project, {f"{n}.md": noise(n) for n in range(5)})
    for n in range(4):
        await house.put(tenant, project, f"{n}.md", noise(n + 50))
    await send(house, tenant, project, noise(200))
    house.clock.now += 2 * LEASE_MS
    await keep(house, tenant, versions=2)
    before = {name: (house.folder / "store" / name).stat().st_mtime_ns for name in await house.names()}
    dry = CollectReport(dry=True)
    for window in (WINDOW, 0):
        dry = await run(house, tenant, window, dry=True)
        after = {name: (house.folder / "store" / name).stat().st_mtime_ns for name in await house.names()}
        assert after == before
        assert await house.tree(tenant, project, 1)
    done = await run(house, tenant, 0)
    assert done.expired
    assert done.repacked.items
    assert done.abandoned.items
    assert {**_fields(dry), "dry": False} == _fields(done)


def _fields(report: CollectReport) -> dict[str, object]:
    return {name: getattr(report, name) for name in report.__slots__}


async def test_one_collect_of_a_tenant_runs_at_a_time_and_a_dry_run_needs_no_turn(house: House) -> None:
    tenant = await house.tenant()
    async with upkeep_lease(house.estate, tenant, "verify"):
        with pytest.raises(UpkeepBusy):
            await run(house, tenant)
        await run(house, tenant, dry=True)


class Killed(BaseException):
    pass


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("point", "passes"),
    [
        *((name, 0) for name in failpoints.NAMES if name.startswith(("collect", "repack", "sweep"))),
        ("collect.after_bytes", 1),
        ("sweep.after_record", 1),
    ],
)
async def test_killed_between_any_two_steps_the_next_run_finishes_the_work(
    house: House, point: str, passes: int
) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await push(house, tenant, project, {f"{n}.md": noise(n) for n in range(4)})
    for n in range(FULL_LISTING_EVERY if point.startswith("sweep") else 4):
        await house.put(tenant, project, f"{n % 3}.md", noise(n + 50, 64))
    await send(house, tenant, project, noise(900))
    house.clock.now += 2 * LEASE_MS
    await keep(house, tenant, versions=1)
    tree = await house.tree(tenant, project)
    failpoints.arm(point, _killer(passes))
    try:
        with pytest.raises(Killed):
            await run(house, tenant, 0)
    finally:
        failpoints.disarm()
    assert await house.tree(tenant, project) == tree
    house.clock.now += 2 * LEASE_MS
    await run(house, tenant, 0)
    assert await house.tree(tenant, project) == tree
    for name in await house.names():
        if "/projects/" in name:
            age(house, name, 10 * DAY_MS)
    await run(house, tenant, 0)
    assert await house.tree(tenant, project) == tree
    async with house.estate.catalog.read(tenant) as s:
        rows = await versions.all_places(s, project)
    assert {f"{row.pack}" for row in rows} == {name.rpartition("/")[2] for name in await packs(house)}
    assert (await run(house, tenant, 0)) == CollectReport(dry=False, projects=1)


def _killer(passes: int) -> Callable[[], None]:
    left = [passes]

    def die() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return die


@pytest.mark.promise("P3")
async def test_a_write_that_was_stopped_for_days_is_refused_since_its_packs_may_have_been_swept(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))

    def sleep() -> None:
        house.clock.now += 3 * DAY_MS

    failpoints.arm("receive.after_record", sleep)
    try:
        with pytest.raises(BodyTimeout):
            await house.put(tenant, project, "b.md", noise(2))
        with pytest.raises(BodyTimeout):
            await commit(house, tenant, project, {"b.md": noise(1)})
    finally:
        failpoints.disarm()
    assert await house.tree(tenant, project) == {"a.md": noise(1)}


@on_file
@pytest.mark.promise("P3")
@pytest.mark.parametrize("dry", [False, True])
@pytest.mark.parametrize("keys", [True, False], ids=["keys", "keys lost"])
async def test_a_catalog_older_than_what_the_store_confirms_takes_nothing_away(
    tmp_path: Path, dry: bool, keys: bool
) -> None:
    async with open_house(tmp_path) as house:
        tenant = await house.tenant()
        project = await house.project(tenant)
        await house.put(tenant, project, "a.md", noise(1))
        await send(house, tenant, project, noise(2))
        await keep(house, tenant, versions=1)
        await house.estate.catalog.snapshot(tmp_path / "older.db")
        await commit(house, tenant, project, {"b.md": noise(2)})
        there = await packs(house)
    for end in ("", "-wal", "-shm"):
        (tmp_path / f"catalog.db{end}").unlink(missing_ok=True)
    (tmp_path / "older.db").rename(tmp_path / "catalog.db")
    async with open_house(tmp_path, house.clock) as house:
        house.clock.now += 2 * LEASE_MS
        if not keys:  # so that nobody can read what the store confirms
            await house.estate.store.delete(f"tenants/{tenant}/keys/1")
        report = await run(house, tenant, 0, dry=dry)
        assert report == CollectReport(dry, projects=1, behind=1)
        assert await packs(house) == there


async def test_a_table_of_packs_that_came_during_the_sweep_is_not_merged_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))
    monkeypatch.setattr("satchel.upkeep.sweep.MAX_TABLES", 0)
    writer, listing = house.estate.vault.writer(tenant, project), LocalStore._list
    for frame in make_frames([(object_id(noise(9)), noise(9))]):
        await writer.add(frame)
    loop, given = asyncio.get_running_loop(), []

    async def give_back() -> None:  # as a client does whose copy the store had asked for
        given.extend(await writer.finish())
        await house.estate.vault.put_tables(tenant, project, [pack_table(pack) for pack in given])

    def meanwhile(self: LocalStore, prefix: str) -> Sequence[StoredObject]:
        if prefix.endswith("/heads/") and not given:  # the packs have been listed, the tables have not
            asyncio.run_coroutine_threadsafe(give_back(), loop).result()
        return listing(self, prefix)

    monkeypatch.setattr(LocalStore, "_list", meanwhile)
    await run(house, tenant)
    vault = house.estate.vault
    names = [stored.name async for stored in vault.names(tenant, project, "tables")]
    told = {table.name for name in names for table in await vault.get_tables(tenant, project, name)}
    assert {pack.name for pack in given} <= told


async def test_what_does_not_open_in_one_project_keeps_no_other_from_being_collected(house: House) -> None:
    tenant = await house.tenant()
    first, second = await house.project(tenant, "a"), await house.project(tenant, "b")
    await house.estate.store.put(f"tenants/{tenant}/projects/{first}/tables/tab_x", b"not a table")
    stray = f"tenants/{tenant}/projects/{second}/records/rec_x"
    await house.estate.store.put(stray, b"?")
    age(house, stray, ORPHAN_MS + 60_000)
    report = await run(house, tenant)
    assert (report.projects, report.damaged) == (2, 1)
    assert stray not in await house.names()


async def test_what_is_no_head_of_ours_does_not_stop_a_collect(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "a.md", noise(1))
    stray = f"tenants/{tenant}/projects/{project}/heads/copy/of_it"
    await house.estate.store.put(stray, b"?")
    assert (await run(house, tenant)).projects == 1
    assert stray in await house.names()
