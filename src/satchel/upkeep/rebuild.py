"""A catalog made from the bucket alone: tenants, projects, versions, and where their contents lie.

Who may do what is not in the bucket: each tenant gets one new owner key. People, grants, keys and the audit come from
backups. A restored backup uses the same steps for what was made since it was taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from satchel.auth.roles import TenantRole
from satchel.catalog import principals, recover, tenants
from satchel.catalog.installation import bind
from satchel.catalog.quotas import Limits
from satchel.catalog.scope import Catalog
from satchel.errors import Damaged, Refused
from satchel.objects.ids import Lineage, ProjectId, TenantId, is_random_id, new_id
from satchel.store.about import Abouts, ProjectAbout, TenantAbout
from satchel.store.keyring import Keyring, TenantShredded
from satchel.store.objectstore import ObjectStore
from satchel.store.packs import Vault
from satchel.store.rootkey import RootKey
from satchel.upkeep.about import every_project
from satchel.upkeep.estate import Estate, Progress, silent
from satchel.upkeep.fresh import fresh_catalog
from satchel.upkeep.operated import begin_again
from satchel.upkeep.recovery import Recovered, recover_project

_About = TypeVar("_About", TenantAbout, ProjectAbout)


class NothingToRebuild(Refused):
    code = "restore.nothing_there"
    default_hint = "Name the right store (SATCHEL_STORE_URL), or restore a backup with its copy of the bucket."


@dataclass(frozen=True, slots=True)
class Holdings:
    """What names in the bucket tell of: the tenants, each with its projects, and which tenants were shredded."""

    projects: Mapping[TenantId, frozenset[ProjectId]]
    shredded: frozenset[TenantId]


@dataclass(frozen=True, slots=True)
class NewOwner:
    """A key that owns a tenant whose people are not known any more. ``key`` is shown once and stored nowhere."""

    tenant: TenantId
    slug: str
    key: str
    operates: bool
    """Whether it may also run the server."""


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What was made. ``unreadable`` are tenants whose keyring is missing or does not open, and why."""

    owners: tuple[NewOwner, ...]
    projects: tuple[Recovered, ...]
    unnamed: int
    """Tenants and projects of which nothing was said: they are called by their ids."""
    shredded: int
    unreadable: tuple[tuple[TenantId, str], ...]


async def rebuild_catalog(
    store: ObjectStore,
    root: RootKey,
    catalog: Path,
    *,
    replace: bool,
    limits: Limits,
    clock: Callable[[], int],
    random: Callable[[int], bytes],
    progress: Progress = silent,
) -> RebuildReport:
    """Make ``catalog`` of what ``store`` holds. Killed anywhere it leaves no catalog; begun again it comes to the same.

    The bucket is not written to, but for the mark of a project's new lineage. Raises ``WrongKey``,
    ``NothingToRebuild``, ``CatalogInTheWay``, and what the store raises.
    """
    keyring = Keyring(store, root, clock=clock, random=random)
    installation = await keyring.installation()
    held = await holdings(store)
    if not held.projects:
        raise NothingToRebuild("the store holds no tenant")
    async with (
        fresh_catalog(catalog, replace=replace) as making,
        estate_at(making, store, root, keyring, clock, random) as estate,
    ):
        async with estate.catalog.directory(write=True) as d:
            await bind(d, installation.id)
        made = await add_unknown(estate, held, installation.pepper, limits, operators=True)
        found = await recover_all(estate, progress)
        await begin_again(estate, "tenant.rebuild", "made from the bucket")
    return RebuildReport(made.owners, tuple(found), made.unnamed, len(held.shredded), made.unreadable)


async def holdings(store: ObjectStore) -> Holdings:
    """Walk all names of the bucket once."""
    found: dict[TenantId, set[ProjectId]] = {}
    shredded: set[TenantId] = set()
    async for stored in store.list("tenants/"):
        parts = stored.name.split("/")
        if not is_random_id(parts[1], "ten"):
            continue
        tenant = TenantId(parts[1])
        if parts[2] == "shredded":
            shredded.add(tenant)
        known = found.setdefault(tenant, set())
        if parts[2] == "projects" and is_random_id(parts[3], "prj"):
            known.add(ProjectId(parts[3]))
    standing = {tenant: frozenset(known) for tenant, known in found.items() if tenant not in shredded}
    return Holdings(standing, frozenset(shredded))


