"""Which checkpoints of a project's index count, and which are to go.

A checkpoint counts while nothing it holds had to go since: it is of the project's line of history, of a version that
can still be read, from after the newest purge, and under the tenant's newest key. Of those that count one is kept.
Everything else is deleted by whoever sees it; a purge deletes all, since they may hold what it removes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from satchel.catalog import projects, purges, versions
from satchel.catalog.projects import ProjectRow
from satchel.catalog.scope import Catalog
from satchel.errors import Damaged, NoSuchProject, StoreMissing
from satchel.objects.ids import ProjectId, TenantId
from satchel.store.checkpoints import HEAD, KIND, Checkpoints, Found, folder
from satchel.store.keyring import Keyring
from satchel.upkeep.estate import Estate
from satchel.upkeep.findings import Findings, Target

UNPURGED = (0, 0)


class Standing(NamedTuple):
    """What a checkpoint has to fit."""

    project: ProjectRow
    floor: int
    purged: tuple[int, int]
    epoch: int


async def standing(catalog: Catalog, keyring: Keyring, tenant: TenantId, project: ProjectId) -> Standing:
    """How a project stands now. Raises ``NoSuchProject``."""
    epoch, _ = await keyring.current(tenant)
    async with catalog.read(tenant) as s:
        purged = (await purges.newest(s)).get(project, UNPURGED)
        # After the purges: a head read before them could hold what they removed.
        row = await projects.get(s, project)
        if row is None:
            raise NoSuchProject("there is no such project")
        return Standing(row, await versions.floor(s, project), purged, epoch)


def fits(found: Found, now: Standing) -> bool:
    """Whether a checkpoint counts."""
    made = found.checkpoint
    return (
        made is not None
        and made.lineage == now.project.lineage
        and made.version >= now.floor
        and made.purged == now.purged
        and found.epoch == now.epoch
    )


def kept(all_found: Sequence[Found], now: Standing) -> Found | None:
    """The one that stays: of the newest format, and there of the newest version."""
    return max((each for each in all_found if fits(each, now)), key=_rank, default=None)


def leavings(all_found: Sequence[Found], now: Standing, old: int) -> list[Found]:
    """Those to be deleted. One without a head may be on its way, unless it was last written to before ``old``."""
    stays = kept(all_found, now)
    return [
        each
        for each in all_found
        if each is not stays
        and (each.checkpoint is not None or each.error is not None or (not each.whole and each.modified < old))
    ]


async def remove_all(checkpoints: Checkpoints, tenant: TenantId, project: ProjectId) -> None:
    """Delete every checkpoint of a project, those on their way too."""
    await checkpoints.delete(tenant, project, await checkpoints.all(tenant, project))


async def examine_checkpoints(estate: Estate, target: Target, findings: Findings, *, full: bool) -> list[Found]:
    """Tell of checkpoints that no node could begin with, pieces opened with ``full``; those without a head."""
    kept = Checkpoints(estate.store, estate.keyring, random=estate.random)
    found = await kept.all(target.tenant, target.project)
    for each in found:
        path = f"{folder(target.tenant, target.project)}{each.name}/"
        if each.error is not None:
            findings.add(KIND, path + HEAD, each.error.message)
        for number in range(each.checkpoint.pieces if each.checkpoint is not None else 0):
            try:
                if full:
                    await kept.piece(target.tenant, target.project, each, number)
                elif str(number) not in each.names:
                    raise StoreMissing("a piece of the checkpoint is missing")
            except Damaged as error:
                findings.add(KIND, f"{path}{number}", error.message)
    return [each for each in found if not each.whole]


def _rank(found: Found) -> tuple[int, int, str]:
    made = found.checkpoint
    assert made is not None
    return made.index_format, made.version, found.name
