"""Two tenants with the same ids and names in everything: what one does or asks never meets the other (P5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from satchel.auth.roles import Role, TenantRole
from satchel.catalog import audit, grants, idempotency, principals, projects, quotas, sessions, tenants, versions
from satchel.catalog.scope import Catalog, Scope
from satchel.catalog.standing import of_token
from satchel.errors import CredentialInvalid, NotFound
from satchel.objects.ids import PrincipalId, ProjectId, new_id
from tests.catalog.conftest import catalog, catalog_path, catalog_url, migrated, pytest_generate_tests  # noqa: F401
from tests.catalog.make import NOW, PROJECT, Tenants, files, hold, lengthen, named, new_project

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P5")]

KEY = PrincipalId("key_same")
FAMILY = new_id("fam", bytes(16))
SECRET = "only the first tenant has this"


async def fill(s: Scope, mark: str) -> None:
    """The same ids everywhere, and ``mark`` in everything that is text."""
    await projects.update(s, PROJECT, description=mark)
    await projects.set_relations(s, PROJECT, [("part-of", mark)])
    row = principals.PrincipalRow(
        KEY, principals.KEY, mark, TenantRole.MEMBER, Role.READ, None, None, None, NOW, None, None
    )
    await principals.add(s, row, mac=mark.encode())
    await grants.give(s, PROJECT, KEY, Role.WRITE, NOW)
    await sessions.start(s, pepper=mark.encode(), family=FAMILY, principal_id=KEY, now=NOW, lifetime_ms=60_000)
    await sessions.revoke_token(s, mark, NOW + 1)
    await hold(s, mark, pack="pack-same")
    change = files({"same.md": mark})[0]._replace(title=mark)
    await lengthen(s, [change], author=mark)
    await audit.record(s, None, mark, mark, mark, mark, NOW)
    await idempotency.save(s, "mem_same", "sync", "same", "same", mark, NOW)


async def token(s: Scope) -> object:
    """Who comes with the token that the first tenant revoked."""
    try:
        return await of_token(s, KEY, SECRET)
    except CredentialInvalid as refused:
        return refused.message


QUESTIONS: dict[str, Callable[[Scope], Awaitable[Any]]] = {
    "project": lambda s: projects.get(s, "acme"),
    "project by id": lambda s: projects.get(s, PROJECT),
    "projects": lambda s: projects.list_(s, archived=True),
    "some projects": lambda s: projects.some(s, [PROJECT]),
    "relations": lambda s: projects.relations(s, PROJECT),
    "related": lambda s: projects.related(s, PROJECT),
    "head": lambda s: versions.head(s, PROJECT),
    "tree": lambda s: versions.tree(s, PROJECT),
    "entry": lambda s: versions.entry_at(s, PROJECT, "same.md"),
    "entries": lambda s: versions.entries_at(s, PROJECT, ["same.md"]),
    "changes": lambda s: versions.changes(s, PROJECT, 0, 1),
    "versions": lambda s: versions.versions(s, PROJECT),
    "missing": lambda s: versions.missing(s, PROJECT, [named(SECRET), named("other")]),
    "places": lambda s: versions.places(s, PROJECT, [named(SECRET), named("other")]),
    "all places": lambda s: versions.all_places(s, PROJECT),
    "keys": lambda s: principals.list_(s, "key", revoked=True),
    "key": lambda s: principals.get(s, KEY),
    "resolve": lambda s: principals.resolve(s, KEY),
    "grants of project": lambda s: grants.of_project(s, PROJECT),
    "grants of principal": lambda s: grants.of_principal(s, KEY),
    "token": token,
    "audit": audit.list_,
    "idempotency": lambda s: idempotency.find(s, "mem_same", "sync", "same", "same", NOW),
    "usage": quotas.usage,
    "limits": quotas.limits,
    "tenant": tenants.own,
}


async def answers(catalog: Catalog, tenant: str) -> dict[str, str]:  # noqa: F811
    found = {}
    async with catalog.read(tenant) as s:
        for name, question in QUESTIONS.items():
            try:
                found[name] = repr(await question(s))
            except NotFound as absent:
                found[name] = repr((absent.code, absent.message))
    return found


@pytest.fixture
async def two(catalog: Catalog) -> Tenants:  # noqa: F811
    return await Tenants.found(catalog)


async def test_what_one_tenant_writes_changes_no_answer_to_the_other(catalog: Catalog, two: Tenants) -> None:  # noqa: F811
    before = await answers(catalog, two.b)
    async with catalog.write(two.a) as s:
        await fill(s, SECRET)
    assert await answers(catalog, two.b) == before


async def test_with_the_same_ids_in_both_each_answer_holds_its_own_alone(catalog: Catalog, two: Tenants) -> None:  # noqa: F811
    for tenant, mark in ((two.a, SECRET), (two.b, "other")):
        async with catalog.write(tenant) as s:
            await fill(s, mark)
    first, second = await answers(catalog, two.a), await answers(catalog, two.b)
    assert SECRET in repr(first)
    assert SECRET not in repr(second)
    assert two.a not in repr(second)
    assert "'other'" not in repr(first)


async def test_what_one_tenant_takes_away_the_other_keeps(catalog: Catalog, two: Tenants) -> None:  # noqa: F811
    for tenant in (two.a, two.b):
        async with catalog.write(tenant) as s:
            await fill(s, SECRET)
    kept = await answers(catalog, two.a)
    async with catalog.write(two.b) as s:
        await lengthen(s, {"same.md": None})
        await grants.take(s, PROJECT, KEY)
        await principals.revoke(s, KEY, NOW)
        await projects.archive(s, PROJECT, NOW)
        await projects.set_relations(s, PROJECT, [])
        await sessions.expire(s, NOW * 2)
        await idempotency.expire(s, NOW * 2)
        await quotas.set_limits(s, quotas.Limits(0, 0, 0, 0))
        await tenants.rename(s, name="renamed")
    assert await answers(catalog, two.a) == kept


async def test_a_project_of_another_tenant_answers_as_one_that_never_was(catalog: Catalog, two: Tenants) -> None:  # noqa: F811
    async with catalog.write(two.a) as s:
        theirs = await new_project(s, "secret-project", ProjectId("prj_0000000000000000000000theirs"))
    async with catalog.read(two.b) as s:
        for ref in (theirs, "secret-project"):
            assert await projects.get(s, ref) is None
        with pytest.raises(NotFound) as caught:
            await versions.head(s, theirs)
        with pytest.raises(NotFound) as never:
            await versions.head(s, "prj_0000000000000000000000000000")
        assert (caught.value.code, caught.value.message) == (never.value.code, never.value.message)
