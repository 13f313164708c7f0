"""A purge leaves no byte of the content in any stored object, and everything else as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import audit, damage, packs, purges, quotas, retention, versions
from satchel.catalog.packs import NewPack
from satchel.catalog.retention import Retention
from satchel.errors import NoSuchArtifact, ObjectsMissing, SatchelError, StoreUnavailable
from satchel.objects import zstd
from satchel.objects.ids import ObjectId, ProjectId, TenantId, object_id
from satchel.objects.record import decode_purge, decode_record
from satchel.objects.seal import Binding, open_sealed
from satchel.store.checkpoints import Checkpoints
from satchel.sync import contents, failpoints
from satchel.upkeep import repack
from satchel.upkeep.collect import collect
from satchel.upkeep.lease import LEASE_MS
from satchel.upkeep.purge import CatalogBehind, PurgeReport, Shared, purge
from tests.engines import on_file
from tests.upkeep.house import House, open_house
from tests.upkeep.test_collect import Killed, commit, noise, push, send

pytestmark = pytest.mark.anyio
SECRET = b"# Signing key\n\ncorrect horse battery staple\n"
TITLE = "Signing key"


async def run(house: House, tenant: TenantId, project: ProjectId, *paths: str, everywhere: bool = False) -> PurgeReport:
    caller = house.caller(tenant)
    return await purge(house.estate, house.receiver, caller, project, paths, everywhere=everywhere)


async def opened(house: House, tenant: TenantId, project: ProjectId) -> bytes:
    """Everything that can be opened below the project, in clear: every frame of every pack, all records, checkpoints.

    Frames are found without the catalog: by every frame id that any record, table or row ever told of.
    """
    vault, store = house.estate.vault, house.estate.store
    key_of = await house.estate.keyring.key_of(tenant)
    frames: set[tuple[str, int, int]] = set()
    clear = b""
    async for stored in vault.names(tenant, project, "records"):
        record = decode_record(await vault.get_record(tenant, project, stored.name))
        clear += repr(record).encode()
        frames |= {(frame.id, frame.part, frame.parts) for pack in record.packs for frame in pack.frames}
    async for stored in vault.names(tenant, project, "tables"):
        for table in await vault.get_tables(tenant, project, stored.name):
            frames |= {(frame.id, frame.part, frame.parts) for frame in table.frames}
    binding = Binding(tenant, project, "frame")
    async for stored in vault.names(tenant, project, "packs"):
        data = await store.get(f"tenants/{tenant}/projects/{project}/packs/{stored.name}")
        at = 0
        while at < len(data):
            end = data.find(b"SEAL", at + 4)
            while True:
                piece = data[at : end if end > 0 else len(data)]
                content = _try(key_of, binding, frames, piece)
                if content is not None or end <= 0:
                    break
                end = data.find(b"SEAL", end + 4)
            assert content is not None, "a frame that nothing tells of"
            clear += content
            at += len(piece)
    kept = Checkpoints(store, house.estate.keyring, random=house.estate.random)
    for found in await kept.all(tenant, project):
        assert found.checkpoint is not None
        clear += b"".join([await kept.piece(tenant, project, found, n) for n in range(found.checkpoint.pieces)])
    return clear


def _try(key_of: object, binding: Binding, frames: set[tuple[str, int, int]], piece: bytes) -> bytes | None:
    for name, part, parts in frames:
        try:
            packed = open_sealed(key_of, binding, name, piece, index=part, count=parts)  # type: ignore[arg-type]
        except SatchelError:
            continue
        return zstd.decompress(packed)
    return None


async def story(house: House) -> tuple[TenantId, ProjectId]:
    """A secret in packs with other things, in several versions, gone from the head again."""
    tenant = await house.tenant()
    project = await house.project(tenant)
    await push(house, tenant, project, {"secret.md": SECRET, "beside.md": noise(1), "other.md": noise(2)})
    await house.put(tenant, project, "secret.md", SECRET + b"more\n")
    await house.put(tenant, project, "beside.md", noise(3))
    await house.checkpoint(tenant, project, SECRET)
    return tenant, project


async def test_after_a_purge_no_stored_object_holds_the_content_and_all_else_reads_as_before(house: House) -> None:
    tenant, project = await story(house)
    before = {n: await house.tree(tenant, project, n) for n in (1, 2, 3)}
    assert SECRET in await opened(house, tenant, project)
    full = await _used(house, tenant)
    report = await run(house, tenant, project, "secret.md")
    assert (report.objects, report.version, report.packs, report.shared) == (2, 4, 2, ())
    clear = await opened(house, tenant, project)
    assert b"correct horse" not in clear
    assert TITLE.encode() not in clear
    for n, tree in before.items():
        assert await _readable(house, tenant, project, n) == {
            path: data for path, data in tree.items() if path != "secret.md"
        }
    assert set(await house.tree(tenant, project)) == {"beside.md", "other.md"}
    assert await _used(house, tenant) < full
    async with house.estate.catalog.read(tenant) as s:
        assert {row.title for row in await versions.tree(s, project, 1) if row.path == "secret.md"} == {""}
        assert await purges.every(s, project) == sorted([object_id(SECRET), object_id(SECRET + b"more\n")])
        assert [row.target for row in await audit.list_(s) if row.action == "project.purge"] == [f"{project} secret.md"]
    [told] = [stored.name async for stored in house.estate.vault.names(tenant, project, "purges")]
    said = await house.estate.vault.get_purge(tenant, project, told)
    assert (set(said.objects), said.paths) == ({object_id(SECRET), object_id(SECRET + b"more\n")}, ("secret.md",))


async def _used(house: House, tenant: TenantId) -> int:
    async with house.estate.catalog.read(tenant) as s:
        return (await quotas.usage(s)).storage_bytes


async def _readable(house: House, tenant: TenantId, project: ProjectId, at: int) -> dict[str, bytes]:
    async with house.estate.catalog.read(tenant) as s:
        rows = await versions.tree(s, project, at)
    found = {}
    for row in rows:
        try:
            read = contents.read_objects(house.estate.catalog, house.estate.vault, tenant, project, [row.object])
            found[row.path] = b"".join([data async for _, data in read])
        except ObjectsMissing:
            async with house.estate.catalog.read(tenant) as s:
                assert await purges.which(s, project, [row.object])
    return found


async def test_a_second_purge_finds_nothing_to_do_and_a_path_that_never_was_is_refused(house: House) -> None:
    tenant, project = await story(house)
    await run(house, tenant, project, "secret.md")
    names = await house.names()
    again = await run(house, tenant, project, "secret.md")
    assert (again.objects, again.packs, again.version) == (0, 0, 4)
    assert await house.names() == names
    with pytest.raises(NoSuchArtifact):
        await run(house, tenant, project, "secret.md", "never.md")


async def test_the_same_bytes_pushed_again_later_are_new_content(house: House) -> None:
    tenant, project = await story(house)
    await run(house, tenant, project, "secret.md")
    with pytest.raises(ObjectsMissing):
        await commit(house, tenant, project, {"again.md": SECRET})
    await house.put(tenant, project, "again.md", SECRET)
    assert (await house.tree(tenant, project))["again.md"] == SECRET
    async with house.estate.catalog.read(tenant) as s:
        assert await purges.which(s, project, [object_id(SECRET)]) == set()
    assert (await run(house, tenant, project, "again.md")).shared == (Shared("again.md", ("secret.md",)),)
    assert (await run(house, tenant, project, "again.md", "secret.md")).objects == 2
    assert b"correct horse" not in await opened(house, tenant, project)


async def test_content_that_another_path_has_too_stays_unless_it_is_purged_everywhere(house: House) -> None:
    tenant, project = await story(house)
    await house.put(tenant, project, "copy.md", SECRET)
    report = await run(house, tenant, project, "secret.md")
    assert report.shared == (Shared("secret.md", ("copy.md",)),)
    assert report.objects == 1
    assert (await house.tree(tenant, project))["copy.md"] == SECRET
    assert SECRET in await opened(house, tenant, project)
    report = await run(house, tenant, project, "secret.md", everywhere=True)
    assert (report.paths, report.shared) == (("copy.md", "secret.md"), ())
    assert "copy.md" not in await house.tree(tenant, project)
    assert b"correct horse" not in await opened(house, tenant, project)
    again = await run(house, tenant, project, "secret.md")
    assert (again.objects, again.shared) == (0, ())


async def test_packs_that_die_or_wait_for_a_commit_are_purged_too(house: House) -> None:
    tenant, project = await story(house)
    await send(house, tenant, project, SECRET + b"more\n", noise(9))
    async with house.estate.catalog.write(tenant) as s:
        await retention.set_(s, Retention(versions=1))
    await collect(house.estate, tenant, window_ms=10**12)  # the first pack is rewritten, the old one dies
    report = await run(house, tenant, project, "secret.md")
    assert report.objects == 1  # what it held before has expired, and nobody knows of it any more
    assert b"correct horse" not in await opened(house, tenant, project)
    assert await house.tree(tenant, project) == {"beside.md": noise(3), "other.md": noise(2)}


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "point", [n for n in failpoints.NAMES if n.startswith(("purge", "repack")) and n != "repack.after_switch"]
)
@pytest.mark.parametrize("finisher", ["purge", "collect"])
async def test_killed_between_any_two_steps_the_next_run_finishes_the_purge(
    house: House, point: str, finisher: str
) -> None:
    tenant, project = await story(house)

    def die() -> None:
        raise Killed

    failpoints.arm(point, die)
    try:
        with pytest.raises(Killed):
            await run(house, tenant, project, "secret.md")
    finally:
        failpoints.disarm()
    house.clock.now += 2 * LEASE_MS
    others = {"beside.md": noise(3), "other.md": noise(2)}
    assert {path: data for path, data in (await house.tree(tenant, project)).items() if path in others} == others
    if finisher == "purge" or point not in ("purge.after_switch", "purge.after_checkpoints", "purge.after_bytes"):
        await run(house, tenant, project, "secret.md")
    else:  # the transaction had been: what was left has only to be deleted
        await collect(house.estate, tenant, window_ms=10**12)
    assert b"correct horse" not in await opened(house, tenant, project)
    assert await house.tree(tenant, project) == others
    async with house.estate.catalog.read(tenant) as s:
        held: list[ObjectId] = [row.object for row in await packs.all_places(s, project)]
    assert object_id(SECRET) not in held


def test_a_purge_reads_back_as_it_was_written() -> None:
    from satchel.objects.record import Purge, encode_purge

    said = Purge((object_id(b"a"),), ("a.md",), 7)
    assert decode_purge(encode_purge(said)) == said


async def test_what_was_lost_and_then_purged_is_asked_of_nobody(house: House) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await house.put(tenant, project, "s.md", SECRET)
    name = object_id(SECRET)
    async with house.estate.catalog.write(tenant) as s:
        [row] = await packs.places(s, project, [name])
        await packs.mark_dying(s, project, [row.pack], house.clock())
        assert await damage.note(s, project, [name], house.clock()) == 1
    await run(house, tenant, project, "s.md")
    async with house.estate.catalog.read(tenant) as s:
        assert await damage.list_(s, project) == []
    await send(house, tenant, project, SECRET)  # by a client that was told before
    async with house.estate.catalog.read(tenant) as s:
        assert await packs.places(s, project, [name]) == []


async def test_a_purge_that_moves_much_keeps_its_turn_and_leaves_nothing_behind_when_it_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await house.tenant()
    project = await house.project(tenant)
    for n in range(4):
        await push(house, tenant, project, {f"{n}.md": noise(n), f"s{n}.md": SECRET + b"%d" % n})
    before = await house.tree(tenant, project)
    monkeypatch.setattr("satchel.upkeep.purge.REPACK_AT_ONCE", 1)
    moves, move = [], repack.move

    async def slow(*given: Any) -> list[NewPack]:
        moves.append(given)
        if len(moves) == 3:
            raise StoreUnavailable("away")
        house.clock.now += LEASE_MS // 2
        return await move(*given)

    monkeypatch.setattr(repack, "move", slow)
    secrets = [f"s{n}.md" for n in range(4)]
    stored = {name for name in await house.names() if "/packs/" in name}
    with pytest.raises(StoreUnavailable):
        await run(house, tenant, project, *secrets)
    assert {name for name in await house.names() if "/packs/" in name} == stored
    report = await run(house, tenant, project, *secrets)
    assert (len(moves), report.packs) == (3 + 4, 4)
    assert await house.tree(tenant, project) == {path: data for path, data in before.items() if path[0] != "s"}
    assert SECRET not in await opened(house, tenant, project)


@on_file
async def test_an_older_catalog_that_was_put_back_purges_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        tenant = await house.tenant()
        project = await house.project(tenant)
        await push(house, tenant, project, {"s.md": SECRET, "kept.md": noise(1)})
        await house.put(tenant, project, "s.md", None)
        await house.put(tenant, project, "kept.md", None)
        await house.estate.catalog.snapshot(tmp_path / "older.db")
        await commit(house, tenant, project, {"again.md": noise(1)})
        stored = await house.names()
    for end in ("", "-wal", "-shm"):
        (tmp_path / f"catalog.db{end}").unlink(missing_ok=True)
    (tmp_path / "older.db").rename(tmp_path / "catalog.db")
    async with open_house(tmp_path, house.clock) as house:
        with pytest.raises(CatalogBehind):
            await run(house, tenant, project, "kept.md")
        assert await house.names() == stored
