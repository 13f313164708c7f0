"""What is damaged is mended from a copy, or else everything that is still sound is kept and the rest is asked for."""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from satchel.catalog import damage, packs, versions
from satchel.errors import StoreMissing
from satchel.objects.frame import make_frames
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.store.durable_local import LocalStore
from satchel.sync.receive import PacksKept
from satchel.sync.session import fold
from satchel.sync.wire import Parent, Sent, encode_preamble
from satchel.upkeep.lease import UpkeepBusy, upkeep_lease
from satchel.upkeep.repair import Repaired, repair
from satchel.upkeep.verify import verify
from tests.engines import on_file
from tests.upkeep.house import House
from tests.upkeep.test_verify import FILES, by_hand, flip, furnished, holding, stored

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P3")]
MANY = {f"many/{n}.md": bytes([n]) * 700_000 for n in range(1, 7)}
"""Six frames in one pack: none takes two of these."""


async def pushed(house: House, files: dict[str, bytes]) -> tuple[TenantId, ProjectId]:
    """A project that got all files in one commit, so that they share packs."""
    tenant = await house.tenant()
    project = await house.project(tenant)
    await sent(house, tenant, project, files)
    await committed(house, tenant, project, files)
    return tenant, project


async def committed(house: House, tenant: TenantId, project: ProjectId, files: dict[str, bytes]) -> None:
    """A commit of content that was sent."""
    async with house.estate.catalog.read(tenant) as s:
        head = await versions.head(s, project)
    tree = {path: Entry("100644", object_id(data)) for path, data in files.items()}
    changes = [Sent(path, tree[path], len(data)) for path, data in sorted(files.items())]
    await house.receiver.commit(
        house.caller(tenant), project, Parent(*head), digest(fold({}, tree.items())), changes, None
    )


async def sent(house: House, tenant: TenantId, project: ProjectId, files: dict[str, bytes]) -> PacksKept:
    """Content without a commit, as a client sends it."""
    frames = list(make_frames([(object_id(data), data) for data in files.values()]))
    body = b"".join(
        [
            *encode_preamble(None, None, []),
            encode_pack_start(),
            *map(encode_frame, frames),
            encode_pack_end(len(frames)),
        ]
    )

    async def stream() -> AsyncIterator[bytes]:
        yield body

    return await house.receiver.packs(house.caller(tenant), project, stream(), len(body))


async def mended(house: House, copy: LocalStore | None = None) -> Repaired:
    report = await verify(house.estate, full=True)
    assert not report.clean
    return await repair(house.estate, report, copy)


async def noted(house: House, tenant: TenantId, project: ProjectId) -> list[str]:
    async with house.estate.catalog.read(tenant) as s:
        return list(await damage.list_(s, project))


def copied(house: House, to: Path) -> LocalStore:
    shutil.copytree(house.folder / "store", to)
    return LocalStore(to)


@pytest.mark.parametrize("how", ["flip", "remove", "cut"])
@pytest.mark.parametrize("kind", ["packs", "records", "heads", "keys"])
async def test_everything_comes_back_from_a_copy(house: House, tmp_path: Path, kind: str, how: str) -> None:
    tenant, project = await furnished(house)
    before = await house.tree(tenant, project, 3)
    copy = copied(house, tmp_path / "copy")
    path = (await stored(house, kind))[0]
    sound = path.read_bytes()
    if how == "flip":
        flip(path, 111)
    elif how == "cut":
        path.write_bytes(sound[:-1])
    else:
        path.unlink()
    done = await mended(house, copy)
    assert (done.restored, done.left) == (1, [])
    assert path.read_bytes() == sound
    assert (await verify(house.estate, full=True)).problems == []
    assert await house.tree(tenant, project, 3) == before


async def test_copies_may_lie_where_a_backup_keeps_objects(house: House, tmp_path: Path) -> None:
    await furnished(house)
    shutil.copytree(house.folder / "store", tmp_path / "backup" / "objects")
    (await stored(house, "packs"))[0].unlink()
    assert (await mended(house, LocalStore(tmp_path / "backup"))).restored == 1
    assert (await verify(house.estate, full=True)).clean


async def test_a_copy_that_is_no_better_never_replaces_anything(house: House, tmp_path: Path) -> None:
    await furnished(house)
    copy = copied(house, tmp_path / "copy")
    for kind in ("packs", "records", "keys"):
        path = (await stored(house, kind))[0]
        sound = path.read_bytes()
        flip(path, 60)
        hurt = path.read_bytes()
        flip(tmp_path / "copy" / path.relative_to(house.folder / "store"), -1)
        done = await mended(house, copy)
        assert done.restored == 0
        assert path.read_bytes() == hurt
        path.write_bytes(sound)


