"""What a check of a project reads."""

from __future__ import annotations

import pytest

from satchel.catalog import inspection, packs
from satchel.catalog.scope import Catalog
from tests.catalog.make import NOW, PROJECT, Tenants, hold, lengthen, named

pytestmark = pytest.mark.anyio


async def test_what_is_not_whole_is_found_among_thousands_that_the_database_has_not_counted_yet(
    catalog: Catalog, tenants: Tenants
) -> None:
    # As after a restore. Where each file was compared with every pack, this many took longer than a statement may.
    texts = [str(number) for number in range(2_000)]
    async with catalog.write(tenants.a) as s:
        names = [await hold(s, text, pack=f"pack-{text}") for text in texts]
        await lengthen(s, {f"{text}.md": text for text in texts}, packs=names)
    async with catalog.read(tenants.a) as s:
        assert await inspection.not_whole(s, PROJECT, 1) == []
    async with catalog.write(tenants.a) as s:
        await packs.mark_dying(s, PROJECT, ["pack-7"], NOW)
        assert await inspection.not_whole(s, PROJECT, 1) == [("7.md", 1, named("7"))]
