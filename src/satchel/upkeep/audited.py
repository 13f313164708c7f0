"""Whether a tenant's audit is as it was sealed: every row, every seal, and the end that the bucket remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from satchel.catalog import audit
from satchel.catalog.audit import AuditRow, SealRow
from satchel.errors import Damaged
from satchel.objects.auditchain import START, ChainKeys, decode_rows, seal_mac
from satchel.objects.ids import TenantId
from satchel.upkeep.auditing import Sealer, anchor_name, hash_of

PAGE = 20
"""Seals looked at in one go, with up to a thousand rows each."""
MAX_PROBLEMS = 1_000
"""Most problems of one audit that are named; the rest is counted."""


@dataclass(slots=True)
class AuditReport:
    """What was found in a tenant's audit: a list of what is about (an id, or the audit), and why."""

    rows: int = 0
    seals: int = 0
    unsealed: int = 0
    """Rows that no seal covers yet."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    more: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, why: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((what, why))
        else:
            self.more += 1


async def examine_audit(sealer: Sealer, tenant: TenantId, *, end: bool = True) -> AuditReport:
    """Compare every row with its seal, every seal with the one before, and the ``end`` with the anchor.

    Rows are only ever added while this runs, behind what it looks at. Raises what the store raises.
    """
    report, keys = AuditReport(), sealer.keys(tenant)
    anchor, stored = None, await sealer.stored(tenant) if end else None
    if await sealer.put_back(tenant, stored):
        stored = None
        report.notes.append("the catalog was put back; a running server takes the audit on from there within a minute")
    try:
        anchor = sealer.opened(tenant, stored)
    except Damaged as error:
        report.add(anchor_name(tenant), f"{error.message}; the end of the audit cannot be compared")
    at, mac, anchored = 0, START, anchor is None or anchor.sequence == 0
    while True:
        async with sealer.catalog.read(tenant) as s:
            page = await audit.seals(s, at, PAGE)
            rows = await audit.between(s, at, page[-1].sequence) if page else []
        if not page:
            break
        for seal in page:
            covered = [row for row in rows if at < row.sequence <= seal.sequence]
            _compare(report, keys, seal, mac, at, covered)
            if anchor is not None and (seal.sequence, seal.mac) == (anchor.sequence, anchor.mac):
                anchored = True
            at, mac = seal.sequence, seal.mac
            report.seals, report.rows = report.seals + 1, report.rows + len(covered)
    await _end(sealer, tenant, report, at)
    if anchor is not None and not anchored:
        report.add(anchor_name(tenant), _cut_off(at, anchor.sequence, anchor.time))
    return report


def _compare(
    report: AuditReport, keys: ChainKeys, seal: SealRow, previous: bytes, at: int, rows: list[AuditRow]
) -> None:
    """The rows after the number ``at`` with the seal that covers them, and the seal with the one before."""
    follows = seal_mac(keys, previous, seal.sequence, seal.time, seal.rows) == seal.mac
    if not follows:
        report.add(_named(seal), f"it was altered, or the seal it followed, after row {at}, was altered or removed")
    try:
        named = {row.id: row.hash for row in decode_rows(seal.rows)}
    except Damaged as error:
        report.add(_named(seal), error.message)
        return
    strange = 0
    for row in rows:
        hashed = named.pop(row.id, None)
        if hashed is None and not follows:
            strange += 1
        elif hashed is None:
            report.add(row.id, f"it was added: {_named(seal)} covers its number {row.sequence} and does not have it")
        elif hashed != hash_of(keys, row):
            report.add(row.id, f"it was altered: it is not as {_named(seal)} has it")
    if strange:
        report.add(_named(seal), f"{strange} rows before it are under no seal any more")
    for missing in named:
        report.add(missing, f"it was removed: {_named(seal)} has it")
    gap = seal.sequence - at - len(rows) - len(named)
    if gap > 0 and follows:
        report.add(_named(seal), f"{gap} rows were removed before it was made: their numbers are missing")


async def _end(sealer: Sealer, tenant: TenantId, report: AuditReport, at: int) -> None:
    """What comes after the last seal, and what stands before the first number."""
    async with sealer.catalog.read(tenant) as s:
        first, last = await audit.numbered(s)
        oldest = await audit.after(s, at, 1) if last > at else []
        early = await audit.between(s, first - 1, 0) if first < 1 else []
    for row in early:
        report.add(row.id, f"it has the number {row.sequence}, which Satchel gives to no row: it was added")
    if oldest:
        report.unsealed = last - at
        seconds = max(0, sealer.clock() - oldest[0].time) // 1000
        report.notes.append(
            f"{report.unsealed} rows of the audit are not sealed yet, the oldest {seconds} s old: not checked; "
            "a running server seals them within seconds"
        )


def _cut_off(at: int, anchored: int, when: int) -> str:
    """The end that is anchored is not there. Why, nobody can tell from what is left, and it says so."""
    said = f"{datetime.fromtimestamp(when / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    if at < anchored:
        gone = f"rows {at + 1} to {anchored} of the audit are missing with their seals"
    else:
        gone = f"the audit does not go on from the seal of row {anchored}, and other rows stand in their place"
    return (
        f"{gone} (sealed by {said}). Either the end was cut off, or the catalog is an older one that was put "
        "back: the two cannot be told apart. If you put it back:  satchel admin verify --accept-audit   If it is the "
        "catalog of a drill, beside a running server:  satchel admin verify --drill"
    )


def _named(seal: SealRow) -> str:
    return f"seal {seal.sequence}"
