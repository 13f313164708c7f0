"""Checkpoints of search indexes: index files sealed in the bucket, from which a node begins that has none of its own.

    indexes/<id>/0, 1, 2 ...   the file in pieces
    indexes/<id>/head          what it is: put last and deleted first, so a checkpoint that has one is whole

Derived: deleting any of it loses nothing. The file is encrypted before it comes here, under the key of its own that
every index file has; the pieces and the head are sealed as everything is. ``docs/spec/index.md`` has the bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from satchel.errors import Damaged, SatchelError, SealBroken, StoreMissing
from satchel.objects.ids import Digest, Lineage, ProjectId, TenantId
from satchel.objects.seal import SALT_BYTES, Binding, epoch_of, open_sealed, seal
from satchel.store.keyring import EpochUnknown, Keyring
from satchel.store.objectstore import ObjectStore

FOLDER, KIND, HEAD = "indexes", "index", "head"
FORMAT = "satchel-index 1"
PIECE_BYTES = 4 << 20


class Checkpoint(NamedTuple):
    """What a head says."""

    index_format: int
    """The format of the index, as in its file."""
    lineage: Lineage
    version: int
    digest: Digest
    """Of the tree that is indexed: that of ``version`` in ``lineage``."""
    file: str
    """The id of the file, which its key is made of: 16 bytes as hex."""
    size: int
    pieces: int
    purged: tuple[int, int]
    """What the project's purges were when the text was read: how many objects are purged, and when the newest was."""


class Found(NamedTuple):
    """What lies under one id."""

    name: str
    names: tuple[str, ...]
    """Of the objects below it."""
    size: int
    modified: int
    """When the newest of the objects was put, in milliseconds by the store's clock."""
    checkpoint: Checkpoint | None = None
    """``None`` without a head, for one of a later form, and for one that does not open."""
    epoch: int = 0
    """Of the tenant's key that it is sealed in."""
    error: SatchelError | None = None
    """Why its head does not open."""

    @property
    def whole(self) -> bool:
        """Whether it was written to its end."""
        return HEAD in self.names


class Checkpoints:
    """Reads and writes them. What of them counts is for others to say (``upkeep.checkpoints``)."""

    def __init__(self, store: ObjectStore, keyring: Keyring, *, random: Callable[[int], bytes]) -> None:
        self._store, self._keyring, self._random = store, keyring, random

    async def all(self, tenant: TenantId, project: ProjectId) -> list[Found]:
        """Everything that lies there, by id. Raises what the store raises when it does not answer."""
        prefix = folder(tenant, project)
        below: dict[str, list[tuple[str, int, int]]] = {}
        async for stored in self._store.list(prefix):
            name, _, rest = stored.name.removeprefix(prefix).partition("/")
            below.setdefault(name, []).append((rest, stored.size, stored.modified))
        found: list[Found] = []
        for name, objects in below.items():
            names = tuple(each for each, _, _ in objects)
            size, modified = sum(size for _, size, _ in objects), max(time for _, _, time in objects)
            one = Found(name, names, size, modified)
            found.append(await self._head(tenant, project, one) if one.whole else one)
        return found

    async def put(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: str,
        checkpoint: Checkpoint,
        file: Path,
        sealing: tuple[int, bytes],
    ) -> None:
        """Seal the file with the key of an epoch, and put it. What is cut off has no head, and is garbage.

        The caller looks afterwards whether that is still the newest epoch.
        """
        for number in range(checkpoint.pieces):
            sealed = await asyncio.to_thread(self._piece, tenant, project, name, number, checkpoint, file, sealing)
            await self._store.put(f"{folder(tenant, project)}{name}/{number}", sealed, create=True)
        text = json.dumps({"format": FORMAT, **checkpoint._asdict()}, sort_keys=True).encode()
        epoch, key = sealing
        binding = Binding(tenant, project, KIND)
        head = seal(key, binding, f"{name}/{HEAD}", text, epoch=epoch, salt=self._random(SALT_BYTES))
        await self._store.put(f"{folder(tenant, project)}{name}/{HEAD}", head, create=True)

    async def piece(self, tenant: TenantId, project: ProjectId, found: Found, number: int) -> bytes:
        """A piece of the file. Raises ``StoreMissing``, ``SealBroken``, ``WrongKey``."""
        assert found.checkpoint is not None
        count, name = found.checkpoint.pieces, f"{found.name}/{number}"
        _, data = await self._open(tenant, project, name, index=number, count=count)
        return data

    async def delete(self, tenant: TenantId, project: ProjectId, gone: Sequence[Found]) -> None:
        """Delete checkpoints, or what is left of some; an absent one is no error."""
        below = folder(tenant, project)
        for found in gone:
            for name in sorted(found.names, key=lambda name: name != HEAD):
                await self._store.delete(f"{below}{found.name}/{name}")

    async def _head(self, tenant: TenantId, project: ProjectId, found: Found) -> Found:
        try:
            epoch, text = await self._open(tenant, project, f"{found.name}/{HEAD}")
            return found._replace(checkpoint=_decoded(text), epoch=epoch)
        except StoreMissing:  # deleted since it was listed
            return found._replace(names=tuple(name for name in found.names if name != HEAD))
        except Damaged as error:
            return found._replace(error=error)

    async def _open(
        self, tenant: TenantId, project: ProjectId, name: str, *, index: int = 0, count: int = 1
    ) -> tuple[int, bytes]:
        sealed = await self._store.get(f"{folder(tenant, project)}{name}")
        binding = Binding(tenant, project, KIND)
        key_of = await self._keyring.key_of(tenant)
        try:
            return epoch_of(sealed), open_sealed(key_of, binding, name, sealed, index=index, count=count)
        except EpochUnknown:
            key_of = await self._keyring.key_of(tenant, anew=True)
            return epoch_of(sealed), open_sealed(key_of, binding, name, sealed, index=index, count=count)

    def _piece(
        self,
        tenant: TenantId,
        project: ProjectId,
        name: str,
        number: int,
        checkpoint: Checkpoint,
        file: Path,
        sealing: tuple[int, bytes],
    ) -> bytes:
        with file.open("rb") as opened:
            opened.seek(number * PIECE_BYTES)
            data = opened.read(PIECE_BYTES)
        epoch, key = sealing
        binding, salt = Binding(tenant, project, KIND), self._random(SALT_BYTES)
        return seal(
            key, binding, f"{name}/{number}", data, epoch=epoch, salt=salt, index=number, count=checkpoint.pieces
        )


def folder(tenant: TenantId, project: ProjectId) -> str:
    """What the names of all checkpoints of a project begin with."""
    return f"tenants/{tenant}/projects/{project}/{FOLDER}/"


def pieces_of(size: int) -> int:
    """How many pieces a file of ``size`` bytes takes."""
    return -(-size // PIECE_BYTES)


def _decoded(text: bytes) -> Checkpoint | None:
    """What a head says, ``None`` if it is of a later form. Raises ``SealBroken``."""
    fields: dict[str, Any] = json.loads(text)
    if fields.pop("format", None) != FORMAT:
        return None
    try:
        made = Checkpoint(**{**fields, "purged": tuple(fields["purged"])})
        sound = made.pieces == pieces_of(made.size) > 0 and len(bytes.fromhex(made.file)) == 16
    except (KeyError, TypeError, ValueError) as error:
        raise SealBroken("the head of a checkpoint does not hold what such a head holds") from error
    if not sound:
        raise SealBroken("the head of a checkpoint does not hold what such a head holds")
    return made