async def test_a_wrong_copy_gives_nothing_up_that_the_right_one_can_mend(house: House, tmp_path: Path) -> None:
    await furnished(house)
    right = copied(house, tmp_path / "right")
    flip((await stored(house, "packs"))[0], 60)
    (tmp_path / "wrong").mkdir()
    done = await mended(house, LocalStore(tmp_path / "wrong"))
    assert (done.restored, done.moved, done.lost) == (0, 0, 0)
    assert ["the copy has no sound one" in left for left in done.left] == [True]
    assert (await mended(house, right)).restored == 1
    assert (await verify(house.estate, full=True)).clean


async def test_sound_content_of_a_damaged_pack_moves_and_what_is_lost_is_noted(house: House) -> None:
    tenant, project = await pushed(house, MANY)
    path = (await stored(house, "packs"))[0]
    flip(path, 100)  # in the first frame
    done = await mended(house)
    assert (done.moved, done.lost, done.left) == (5, 1, [])
    (lost,) = await noted(house, tenant, project)
    report = await verify(house.estate, full=True)
    assert [(problem.kind, problem.name) for problem in report.problems] == [("object", lost)]
    assert "whoever still has it" in report.problems[0].why
    gone = next(file for file, data in MANY.items() if object_id(data) == lost)
    async with house.estate.catalog.read(tenant) as s:
        rows = {row.path: row for row in await versions.tree(s, project)}
        places = await packs.places(s, project, [row.object for row in rows.values()])
    assert {row.object for row in places} == {object_id(data) for file, data in MANY.items() if file != gone}
    again = await repair(house.estate, report)
    assert (again.moved, again.lost) == (0, 0)


async def test_what_was_lost_comes_back_from_whoever_sends_it(house: House) -> None:
    tenant, project = await pushed(house, MANY)
    path = (await stored(house, "packs"))[0]
    path.unlink()
    done = await mended(house)
    assert (done.moved, done.lost) == (0, 6)
    some = dict(list(MANY.items())[:4])
    assert (await sent(house, tenant, project, some | {"else": b"not asked for"})).restored == 4
    assert set(await noted(house, tenant, project)) == {object_id(data) for data in list(MANY.values())[4:]}
    who = house.caller(tenant)
    await house.receiver.write(who, project, "other.md", MANY["many/5.md"], None, "*absent", None)  # a commit brings it
    assert await noted(house, tenant, project) == [object_id(MANY["many/6.md"])]
    await sent(house, tenant, project, MANY)
    assert await noted(house, tenant, project) == []
    assert (await verify(house.estate, full=True)).problems == []
    assert await house.tree(tenant, project, 1) == MANY


async def test_of_a_long_object_every_part_counts(house: House) -> None:
    large = {"large.bin": b"".join(bytes([n]) * 1_000_000 for n in range(7)), "small.md": b"small"}
    tenant, project = await pushed(house, large)
    flip((await stored(house, "packs"))[0], 100)
    assert (await mended(house)).lost == 1
    assert await noted(house, tenant, project) == [object_id(large["large.bin"])]
    await sent(house, tenant, project, {"large.bin": large["large.bin"]})
    assert (await verify(house.estate, full=True)).problems == []
    assert await house.tree(tenant, project) == large


async def test_of_long_objects_whose_frames_are_sound_and_the_whole_is_not_all_is_asked_for(house: House) -> None:
    large = {name: random.Random(name).randbytes(7_000_000) for name in ("a.bin", "b.bin")}
    tenant = await house.tenant()
    project = await house.project(tenant)
    for name, data in large.items():
        before = random.Random(0).randbytes(5_000_000)  # so that it lies in two packs
        await sent(house, tenant, project, {"before.bin": before, name: data})
    await committed(house, tenant, project, large)
    one, other = map(object_id, large.values())
    by_hand(
        house,
        f"UPDATE place SET object = CASE object WHEN '{one}' THEN '{other}' ELSE '{one}' END "
        f"WHERE object IN ('{one}', '{other}')",
    )
    await house.estate.catalog.accept_rows()
    assert {problem.kind for problem in (await verify(house.estate, full=True)).problems} == {"object"}
    done = await mended(house)
    assert (done.lost, done.left) == (2, [])
    assert set(await noted(house, tenant, project)) == {one, other}
    await sent(house, tenant, project, large)
    assert (await verify(house.estate, full=True)).problems == []
    assert await house.tree(tenant, project) == large


async def test_content_that_another_pack_holds_too_is_not_lost(house: House) -> None:
    tenant, project = await furnished(house)
    path = house.folder / "store" / await holding(house, tenant, project, object_id(FILES["docs/2.md"]))
    path.unlink()
    done = await mended(house)
    assert (done.moved, done.lost, done.left) == (0, 0, [])
    assert (await verify(house.estate, full=True)).problems == []
    assert (await house.tree(tenant, project))["docs/2.md"] == FILES["docs/2.md"]


