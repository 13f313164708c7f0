"""Whole buckets written once, read from the root key to the contents of files (``tests/vectors/bucket.json``)."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import SatchelError
from satchel.objects.ids import Lineage, ObjectId, ProjectId, TenantId
from satchel.objects.record import PackTable, decode_record
from satchel.store.about import Abouts
from satchel.store.keyring import Keyring, TenantShredded, open_tombstone
from satchel.store.objectstore import MemoryStore
from satchel.store.packs import Vault, places_of
from satchel.store.rootkey import RootKey

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors/bucket.json").read_text())


def no_random(size: int) -> bytes:
    raise AssertionError("reading a bucket takes no randomness")


async def read_bucket(root: bytes, objects: dict[str, bytes]) -> dict[str, Any]:
    """All that the bucket says, as plain data."""
    store = MemoryStore()
    for name, data in objects.items():
        await store.put(name, data)
    keyring = Keyring(store, RootKey(root), clock=lambda: 0, random=no_random)
    vault, abouts = Vault(store, keyring, random=no_random), Abouts(store, keyring, random=no_random)
    own = await keyring.installation()
    tenants: dict[str, Any] = {}
    for tenant in sorted({TenantId(name.split("/")[1]) for name in objects if name.startswith("tenants/")}):
        try:
            epochs = await keyring.epochs(tenant)
        except TenantShredded:
            tenants[tenant] = {"shredded": open_tombstone(own, tenant, objects[f"tenants/{tenant}/shredded"])}
            continue
        about = await abouts.tenant(tenant)
        prefix = f"tenants/{tenant}/projects/"
        ids = sorted({ProjectId(name.split("/")[3]) for name in objects if name.startswith(prefix)})
        tenants[tenant] = {
            "epochs": {str(epoch): created for epoch, created in epochs.items()},
            "about": about._asdict() if about else None,
            "projects": {project: await read_project(vault, abouts, tenant, project) for project in ids},
        }
    return {"installation": own.id, "pepper": own.pepper.hex(), "tenants": tenants}


async def read_project(vault: Vault, abouts: Abouts, tenant: TenantId, project: ProjectId) -> dict[str, Any]:
    told: dict[str, Any] = {"heads": {}, "changes": {}, "purged": [], "contents": {}}
    about = await abouts.project(tenant, project)
    told["about"] = about._asdict() if about else None
    tables: list[PackTable] = []
    async for head in vault.names(tenant, project, "heads"):
        lineage, version = head.name.split("/")
        record_id = await vault.confirmed_head(tenant, project, Lineage(lineage), int(version))
        assert record_id is not None
        record = decode_record(await vault.get_record(tenant, project, record_id))
        told["heads"][head.name] = record_id
        told["changes"][head.name] = [[change.path, change.object] for change in record.changes]
        tables += record.packs
    async for stored in vault.names(tenant, project, "tables"):
        tables += await vault.get_tables(tenant, project, stored.name)
    async for stored in vault.names(tenant, project, "purges"):
        told["purged"] += (await vault.get_purge(tenant, project, stored.name)).objects
    there = {stored.name async for stored in vault.names(tenant, project, "packs")}
    for table in tables:
        if table.name in there:
            sizes = {slot.object: slot.length for frame in table.frames for slot in frame.table}
            async for name, data in vault.read_objects(tenant, project, places_of(table, sizes)):
                told["contents"][ObjectId(name)] = data.decode()
    return told


def read(vector: dict[str, Any]) -> dict[str, Any]:
    objects = {name: bytes.fromhex(data) for name, data in vector["objects"].items()}
    return asyncio.run(read_bucket(bytes.fromhex(vector["root"]), objects))


@pytest.mark.promise("P9")
@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["what"])
def test_a_bucket_written_once_can_be_read_for_ever(vector: dict[str, Any]) -> None:
    assert read(vector) == vector["holds"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["what"])
def test_a_bucket_in_which_something_was_exchanged_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(SatchelError) as refused:
        read(vector)
    assert refused.value.code == vector["code"]


@pytest.mark.promise("P3")
@pytest.mark.timeout(900)
def test_no_bit_of_a_bucket_can_change_unnoticed() -> None:
    """Some bits of every object here; all of them with ``PROVE=1``."""
    vector = VECTORS["good"][1]
    root, objects = bytes.fromhex(vector["root"]), {name: bytes.fromhex(d) for name, d in vector["objects"].items()}
    (shredded,) = (tenant for tenant, told in vector["holds"]["tenants"].items() if "shredded" in told)
    step = 1 if os.environ.get("PROVE") else 211

    async def read_all() -> None:
        for name in objects.keys() - {f"tenants/{shredded}/about"}:  # nothing of that tenant opens, changed or not
            for bit in range(len(name) % step, len(objects[name]) * 8, step):
                altered = bytearray(objects[name])
                altered[bit // 8] ^= 1 << bit % 8
                code = "read"
                try:
                    await read_bucket(root, {**objects, name: bytes(altered)})
                except SatchelError as error:
                    code = error.code
                assert code in {"seal.broken", "seal.wrong_key", "seal.epoch_unknown"}, (code, name, bit)

    asyncio.run(read_all())
