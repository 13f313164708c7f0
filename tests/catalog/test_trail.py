"""The versions that changed one path."""

from __future__ import annotations

import pytest

from satchel.catalog import trail
from satchel.catalog.scope import Catalog
from tests.catalog.make import PROJECT, Tenants, hold, lengthen

pytestmark = pytest.mark.anyio

STEPS: tuple[dict[str, str | None], ...] = (
    {"a.md": "one", "b.md": "one"},  # 1: added
    {"a.md": "two"},  # 2: changed
    {"b.md": "two"},
    {"a.md": None},  # 4: deleted
    {"b.md": None},
    {"a.md": "three", "b.md": "one"},  # 6: added again
    {"a.md": "one"},  # 7: changed
)
OF_A = [(7, (0, 1, 0)), (6, (1, 0, 0)), (4, (0, 0, 1)), (2, (0, 1, 0)), (1, (1, 0, 0))]


async def test_a_path_is_followed_through_deletion_and_return_page_by_page(catalog: Catalog, tenants: Tenants) -> None:
    async with catalog.write(tenants.a) as s:
        pack = await hold(s, "one", "two", "three")
        for number, step in enumerate(STEPS):
            await lengthen(s, step, packs=[] if number else [pack], author=f"author {number + 1}")

    async def asked(path: str, before: int | None, limit: int) -> list[tuple[int, tuple[int, int, int]]]:
        async with catalog.read(tenants.a) as s:
            rows = await trail.of_path(s, PROJECT, path, before, limit)
        assert all(row.author == f"author {row.version}" for row in rows)
        return [(row.version, (row.added, row.changed, row.deleted)) for row in rows]

    assert await asked("a.md", None, 50) == OF_A
    for limit in range(1, 6):
        for at, before in enumerate((None, 7, 6, 4, 2)):
            assert await asked("a.md", before, limit) == OF_A[at : at + limit]
    assert await asked("a.md", 1, 50) == []
    assert await asked("b.md", 6, 1) == [(5, (0, 0, 1))]
    assert await asked("c.md", None, 50) == []
    async with catalog.read(tenants.b) as s:
        assert await trail.of_path(s, PROJECT, "a.md") == []
