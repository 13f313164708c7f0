"""What the catalog's tests build again and again: tenants, projects, packs, versions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Self

from sqlalchemy import bindparam, select

from satchel.catalog import projects
from satchel.catalog.bootstrap import Founded, found_tenant
from satchel.catalog.packs import PENDING, PlaceRow, add_pack
from satchel.catalog.schema import mine, pack
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.versions import ChangeIn, Head, NewVersion, commit, head
from satchel.objects.ids import Digest, FrameId, Lineage, ObjectId, ProjectId, TenantId, new_id, object_id

PEPPER = b"p" * 32
NOW = 1_800_000_000_000
PROJECT = ProjectId(new_id("prj", bytes(16)))
_WAITING = select(pack.c.pack).where(mine(pack), pack.c.project_id == bindparam("project"), pack.c.state == PENDING)


Beneath = Callable[[str], Awaitable[list[tuple[object, ...]]]]
"""Runs SQL past every wall."""


class Tenants(NamedTuple):
    a: TenantId
    b: TenantId
    founded: Founded
    """What founding the first of them gave."""

    @classmethod
    async def found(cls, catalog: Catalog) -> Self:
        async with catalog.directory(write=True) as d:
            first = await found_tenant(d, slug="first", name="First", pepper=PEPPER, now=NOW, operates=True)
            second = await found_tenant(d, slug="second", name="Second", pepper=PEPPER, now=NOW)
        for tenant in (first.tenant.id, second.tenant.id):
            async with catalog.write(tenant) as s:
                await new_project(s)
        return cls(first.tenant.id, second.tenant.id, first)


async def new_project(s: Scope, slug: str = "acme", id: ProjectId = PROJECT) -> ProjectId:  # noqa: A002
    await projects.create(s, id=id, slug=slug, description="", now=NOW, lineage=Lineage("lin_1"))
    return id


def named(text: str) -> ObjectId:
    return object_id(text.encode())


def place(
    name: ObjectId, pack: str, *, part: int = 0, parts: int = 1, size: int = 10, length: int | None = None
) -> PlaceRow:
    held = size if length is None else length
    return PlaceRow(name, part, parts, size, pack, FrameId("f" * 64), 0, 100, 0, held)


async def hold(s: Scope, *texts: str, pack: str = "pack-1", project: ProjectId = PROJECT, size: int = 1_000) -> str:
    """A pending pack with the objects of these texts."""
    rows = [place(named(text), pack) for text in texts]
    await add_pack(s, project, pack, size, rows, NOW + 1, now=NOW)
    return pack


def files(wanted: Mapping[str, str | None]) -> list[ChangeIn]:
    """Changes from path to text, or to None for a deletion."""
    return [
        ChangeIn(path) if text is None else ChangeIn(path, "100644", named(text), 10, "note", f"Title of {text}")
        for path, text in wanted.items()
    ]


async def lengthen(
    s: Scope,
    wanted: Mapping[str, str | None] | Sequence[ChangeIn],
    *,
    packs: Sequence[str] | None = None,
    project: ProjectId = PROJECT,
    parent: Head | None = None,
    author: str = "Ann",
    arrived: Sequence[str] = (),
) -> Head:
    """Commit on top of ``parent`` (default: the head), with ``packs`` (default: all that wait).

    ``arrived`` are texts that ``packs`` brought just now.
    """
    if packs is None:
        packs = [row.pack for row in await s.rows(_WAITING, {"project": project})]
    parent = await head(s, project) if parent is None else parent
    changes = files(wanted) if isinstance(wanted, Mapping) else wanted
    number = parent.version + 1
    came = frozenset(map(named, arrived))
    new = NewVersion(parent, digest_of(number), changes, packs, f"rec_{number}", "mem_1", author, NOW + number, came)
    made = await commit(s, project, new)
    return Head(made.lineage, made.version, made.digest)


def digest_of(number: int) -> Digest:
    return Digest(f"{number:064x}")
