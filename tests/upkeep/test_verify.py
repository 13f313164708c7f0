"""What was acknowledged can be read back, and what cannot is named."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from satchel.catalog import inspection
from satchel.errors import NoSuchProject
from satchel.objects.frame import MAX_FRAME_RAW
from satchel.objects.ids import ProjectId, TenantId, object_id
from satchel.upkeep.findings import Problem, VerifyReport
from satchel.upkeep.keys import shred
from satchel.upkeep.verify import verify
from tests import engines
from tests.engines import on_file
from tests.upkeep.house import House, fill

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P3")]
FILES = {f"docs/{n}.md": f"# Page {n}\n\n{'word ' * n}\n".encode() for n in range(1, 6)}
SIZE = sum(map(len, FILES.values())) + len(FILES["docs/2.md"]) + len(b"# Other\n") + 3 * MAX_FRAME_RAW + 5


async def furnished(house: House) -> tuple[TenantId, ProjectId]:
    """A project with some versions: files added, replaced, deleted, brought back."""
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, FILES)
    await house.put(tenant, project, "docs/1.md", b"# Other\n")
    await house.put(tenant, project, "docs/2.md", None)
    await house.put(tenant, project, "docs/2.md", FILES["docs/2.md"])
    await house.put(tenant, project, "large.bin", os.urandom(3 * MAX_FRAME_RAW + 5))
    return tenant, project


async def only(house: House, *, full: bool = False) -> Problem:
    """The one problem a check finds."""
    report = await verify(house.estate, full=full)
    assert [str(problem) for problem in report.problems] == [str(problem) for problem in report.problems[:1]]
    return report.problems[0]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0x10
    path.write_bytes(data)


async def stored(house: House, kind: str) -> list[Path]:
    return [house.folder / "store" / name for name in sorted(await house.names()) if f"/{kind}/" in name]


def by_hand(house: House, statement: str) -> None:
    assert engines.by_hand(house.folder, statement) != 0


@pytest.mark.parametrize("full", [False, True])
async def test_what_a_server_wrote_is_clean(house: House, full: bool) -> None:
    tenant, project = await furnished(house)
    await house.project(await house.tenant("other"), "empty")
    report = await verify(house.estate, full=full)
    assert report.problems == []
    assert (report.tenants, report.projects, report.versions, report.packs) == (2, 2, 9, 8)
    assert report.objects == (8 if full else 0)  # one was sent twice
    assert report.bytes == (SIZE if full else 0)
    assert (report.orphans, report.orphan_bytes) == (0, 0)
    one = await verify(house.estate, full=full, tenant="acme", project=project)
    assert (one.tenants, one.projects, one.versions) == (1, 1, 9)
    with pytest.raises(NoSuchProject):
        await verify(house.estate, tenant=tenant, project="nowhere")


@pytest.mark.parametrize("at", [0, 5, 40, 75, 90, -1])
async def test_a_flipped_byte_of_a_pack_is_found_with_the_paths_and_versions_it_affects(house: House, at: int) -> None:
    tenant, project = await furnished(house)
    pack = await holding(house, tenant, project, object_id(FILES["docs/2.md"]))
    flip(house.folder / "store" / pack, at)
    assert (await verify(house.estate)).clean  # its size is right, and nobody looked inside
    problem = await only(house, full=True)
    assert (problem.kind, problem.name, problem.tenant, problem.project) == ("pack", pack, "acme", "notes")
    assert [tuple(where) for where in problem.places] == [("docs/2.md", 8, None), ("docs/2.md", 2, 7)]
    assert problem.affected == 2
    assert problem.objects == (object_id(FILES["docs/2.md"]),)


async def holding(house: House, tenant: TenantId, project: ProjectId, name: str) -> str:
    """The name in the store of the pack that holds an object."""
    async with house.estate.catalog.read(tenant) as s:
        for pack in await inspection.packs_after(s, project):
            if any(place.object == name for place in await inspection.places_in(s, project, pack.name)):
                return f"tenants/{tenant}/projects/{project}/packs/{pack.name}"
    raise AssertionError(name)


async def test_a_byte_between_or_after_frames_is_no_place_to_hide(house: House) -> None:
    await furnished(house)
    path = (await stored(house, "packs"))[0]
    path.write_bytes(path.read_bytes() + b"\0")
    for full in (False, True):
        assert "bytes, not" in (await only(house, full=full)).why


@pytest.mark.parametrize("kind", ["packs", "records", "heads"])
@pytest.mark.parametrize("full", [False, True])
async def test_a_file_that_vanished_is_missed(house: House, kind: str, full: bool) -> None:
    await furnished(house)
    paths = await stored(house, kind)
    oldest = next(path for path in paths if kind != "heads" or path.name == "1")
    oldest.unlink()
    problem = await only(house, full=full)
    assert problem.kind == kind[:-1]
    assert oldest.name in problem.name
    assert "it is missing" in problem.why


@pytest.mark.parametrize("kind", ["records", "heads"])
async def test_a_flip_in_a_record_or_a_head_is_found_without_reading_packs(house: House, kind: str) -> None:
    await furnished(house)
    for path in (await stored(house, kind))[::4]:
        before = path.read_bytes()
        flip(path, 100)
        assert (await only(house)).kind == kind[:-1]
        path.write_bytes(before)
    assert (await verify(house.estate)).clean


async def test_the_newest_head_may_be_unconfirmed_and_is_told(house: House) -> None:
    await furnished(house)
    next(path for path in await stored(house, "heads") if path.name == "9").unlink()
    report = await verify(house.estate)
    assert report.clean
    assert "is not confirmed yet" in "".join(report.notes)


async def test_another_record_under_a_head_is_found(house: House) -> None:
    await furnished(house)
    by_hand(house, "UPDATE version SET record = (SELECT record FROM version WHERE version = 2) WHERE version = 3")
    report = await verify(house.estate)
    kinds = {problem.kind for problem in report.problems}
    assert {"version", "head"} <= kinds


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE version SET author = 'Bob' WHERE version = 4", "its record says otherwise: author"),
        ("UPDATE entry SET mode = '100755' WHERE path = 'docs/4.md'", "does not say of docs/4.md"),
        ("UPDATE entry SET size = size + 1 WHERE path = 'docs/4.md'", "does not say of docs/4.md"),
        ("UPDATE entry SET until = NULL WHERE path = 'docs/1.md' AND since = 1", "does not end docs/1.md"),
        ("DELETE FROM entry WHERE path = 'docs/5.md'", "does not say of docs/5.md"),
        ("DELETE FROM version WHERE version = 3", "the catalog has no row of it"),
        ("UPDATE project SET version = 8", "version 9 confirmed, and the catalog ends at 8"),
        ("UPDATE project SET digest = replace(digest, 'a', 'b')", "the project is at version 9"),
        ("UPDATE place SET length = length + 1 WHERE parts = 1", "the catalog's places do not fit it"),
        ("UPDATE place SET frame = replace(frame, 'a', 'b')", "damaged in "),
        ("UPDATE place SET object = replace(object, 'a', 'b')", "no pack holds it"),
        ("DELETE FROM place WHERE parts = 1", "no pack holds it"),
        ("UPDATE pack SET state = 'dying' WHERE size < 1000", "no pack holds it"),
        ("UPDATE pack SET size = size + 1", "its places do not tile it"),
        pytest.param("UPDATE principal SET tenant_role = 'member'", "a row of principal is otherwise", marks=on_file),
    ],
)
async def test_rows_that_do_not_fit_the_sealed_bytes_are_found(house: House, statement: str, said: str) -> None:
    await furnished(house)
    by_hand(house, statement)
    report = await verify(house.estate, full=True)
    assert said in "\n".join(map(str, report.problems))


async def test_a_wrong_size_of_a_sequence_is_found(house: House) -> None:
    await furnished(house)
    for which in ("part = 0", "part = 2", "part >= 0"):
        by_hand(house, f"UPDATE place SET size = size + 1 WHERE parts > 1 AND {which}")
        assert not (await verify(house.estate)).clean
        by_hand(house, f"UPDATE place SET size = size - 1 WHERE parts > 1 AND {which}")
    assert (await verify(house.estate)).clean


async def test_a_damaged_keyring_is_named_and_the_other_tenants_are_looked_at(house: House) -> None:
    await furnished(house)
    other = await house.tenant("other")
    await house.put(other, await house.project(other, "theirs"), "a.md", b"a")
    acme = (await house.estate.tenant("acme")).id
    keyring = next(name for name in await house.names() if name.startswith(f"tenants/{acme}/key"))
    flip(house.folder / "store" / keyring, 90)
    report = await verify(house.estate, full=True)
    assert [(problem.kind, problem.tenant) for problem in report.problems] == [("keyring", "acme")]
    assert report.objects == 1


async def test_a_tenant_whose_shredding_was_stopped_half_way_is_told(house: House) -> None:
    tenant, _ = await furnished(house)
    await house.estate.keyring.shred(tenant)
    report = await verify(house.estate)
    assert report.clean
    assert [note for note in report.notes if "satchel admin key shred acme" in note]
    await shred(house.estate, tenant)
    assert (await verify(house.estate)).notes == []


async def test_what_a_crash_left_is_counted_and_no_damage(house: House) -> None:
    tenant, project = await furnished(house)
    folder = f"tenants/{tenant}/projects/{project}"
    await house.estate.store.put(f"{folder}/packs/pak_00000000000000000000000000", b"12345")
    await house.estate.store.put(f"{folder}/records/rec_00000000000000000000000000", b"123")
    report = await verify(house.estate, full=True)
    assert report.clean
    assert (report.orphans, report.orphan_bytes) == (2, 8)


async def test_versions_below_the_oldest_readable_one_are_not_missed(house: House) -> None:
    await furnished(house)
    by_hand(house, "UPDATE project SET floor = 7")
    by_hand(house, "DELETE FROM entry WHERE until <= 7")
    await house.estate.catalog.accept_rows()
    report = await verify(house.estate, full=True)
    assert report.problems == []


async def test_purged_content_is_not_missed(house: House) -> None:
    tenant, project = await furnished(house)
    name = object_id(FILES["docs/3.md"])
    pack = await holding(house, tenant, project, name)
    by_hand(house, f"INSERT INTO purged VALUES ('{tenant}', '{project}', '{name}', 1)")
    by_hand(house, f"DELETE FROM place WHERE object = '{name}'")
    by_hand(house, f"DELETE FROM pack WHERE pack = '{pack.rpartition('/')[2]}'")
    by_hand(house, "UPDATE usage SET stored_bytes = (SELECT sum(size) FROM pack)")
    await house.estate.catalog.accept_rows()
    report = await verify(house.estate, full=True)
    assert report.problems == []


@pytest.mark.promise("P6")
async def test_a_check_beside_people_at_work_finds_nothing(house: House) -> None:
    tenant, project = await furnished(house)
    stop = False

    async def work() -> None:
        number = 0
        while not stop:
            number += 1
            await house.put(tenant, project, f"busy/{number % 5}.md", b"%d" % number)

    async def look() -> list[VerifyReport]:
        nonlocal stop
        try:
            return [await verify(house.estate, full=True) for _ in range(6)]
        finally:
            stop = True

    reports, _ = await asyncio.gather(look(), work())
    assert [problem for report in reports for problem in report.problems] == []


async def test_progress_counts_stored_bytes(house: House) -> None:
    await furnished(house)
    told: list[tuple[int, int]] = []
    report = await verify(house.estate, full=True, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (report.stored_bytes, report.stored_bytes)
    assert told == sorted(told)
