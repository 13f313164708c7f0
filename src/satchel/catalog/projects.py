"""The projects of a tenant and how they relate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, delete, func, insert, or_, select
from sqlalchemy import update as sql_update
from sqlalchemy.exc import IntegrityError

from satchel.catalog import quotas
from satchel.catalog.schema import TENANT, damaged, mine, project, relation
from satchel.catalog.scope import Scope, chunks
from satchel.errors import AlreadyExists
from satchel.objects.ids import Digest, Lineage, ProjectId, is_random_id
from satchel.objects.listing import digest


class ProjectRow(NamedTuple):
    id: ProjectId
    slug: str
    description: str
    created: int
    archived: int | None
    lineage: Lineage
    version: int
    digest: Digest
    files: int
    """Of the head, as is ``bytes``, the sum of their sizes."""
    bytes: int
    damaged: int = 0
    """Objects noted as lost; see ``damage``."""


class RelationRow(NamedTuple):
    type: str
    target: str
    """As the manifest names it: a slug or an id, of a project that need not exist."""


_DAMAGED = (  # with the row, since every answer about a project says it
    select(func.count(damaged.c.object))
    .where(mine(damaged), mine(project), damaged.c.project_id == project.c.project_id)
    .correlate(project)
    .scalar_subquery()
    .label("damaged")
)
_COLUMNS = [project.c.project_id, *(project.c[name] for name in ProjectRow._fields[1:-1]), _DAMAGED]
_MINE = select(*_COLUMNS).where(mine(project))
_BY_ID = _MINE.where(project.c.project_id == bindparam("ref"))
_BY_SLUG = _MINE.where(project.c.slug == bindparam("ref"))
_LIST = _MINE.where(project.c.slug > bindparam("after")).order_by(project.c.slug).limit(bindparam("limit"))
_LIST_ACTIVE = _LIST.where(project.c.archived.is_(None))
_SOME = _MINE.where(project.c.project_id.in_(bindparam("ids", expanding=True)))
_INSERT = insert(project).values(tenant_id=TENANT)
_UPDATE = sql_update(project).where(mine(project), project.c.project_id == bindparam("of_project"))
_RELATIONS = (
    select(relation.c.type, relation.c.target)
    .where(mine(relation), relation.c.project_id == bindparam("project"))
    .order_by(relation.c.type, relation.c.target)
)
_RELATIONS_OF = (
    select(relation.c.project_id, relation.c.type, relation.c.target)
    .where(mine(relation), relation.c.project_id.in_(bindparam("ids", expanding=True)))
    .order_by(relation.c.project_id, relation.c.type, relation.c.target)
)
_DROP_RELATIONS = delete(relation).where(mine(relation), relation.c.project_id == bindparam("project"))
_INSERT_RELATION = insert(relation).values(tenant_id=TENANT)
_NEIGHBOURS = (
    select(*_COLUMNS)
    .select_from(
        relation.join(
            project,
            and_(mine(project), or_(project.c.project_id == relation.c.target, project.c.slug == relation.c.target)),
        )
    )
    .where(mine(relation), relation.c.project_id == bindparam("project"))
    .order_by(project.c.slug)
)


async def create(s: Scope, *, id: ProjectId, slug: str, description: str, now: int, lineage: Lineage) -> ProjectRow:  # noqa: A002
    """Create an empty project at version 0.

    Raises ``AlreadyExists`` (fact ``field``: ``slug`` or ``id``) when the tenant has one so called, ``QuotaReached``.
    """
    await quotas.check_count(s, "projects", now)
    row = ProjectRow(id, slug, description, now, None, lineage, 0, digest({}), 0, 0)
    for field, query, ref in (("id", _BY_ID, id), ("slug", _BY_SLUG, slug)):
        if await s.row(query, {"ref": ref}) is not None:
            raise AlreadyExists(f"a project with the {field} {ref} exists already", field=field)
    values = row._asdict()
    values["project_id"] = values.pop("id")
    del values["damaged"]
    await s.execute(_INSERT, values)
    return row


async def get(s: Scope, ref: str) -> ProjectRow | None:
    """The project of that id or slug, archived ones too, or None."""
    if "\0" in ref:
        return None  # nothing is called so, and it could not be asked for
    row = await s.row(_BY_ID if is_random_id(ref, "prj") else _BY_SLUG, {"ref": ref})
    return None if row is None else ProjectRow._make(row)


async def list_(s: Scope, after: str = "", limit: int = 100, *, archived: bool = False) -> list[ProjectRow]:
    """Projects whose slug comes after ``after``, by slug; with ``archived`` those too."""
    rows = await s.rows(_LIST if archived else _LIST_ACTIVE, {"after": after, "limit": limit})
    return [ProjectRow._make(row) for row in rows]


async def some(s: Scope, ids: Sequence[ProjectId]) -> list[ProjectRow]:
    """Those of ``ids`` that exist, by slug, archived ones too: for a principal with grants on a few projects."""
    found: list[ProjectRow] = []
    for chunk in chunks(ids):
        found.extend(ProjectRow._make(row) for row in await s.rows(_SOME, {"ids": list(chunk)}))
    return sorted(found, key=lambda row: row.slug)


async def update(s: Scope, id: ProjectId, *, slug: str | None = None, description: str | None = None) -> bool:  # noqa: A002
    """Rename or describe a project; False if there is none. Raises ``AlreadyExists`` for a slug that is taken."""
    given = {"slug": slug, "description": description}
    values = {name: value for name, value in given.items() if value is not None}
    if not values:
        return await get(s, id) is not None
    try:
        async with s.attempt():
            return await s.execute(_UPDATE.values(values), {"of_project": id}) == 1
    except IntegrityError as error:
        raise AlreadyExists(f"a project with the slug {slug} exists already", field="slug") from error


async def archive(s: Scope, id: ProjectId, now: int | None) -> bool:  # noqa: A002
    """Put a project into the archive at ``now``, or with None take it out; False if there is none.

    An archived project can be read and not changed; put there again it keeps the time of the first.
    """
    when = None if now is None else func.coalesce(project.c.archived, now)
    return await s.execute(_UPDATE.values(archived=when), {"of_project": id}) == 1


async def relations(s: Scope, id: ProjectId) -> list[RelationRow]:  # noqa: A002
    """The relations its manifest declares, by type and target."""
    return [RelationRow._make(row) for row in await s.rows(_RELATIONS, {"project": id})]


async def relations_of(s: Scope, ids: Sequence[ProjectId]) -> dict[ProjectId, list[RelationRow]]:
    """The same for several projects at once; those without any are left out."""
    found: dict[ProjectId, list[RelationRow]] = {}
    for chunk in chunks(ids):
        for id_, kind, target in await s.rows(_RELATIONS_OF, {"ids": list(chunk)}):
            found.setdefault(ProjectId(id_), []).append(RelationRow(kind, target))
    return found


async def set_relations(s: Scope, id: ProjectId, wanted: Iterable[tuple[str, str]]) -> None:  # noqa: A002
    """Replace the relations of a project by (type, target) pairs, in the transaction that changed its manifest."""
    await s.execute(_DROP_RELATIONS, {"project": id})
    rows = [(id, kind, target) for kind, target in sorted(set(wanted))]
    await s.execute_many(_INSERT_RELATION, ("project_id", "type", "target"), rows)


async def related(s: Scope, id: ProjectId) -> list[ProjectRow]:  # noqa: A002
    """The existing projects a project's relations name, by slug, each once. Whether they may be read is not judged."""
    rows = await s.rows(_NEIGHBOURS, {"project": id})
    return list(dict.fromkeys(ProjectRow._make(row) for row in rows))
