"""Projects and their relations."""

from __future__ import annotations

import pytest

from satchel.catalog import projects, quotas
from satchel.catalog.quotas import Limits
from satchel.catalog.scope import Catalog
from satchel.errors import AlreadyExists, QuotaReached
from satchel.objects.ids import ProjectId, new_id
from tests.catalog.make import NOW, PROJECT, Tenants, new_project

pytestmark = pytest.mark.anyio

OTHER = ProjectId(new_id("prj", b"o" * 16))


async def test_a_project_is_found_by_id_and_by_slug_and_otherwise_not(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.read(tenants.a) as s:
        assert await projects.get(s, PROJECT) == await projects.get(s, "acme")
        for ref in ("", "ACME", "acme ", OTHER, "acm%", "' OR 1=1 --"):
            assert await projects.get(s, ref) is None


async def test_a_slug_or_id_is_taken_once_in_a_tenant(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        with pytest.raises(AlreadyExists) as caught:
            await new_project(s, "acme", OTHER)
        assert caught.value.facts == {"field": "slug"}
        with pytest.raises(AlreadyExists) as caught:
            await new_project(s, "other", PROJECT)
        assert caught.value.facts == {"field": "id"}
        await new_project(s, "other", OTHER)
        with pytest.raises(AlreadyExists):
            await projects.update(s, OTHER, slug="acme")


async def test_a_project_can_be_renamed_and_described(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        assert await projects.update(s, PROJECT, slug="renamed", description="About it")
        assert await projects.update(s, PROJECT)
        assert not await projects.update(s, OTHER, slug="x")
        row = await projects.get(s, "renamed")
        assert row is not None
        assert (row.id, row.description) == (PROJECT, "About it")
        assert await projects.get(s, "acme") is None


async def test_lists_page_by_slug_and_leave_the_archive_out(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        ids = [await new_project(s, slug, ProjectId(new_id("prj", s.random(16)))) for slug in ("c", "b", "d")]
        await projects.archive(s, ids[2], NOW)
        assert [row.slug for row in await projects.list_(s)] == ["acme", "b", "c"]
        assert [row.slug for row in await projects.list_(s, archived=True)] == ["acme", "b", "c", "d"]
        assert [row.slug for row in await projects.list_(s, "acme", 1)] == ["b"]
        assert [row.slug for row in await projects.some(s, [*ids, OTHER])] == ["b", "c", "d"]


async def test_relations_are_replaced_and_lead_to_the_projects_that_exist(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await new_project(s, "other", OTHER)
        await projects.set_relations(s, PROJECT, [("part-of", "gone")])
        await projects.set_relations(
            s, PROJECT, [("part-of", "other"), ("depends-on", OTHER), ("related-to", "absent")]
        )
        assert await projects.relations(s, PROJECT) == [
            ("depends-on", OTHER),
            ("part-of", "other"),
            ("related-to", "absent"),
        ]
        assert [row.slug for row in await projects.related(s, PROJECT)] == ["other"]


async def test_projects_are_counted_against_the_quota(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        await quotas.set_limits(s, Limits(projects=1))
        with pytest.raises(QuotaReached) as caught:
            await new_project(s, "other", OTHER)
        assert caught.value.facts == {"quota": {"name": "projects", "used": 1, "limit": 1}}
        await quotas.set_limits(s, Limits(projects=-1))
        await new_project(s, "other", OTHER)
