"""Whether stored objects can be read back: every place is fetched, opened, decompressed and hashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from satchel.errors import Damaged
from satchel.objects.ids import ObjectId, ProjectId, TenantId
from satchel.store.packs import Vault
from satchel.store.places import Place


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was read: ``objects`` and their ``bytes`` are sound, ``problems`` names the others and why."""

    objects: int
    bytes: int
    problems: tuple[tuple[ObjectId, str], ...]

    @property
    def clean(self) -> bool:
        return not self.problems


async def verify_project(vault: Vault, tenant: TenantId, project: ProjectId, places: Sequence[Place]) -> VerifyReport:
    """Read every object of ``places``. Damage goes into the report; a store that does not answer raises.

    Sound packs are read whole; only where one is damaged are its objects tried one by one.
    """
    by_object: dict[ObjectId, list[Place]] = {}
    for place in places:
        by_object.setdefault(place.object, []).append(place)
    sizes: dict[ObjectId, int] = {}
    try:
        async for name, data in vault.read_objects(tenant, project, places):
            sizes[name] = len(data)
    except Damaged:
        pass  # which ones is found out below
    problems = []
    for name in by_object.keys() - sizes.keys():
        try:
            sizes[name] = len(await vault.read_object(tenant, project, by_object[name]))
        except Damaged as error:
            problems.append((name, error.message))
    return VerifyReport(len(sizes), sum(sizes.values()), tuple(sorted(problems)))
