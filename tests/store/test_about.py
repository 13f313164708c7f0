"""What the bucket says of tenants and projects: sealed, each in its own place, replaced."""

from __future__ import annotations

import os

import pytest

from satchel.errors import SealBroken, WrongKey
from satchel.objects.ids import Lineage, ProjectId, TenantId, new_id
from satchel.store.about import Abouts, ProjectAbout, TenantAbout
from satchel.store.keyring import Keyring
from satchel.store.objectstore import MemoryStore
from satchel.store.rootkey import RootKey

pytestmark = pytest.mark.anyio
TENANT, OTHER = TenantId(new_id("ten", b"a" * 16)), TenantId(new_id("ten", b"b" * 16))
PROJECT = ProjectId(new_id("prj", b"c" * 16))
LINEAGE = Lineage(new_id("lin", b"d" * 16))


@pytest.fixture
async def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
async def abouts(store: MemoryStore) -> Abouts:
    keyring = Keyring(store, RootKey(b"r" * 32), clock=lambda: 1_800_000_000_000, random=os.urandom)
    await keyring.found()
    for tenant in (TENANT, OTHER):
        await keyring.create(tenant)
    return Abouts(store, keyring, random=os.urandom)


async def test_what_was_said_last_is_read_back_and_nothing_where_nothing_was(
    store: MemoryStore, abouts: Abouts
) -> None:
    assert await abouts.tenant(TENANT) is None
    assert await abouts.project(TENANT, PROJECT) is None
    for name in ("Ärger & Söhne", "Acme"):
        tenant = TenantAbout("acme", name, "active", 5)
        await abouts.put_tenant(TENANT, tenant)
        assert await abouts.tenant(TENANT) == tenant
    for archived in (None, 7):
        project = ProjectAbout("notes", "what we know", 6, archived, LINEAGE)
        await abouts.put_project(TENANT, PROJECT, project)
        assert await abouts.project(TENANT, PROJECT) == project
    assert await abouts.tenant(OTHER) is None
    assert not any(b"notes" in data or b"acme" in data for data in store.objects.values())


async def test_a_description_in_anothers_place_or_altered_does_not_open(store: MemoryStore, abouts: Abouts) -> None:
    await abouts.put_tenant(TENANT, TenantAbout("acme", "Acme", "active", 5))
    await abouts.put_project(TENANT, PROJECT, ProjectAbout("notes", "", 6, None, LINEAGE))
    mine, of_project = f"tenants/{TENANT}/about", f"tenants/{TENANT}/projects/{PROJECT}/about"
    await store.put(f"tenants/{OTHER}/about", await store.get(mine))
    with pytest.raises(WrongKey):
        await abouts.tenant(OTHER)
    await store.put(mine, await store.get(of_project))
    with pytest.raises(SealBroken):
        await abouts.tenant(TENANT)
    whole = await store.get(of_project)
    await store.put(of_project, whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SealBroken):
        await abouts.project(TENANT, PROJECT)
