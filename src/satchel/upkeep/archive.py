"""Backups at rest: named, sealed parts in a store of their own, and what of them expires when.

Each part is a line in clear (which backup, which part, which of how many, made when, kept until when, under which root
key) and behind it the sealed content, bound to exactly that line. So a part that was cut, altered, or put in the place
of another does not open, and who has a backup without the root key sees sizes, counts and times.
``docs/spec/backup.md`` has the bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from satchel.errors import Damaged, FrameRefused, Refused, SatchelError, StoreMissing, WrongKey
from satchel.objects import zstd
from satchel.objects.frame import content_size
from satchel.objects.ids import TenantId, is_random_id
from satchel.objects.seal import SALT_BYTES, Binding, open_sealed, seal
from satchel.store.objectstore import ObjectStore
from satchel.store.rootkey import RootKey

MAGIC = b"satchel-backup 1 "
MANIFEST, CATALOG, KEYS, INSTALLATION, NAMES, HEADS = "manifest", "catalog", "keys", "installation", "names", "heads"
MANY = (CATALOG, NAMES, HEADS)
"""Parts in numbered pieces."""
MAX_LABEL_BYTES = 1_024
MAX_PART_BYTES = 8 << 20
"""Most a part may hold unpacked: what making or reading a backup holds in memory."""
_BINDING = Binding(TenantId(""), "", "backup")
_EPOCH = 0


class BackupRefused(Refused):
    code = "backup.refused"
    default_hint = "See `satchel admin backup list` for the backups there are."


class BackupDamaged(Damaged):
    code = "backup.damaged"
    default_hint = "Restore another backup: `satchel admin backup list`."


class Label(NamedTuple):
    """The line in clear before a part. Times are milliseconds UTC."""

    backup: str
    part: str
    piece: int
    pieces: int
    time: int
    expires: int
    keys_expire: int
    root: str
    """The id of the root key it is sealed under, which tells nothing about the key."""

    @property
    def name(self) -> str:
        """Where the part lies. What comes once has no number."""
        return f"backups/{self.backup}/{self.part}" + (f"/{self.piece}" if self.part in MANY else "")


class Kept(NamedTuple):
    """A backup as its clear lines and sizes tell of it."""

    id: str
    time: int
    expires: int
    keys_expire: int
    bytes: int
    keys: int
    """Tenants whose keys it holds; 0 once they expired."""
    complete: bool
    """False for one that was cut off, or is being made."""
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """The parts of backups in ``store``, sealed under ``root``."""

    store: ObjectStore
    root: RootKey
    random: Callable[[int], bytes]

    async def put(self, label: Label, content: bytes) -> int:
        """Seal and store a part, durably; returns its size. A name is written once. Raises what ``put`` does."""
        line = _encode(label)
        sealed = seal(
            self.root.derive("backup"),
            _BINDING,
            hashlib.sha256(line).hexdigest(),
            zstd.compress(content),
            epoch=_EPOCH,
            salt=self.random(SALT_BYTES),
            index=label.piece,
            count=label.pieces,
        )
        await self.store.put(label.name, line + sealed, create=True)
        return len(line) + len(sealed)

    async def get(self, backup: str, part: str, piece: int = 0) -> tuple[Label, bytes]:
        """One part and its line. Raises ``StoreMissing``, ``WrongKey``, ``BackupDamaged``."""
        name = Label(backup, part, piece, 0, 0, 0, 0, "").name
        data = await self.store.get(name)
        label, length = _decode(name, data)
        if (label.backup, label.part, label.piece) != (backup, part, piece):
            raise BackupDamaged(f"{name} is another part than its name says")
        key = self.root.derive("backup")
        try:
            packed = open_sealed(
                lambda _epoch: key,
                _BINDING,
                hashlib.sha256(data[:length]).hexdigest(),
                data[length:],
                index=label.piece,
                count=label.pieces,
            )
        except WrongKey as error:
            raise WrongKey(
                f"the backup was made under the root key {label.root}, and this one is {self.root.id}",
                hint="Name the root key of that time with --backup-key; see the guide, recover.",
            ) from error
        except Damaged as error:
            raise BackupDamaged(f"{name} was altered or cut: {error.message}") from error
        return label, _unpacked(name, packed)

    async def sequence(self, backup: str, part: str, count: int) -> AsyncIterator[bytes]:
        """All ``count`` pieces of a part in order. Raises as ``get``, ``BackupDamaged`` for one that is missing."""
        for index in range(count):
            try:
                label, content = await self.get(backup, part, index)
            except StoreMissing as error:
                raise BackupDamaged(f"piece {index + 1} of {count} of the {part} is missing") from error
            if label.pieces != count:
                raise BackupDamaged(f"the {part} has {label.pieces} pieces, and the manifest names {count}")
            yield content


async def kept(store: ObjectStore) -> list[Kept]:
    """Every backup in a store, newest first, the unfinished ones too. No key is needed."""
    found: dict[str, list[tuple[str, int]]] = {}
    async for stored in store.list("backups/"):
        backup = stored.name.split("/")[1]
        if is_random_id(backup, "bak"):
            found.setdefault(backup, []).append((stored.name, stored.size))
    rows = [await _kept(store, backup, parts) for backup, parts in found.items()]
    return sorted(rows, key=lambda row: (row.time, row.id), reverse=True)


async def last_key_backup_expiry(store: ObjectStore, tenant: TenantId) -> int | None:
    """Until when (milliseconds UTC) the last backup in ``store`` that holds the keys of ``tenant`` keeps them.

    ``None`` if no backup holds them. They are deleted by the first run of ``satchel admin backup`` after that time.
    """
    last: int | None = None
    async for stored in store.list("backups/"):
        if stored.name.endswith(f"/{KEYS}/{tenant}"):
            label = await read_label(store, stored.name, stored.size)
            last = max(last or 0, label.keys_expire)
    return last


async def read_label(store: ObjectStore, name: str, size: int) -> Label:
    """The clear line of a part. Raises ``BackupDamaged``, ``StoreMissing``."""
    return _decode(name, await store.get(name, offset=0, length=min(size, MAX_LABEL_BYTES)))[0]


async def _kept(store: ObjectStore, backup: str, parts: list[tuple[str, int]]) -> Kept:
    names = tuple(name for name, _ in parts)
    first = next((part for part in parts if part[0].endswith(f"/{MANIFEST}")), parts[0])
    try:
        label = await read_label(store, *first)
        time, expires, keys_expire = label.time, label.expires, label.keys_expire
    except SatchelError as error:
        if not isinstance(error, Damaged):
            raise
        time = expires = keys_expire = 0  # unreadable: shown as such, and never taken for one that expired
    keys = sum(1 for name in names if name.split("/")[2] == KEYS)
    whole = first[0].endswith(f"/{MANIFEST}") and time > 0
    return Kept(backup, time, expires, keys_expire, sum(size for _, size in parts), keys, whole, names)


def _encode(label: Label) -> bytes:
    return MAGIC + json.dumps(label._asdict(), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _decode(name: str, data: bytes) -> tuple[Label, int]:
    """The line and its length."""
    line, end, _ = data[:MAX_LABEL_BYTES].partition(b"\n")
    try:
        if not end or not line.startswith(MAGIC):
            raise ValueError
        fields: dict[str, Any] = json.loads(line[len(MAGIC) :])
        label = Label(**fields)
        if _encode(label) != line + end or not all(isinstance(label[at], int) for at in range(2, 7)):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise BackupDamaged(f"{name} is not part of a backup, or was cut or altered") from error
    return label, len(line) + 1


def _unpacked(name: str, packed: bytes) -> bytes:
    try:
        size = content_size(packed)
        if size > MAX_PART_BYTES:
            raise BackupDamaged(f"{name} is larger than any part of a backup")
        return zstd.decompress(packed)
    except (FrameRefused, zstd.ZstdError) as error:
        raise BackupDamaged(f"{name} does not unpack") from error
