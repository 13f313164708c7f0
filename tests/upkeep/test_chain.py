"""Following heads in the bucket: what leads on, what cuts the line, which line counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from satchel.objects.ids import Lineage, ProjectId, TenantId, new_id
from satchel.objects.record import (
    Change,
    CommitRecord,
    Parent,
    RecordRefused,
    decode_record,
    encode_record,
    record_hash,
)
from satchel.upkeep.chain import Point, Walk
from satchel.upkeep.replay import Replay
from tests.upkeep.house import House, fill
from tests.upkeep.recovering import head_name

pytestmark = pytest.mark.anyio
START = ""


async def line_of(house: House, tenant: TenantId, project: ProjectId, preferred: Lineage | None = None) -> Walk:
    """A walk that has come to its end."""
    walk = Walk(house.estate.vault, tenant, project)
    await walk.look()
    line = walk.line(preferred)
    start = Point(line[0][0], 0, START, None)
    async for _ in walk.follow(start, line):
        pass
    return walk


async def three(house: House) -> tuple[TenantId, ProjectId, list[CommitRecord]]:
    tenant = await house.tenant()
    project = await house.project(tenant)
    await fill(house, tenant, project, {"a.md": b"# A", "b.md": b"# B", "c.md": b"# C"})
    walk = Walk(house.estate.vault, tenant, project)
    await walk.look()
    [(lineage, _)] = walk.line(None)
    found = [await walk.record(lineage, version) for version in (1, 2, 3)]
    return tenant, project, [one[0] for one in found if one is not None]


async def put(house: House, tenant: TenantId, project: ProjectId, record: CommitRecord, lineage: Lineage) -> None:
    """Store a record and confirm it as its version of ``lineage``."""
    await house.estate.vault.put_record(tenant, project, record.id, encode_record(record))
    await house.estate.vault.confirm_head(tenant, project, lineage, record.version, record.id)


def following(record: CommitRecord, **changes: object) -> CommitRecord:
    """A record that follows ``record``, but for ``changes``."""
    parent = Parent(record.id, record_hash(encode_record(record)))
    sound = replace(
        record, id=new_id("rec", record.version.to_bytes(16, "big")), parent=parent, version=record.version + 1
    )
    return replace(sound, **changes)  # type: ignore[arg-type]


async def test_a_sound_line_is_walked_to_its_end(house: House) -> None:
    tenant, project, records = await three(house)
    await put(house, tenant, project, following(records[-1]), records[-1].lineage)
    walk = await line_of(house, tenant, project)
    assert (walk.at.version, walk.broken) == (4, None)


@pytest.mark.parametrize("wrong", ["parent", "hash", "version", "lineage", "no parent"])
async def test_a_record_that_does_not_follow_cuts_the_line(house: House, wrong: str) -> None:
    tenant, project, records = await three(house)
    last = records[-1]
    digest = record_hash(encode_record(last))
    wrongs: dict[str, dict[str, object]] = {
        "parent": {"parent": Parent(records[0].id, digest)},
        "hash": {"parent": Parent(last.id, "0" * 64)},
        "version": {"version": 9},
        "lineage": {"lineage": Lineage("lin_0000000000000000000000000a")},
        "no parent": {"parent": None},
    }
    planted = following(last, **wrongs[wrong])
    await house.estate.vault.put_record(tenant, project, planted.id, encode_record(planted))
    await house.estate.vault.confirm_head(tenant, project, last.lineage, 4, planted.id)
    walk = await line_of(house, tenant, project)
    assert (walk.at.version, walk.broken) == (3, "version 4 does not follow version 3")


async def test_a_gap_cuts_the_line_and_its_end_does_not(house: House) -> None:
    tenant, project, records = await three(house)
    await house.estate.store.delete(await head_name(house, tenant, project, 2))
    walk = await line_of(house, tenant, project)
    assert (walk.at.version, walk.broken) == (1, "version 2 is missing")
    await house.estate.store.delete(await head_name(house, tenant, project, 3))
    walk = await line_of(house, tenant, project)
    assert (walk.at.version, walk.broken) == (1, None)
    assert {lost.version for lost in await walk.unconfirmed({records[0].id})} == {2, 3}


async def test_a_lineage_that_continues_another_counts_with_a_mark_or_without(house: House) -> None:
    tenant, project, records = await three(house)
    old, fresh = records[0].lineage, Lineage("lin_0000000000000000000000000b")
    await house.estate.vault.confirm_head(tenant, project, fresh, 2, records[1].id)  # the mark of a restore
    walk = Walk(house.estate.vault, tenant, project)
    await walk.look()
    assert walk.line(None) == [(old, 2), (fresh, 0)]
    walk = await line_of(house, tenant, project)
    assert (walk.at.lineage, walk.at.version, walk.broken) == (fresh, 2, None)
    later = following(records[1], lineage=fresh)
    await put(house, tenant, project, later, fresh)
    await house.estate.store.delete(f"tenants/{tenant}/projects/{project}/heads/{fresh}/2")
    walk = await line_of(house, tenant, project)
    assert (walk.at.lineage, walk.at.version, walk.broken) == (fresh, 3, None)


async def test_two_ends_are_a_cut_unless_one_of_them_is_named(house: House) -> None:
    tenant, project, records = await three(house)
    ends = [Lineage("lin_0000000000000000000000000c"), Lineage("lin_0000000000000000000000000d")]
    for end in ends:
        await house.estate.vault.confirm_head(tenant, project, end, 2, records[1].id)
    walk = await line_of(house, tenant, project)
    assert (walk.unclear, walk.at.version) == ("2 lines of history end here", 2)
    walk = await line_of(house, tenant, project, ends[0])
    assert (walk.at.lineage, walk.unclear) == (ends[0], None)


async def test_a_point_off_the_line_leads_nowhere(house: House) -> None:
    tenant, project, records = await three(house)
    await house.estate.vault.confirm_head(tenant, project, Lineage("lin_0000000000000000000000000e"), 1, records[0].id)
    walk = Walk(house.estate.vault, tenant, project)
    await walk.look()
    start = Point(records[0].lineage, 3, records[2].id, None)
    assert [step async for step in walk.follow(start, walk.line(None))] == []
    assert walk.broken is not None
    assert "does not lead through version 3" in walk.broken


async def test_a_record_whose_changes_lead_elsewhere_is_not_applied(house: House) -> None:
    _, _, records = await three(house)
    replay = Replay()
    replay.apply(records[0])
    before = (dict(replay.living), list(replay.versions))
    other = records[1].changes[0]._replace(path="other.md")
    for changes in ((other,), (), (*records[1].changes, Change("a.md", None, None))):
        with pytest.raises(RecordRefused, match="do not lead to its digest"):
            replay.apply(replace(records[1], changes=changes))
        assert (replay.living, replay.versions) == before
    replay.apply(decode_record(encode_record(records[1])))
    assert replay.head[0] == records[1].digest