@dataclass(frozen=True, slots=True)
class Added:
    """Tenants and projects that the bucket knows and the catalog did not."""

    owners: tuple[NewOwner, ...]
    unnamed: int
    unreadable: tuple[tuple[TenantId, str], ...]


async def add_unknown(estate: Estate, held: Holdings, pepper: bytes, limits: Limits, *, operators: bool) -> Added:
    """Put into the catalog every tenant and project of the bucket that it lacks, empty, under the name they had.

    With ``operators`` the new owner of the oldest tenant may run the server.
    """
    abouts = Abouts(estate.store, estate.keyring, random=estate.random)
    known = {row.id for row in await estate.tenants()}
    unnamed, unreadable, said = 0, list[tuple[TenantId, str]](), dict[TenantId, TenantAbout | None]()
    for tenant in held.projects:
        try:
            await estate.keyring.current(tenant)
            said[tenant] = await _or_none(abouts.tenant(tenant))
        except (Damaged, TenantShredded) as error:
            unreadable.append((tenant, error.message))
    owners: list[NewOwner] = []
    oldest_first = sorted(said, key=lambda t: (said[t].created if said[t] else estate.clock(), t))  # type: ignore[union-attr]
    for tenant in oldest_first:
        about = said[tenant]
        if tenant not in known:
            unnamed += about is None
            owner = await _add_tenant(estate, tenant, about, pepper, limits, operates=operators and not owners)
            owners.append(owner)
        there = {row.id async for row in every_project(estate.catalog, tenant)}
        for project in sorted(held.projects[tenant] - there):
            called = await _or_none(abouts.project(tenant, project))
            unnamed += called is None
            await _add_project(estate, tenant, project, called)
    return Added(tuple(owners), unnamed, tuple(unreadable))


async def recover_all(
    estate: Estate, progress: Progress = silent, *, without: Set[TenantId] = frozenset()
) -> list[Recovered]:
    """Bring every project of the catalog forward, but those of tenants ``without`` keys. ``progress`` counts them."""
    todo = []
    for tenant in await estate.tenants():
        if tenant.id in without:
            continue
        todo += [(tenant.id, project.id) async for project in every_project(estate.catalog, tenant.id)]
    found = []
    for tenant_id, project in todo:
        found.append(await recover_project(estate, tenant_id, project))
        progress(len(found), len(todo))
    return found


@asynccontextmanager
async def estate_at(
    catalog: Path,
    store: ObjectStore,
    root: RootKey,
    keyring: Keyring,
    clock: Callable[[], int],
    random: Callable[[int], bytes],
) -> AsyncIterator[Estate]:
    """An estate over a catalog that is being made, brought to this version's schema."""
    url = f"sqlite:///{catalog.absolute()}"  # noqa: ASYNC240 (no look at the disk)
    await Catalog.migrate(url)
    opened = await Catalog.open(url, random=random)
    try:
        yield Estate(opened, store, root, keyring, Vault(store, keyring, random=random), clock, random)
    finally:
        await opened.close()


async def _add_tenant(
    estate: Estate, tenant: TenantId, about: TenantAbout | None, pepper: bytes, limits: Limits, *, operates: bool
) -> NewOwner:
    now = estate.clock()
    async with estate.catalog.directory(write=True) as d:
        slug = about.slug if about is not None and await tenants.find(d, about.slug) is None else tenant
        name, created = (about.name, about.created) if about is not None else (slug, now)
        await tenants.create(d, id=tenant, slug=slug, name=name, now=created, limits=limits)
        if about is not None and about.state != tenants.ACTIVE:
            await tenants.set_state(d, tenant, tenants.SUSPENDED)
        s = d.enter(tenant)
        row, key = await principals.issue_key(s, pepper=pepper, name="recovery", now=now, tenant_role=TenantRole.OWNER)
        if operates:
            await recover.make_operator(s, row.id)
    return NewOwner(tenant, slug, key, operates)


async def _add_project(estate: Estate, tenant: TenantId, project: ProjectId, about: ProjectAbout | None) -> None:
    async with estate.catalog.write(tenant) as s:
        if about is None:
            lineage = Lineage(new_id("lin", estate.random(16)))
            about = ProjectAbout(project, "", estate.clock(), None, lineage)
        slug = project if await recover.slug_taken(s, about.slug) else about.slug
        await recover.add_project(s, project, slug, about.description, about.created, about.archived, about.lineage)


async def _or_none(asked: Awaitable[_About | None]) -> _About | None:
    try:
        return await asked
    except Damaged:
        return None