@pytest.mark.parametrize("flipped", [False, True])
async def test_a_head_is_written_anew_from_its_record(house: House, flipped: bool) -> None:
    await furnished(house)
    path = next(path for path in await stored(house, "heads") if path.name == "4")
    flip(path, 100) if flipped else path.unlink()
    done = await mended(house)
    assert (done.rewritten, done.left) == (1, [])
    assert (await verify(house.estate, full=True)).problems == []


async def test_a_table_is_written_anew_from_the_catalog(house: House) -> None:
    await pushed(house, MANY)
    flip((await stored(house, "packs"))[0], 100)
    await mended(house)  # leaves a table
    flip((await stored(house, "tables"))[0], 100)
    report = await verify(house.estate, full=True)
    assert sorted(problem.kind for problem in report.problems) == ["object", "table"]
    done = await repair(house.estate, report)
    assert done.rewritten == 1
    assert [problem.kind for problem in (await verify(house.estate, full=True)).problems] == ["object"]


@on_file  # whose rows have sums
async def test_what_cannot_be_mended_is_said_with_the_way_out(house: House) -> None:
    await furnished(house)
    flip((await stored(house, "records"))[0], 100)
    by_hand(house, "UPDATE principal SET name = 'x'")
    left = "\n".join((await mended(house)).left)
    assert "satchel admin restore" in left
    assert "restore it from a copy of the store" in left


async def test_a_repair_waits_for_no_other_upkeep(house: House) -> None:
    tenant, _ = await furnished(house)
    (await stored(house, "packs"))[0].unlink()
    report = await verify(house.estate)
    async with upkeep_lease(house.estate, tenant, "collect"):
        with pytest.raises(UpkeepBusy):
            await repair(house.estate, report)


@pytest.mark.promise("P6")
@pytest.mark.parametrize("step", ["put", "put_tables", "write"])
async def test_a_repair_that_is_killed_is_finished_by_the_next(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    tenant, project = await pushed(house, MANY)
    flip((await stored(house, "packs"))[0], 100)
    report = await verify(house.estate, full=True)

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if step == "put":
            patched.setattr(type(house.estate.store), "put", killed)
        elif step == "put_tables":
            patched.setattr(type(house.estate.vault), "put_tables", killed)
        else:
            patched.setattr(packs, "mark_dying", killed)
        with pytest.raises(KeyboardInterrupt):
            await repair(house.estate, report)
    assert [problem.kind for problem in (await verify(house.estate, full=True)).problems] == ["pack"]
    assert (await repair(house.estate, report)).moved == 5
    await sent(house, tenant, project, MANY)
    assert (await verify(house.estate, full=True)).problems == []


async def test_reading_what_is_lost_says_so(house: House) -> None:
    tenant, project = await pushed(house, MANY)
    (await stored(house, "packs"))[0].unlink()
    with pytest.raises(StoreMissing):
        await house.tree(tenant, project)


async def test_a_keyring_that_does_not_open_is_not_taken_from_a_copy(house: House, tmp_path: Path) -> None:
    tenant, _ = await pushed(house, MANY)
    right, wrong, keys = copied(house, tmp_path / "right"), LocalStore(tmp_path / "wrong"), f"tenants/{tenant}/keys"
    await wrong.put(f"{keys}/2", (await right.get(f"{keys}/1"))[:-1])
    await house.estate.store.delete(f"{keys}/1")
    done = await mended(house, wrong)
    assert (done.restored, len(done.left)) == (0, 1)
    assert not [name async for name in house.estate.store.list(keys)]
    assert (await mended(house, right)).restored == 1
    assert (await verify(house.estate, full=True)).clean


async def test_what_is_sealed_under_a_key_that_is_missing_is_not_given_up(house: House) -> None:
    tenant, project = await pushed(house, MANY)
    ring, store = house.estate.keyring, house.estate.store
    older = await store.get(f"tenants/{tenant}/keys/1")
    await ring.begin_epoch(tenant)
    await house.put(tenant, project, "since.md", b"# Since\n")
    before = await house.tree(tenant, project)
    newer = await store.get(f"tenants/{tenant}/keys/2")
    await store.delete(f"tenants/{tenant}/keys/2")
    await store.put(f"tenants/{tenant}/keys/1", older)  # as somebody who puts an old copy back
    await ring.key_of(tenant, anew=True)
    done = await mended(house)
    assert (done.lost, done.moved) == (0, 0)
    assert any("there is no key of epoch 2, restore the keys" in line for line in done.left)
    await store.put(f"tenants/{tenant}/keys/2", newer)
    await ring.key_of(tenant, anew=True)
    assert await house.tree(tenant, project) == before
    assert (await verify(house.estate, full=True)).clean
