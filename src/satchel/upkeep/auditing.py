"""Sealing the audits of tenants: each new row under a seal within seconds, each chain's end under an anchor.

Rows are numbered in the order of commit while nobody else writes for the tenant, and sealed under the same lock; so a
seal takes all rows that were committed after the one before, whatever times they bear, and of many nodes that seal at
once one does. The anchor is put to the bucket at most once a minute. What comes between two anchors is held by the
chain alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from satchel.catalog import audit
from satchel.catalog.audit import AuditRow, SealRow, Wanted
from satchel.catalog.scope import Catalog, Scope
from satchel.errors import Damaged, StoreMissing
from satchel.objects.auditchain import (
    START,
    Anchor,
    ChainKeys,
    SealedRow,
    chain_keys,
    decode_anchor,
    encode_anchor,
    encode_rows,
    put_back_proof,
    row_hash,
    seal_mac,
)
from satchel.objects.ids import TenantId
from satchel.objects.seal import SALT_BYTES, Binding, open_sealed, seal
from satchel.store.keyring import Installation
from satchel.store.objectstore import ObjectStore

BATCH = 1_000
"""Rows under one seal, at most: about 100 bytes each."""
PUT_BACK = ("tenant.restore", "tenant.rebuild")
"""What the audit calls it when its catalog was put back, or made anew."""
_KIND = "audit"
_EPOCH = 0


@dataclass(frozen=True, slots=True)
class Sealer:
    """What sealing takes. ``clock`` gives milliseconds UTC, ``random`` that many random bytes."""

    catalog: Catalog
    store: ObjectStore
    installation: Installation
    clock: Callable[[], int]
    random: Callable[[int], bytes]

    def keys(self, tenant: TenantId) -> ChainKeys:
        """The keys of a tenant's chain."""
        return chain_keys(self.installation.derive("audit"), tenant)

    async def seal(self, tenant: TenantId) -> int:
        """Put every row that is not yet sealed under a seal; returns how many there were."""
        async with self.catalog.read(tenant) as s:
            sealed, last = await audit.unsealed(s)
        done = 0
        while sealed < last:
            async with self.catalog.write(tenant) as s:
                newest = await audit.last_seal(s)
                at, previous = (0, START) if newest is None else (newest.sequence, newest.mac)
                rows = await audit.after(s, at, BATCH)
                if not rows:
                    break  # another node was faster
                made = seal_of(self.keys(tenant), previous, rows, self.clock())
                await audit.add_seal(s, made)
            sealed, done = made.sequence, done + len(rows)
        return done

    async def anchor(self, tenant: TenantId, *, accept: bool = False) -> bool:
        """Say in the bucket how far the chain has come; False where it does not go on from what was said before.

        With ``accept`` it is said all the same, for whoever knows why, as it is where the catalog was put back
        (``put_back``). Raises ``SealBroken`` and ``WrongKey`` for what is there and does not open, without either.
        """
        sealed = await self.stored(tenant)
        try:
            held = self.opened(tenant, sealed)
        except Damaged:
            accept = accept or await self.put_back(tenant, sealed)
            if not accept:
                raise
            held = None
        async with self.catalog.read(tenant) as s:
            newest = await audit.last_seal(s)
            follows = held is None or await _holds(s, held)
        if not follows and not accept and not await self.put_back(tenant, sealed):
            return False
        if newest is None and held is None:
            return True  # nothing was done yet
        now = Anchor(0, START, self.clock()) if newest is None else Anchor(newest.sequence, newest.mac, newest.time)
        if held is None or (held.sequence, held.mac) != (now.sequence, now.mac):
            salt, binding = self.random(SALT_BYTES), Binding(tenant, "", _KIND)
            key = self.installation.derive("audit anchor")
            made = seal(key, binding, _KIND, encode_anchor(now), epoch=_EPOCH, salt=salt)
            await self.store.put(anchor_name(tenant), made)
        return True

    async def anchored(self, tenant: TenantId) -> Anchor | None:
        """How far the bucket says that the chain had come. Raises ``SealBroken``, ``WrongKey``."""
        return self.opened(tenant, await self.stored(tenant))

    async def stored(self, tenant: TenantId) -> bytes | None:
        """The anchor as the bucket has it."""
        try:
            return await self.store.get(anchor_name(tenant))
        except StoreMissing:
            return None

    async def put_back(self, tenant: TenantId, stored: bytes | None) -> bool:
        """Whether Satchel itself put this catalog back while the bucket had the anchor ``stored``.

        A row of the audit says so, with a proof that nobody makes who can write to the database alone.
        """
        if stored is None:
            return False
        proof = put_back_proof(self.keys(tenant), stored)
        async with self.catalog.read(tenant) as s:
            rows = [row for action in PUT_BACK for row in await audit.list_(s, wanted=Wanted(action=action))]
        return any(row.target.endswith(proof) for row in rows)

    def opened(self, tenant: TenantId, stored: bytes | None) -> Anchor | None:
        """The anchor that the bucket has as ``stored``. Raises ``SealBroken``, ``WrongKey``."""
        if stored is None:
            return None
        key = self.installation.derive("audit anchor")
        return decode_anchor(open_sealed(lambda _epoch: key, Binding(tenant, "", _KIND), _KIND, stored))


def seal_of(keys: ChainKeys, previous: bytes, rows: list[AuditRow], now: int) -> SealRow:
    """The seal of ``rows`` that follows the one with the hash ``previous``."""
    text = encode_rows([SealedRow(row.id, hash_of(keys, row)) for row in rows])
    last = rows[-1].sequence
    return SealRow(last, now, text, seal_mac(keys, previous, last, now, text))


def hash_of(keys: ChainKeys, row: AuditRow) -> str:
    """The keyed hash of a row as the catalog has it."""
    return row_hash(keys, (row.sequence, *row[:-1]))


def anchor_name(tenant: TenantId) -> str:
    """Where the anchor of a tenant's audit rests."""
    return f"tenants/{tenant}/audit"


async def _holds(s: Scope, anchor: Anchor) -> bool:
    """Whether the chain has the seal that was anchored."""
    if anchor.sequence == 0:
        return True
    found = await audit.seals(s, anchor.sequence - 1, 1)
    return bool(found) and (found[0].sequence, found[0].mac) == (anchor.sequence, anchor.mac)
