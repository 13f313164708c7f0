"""The settings of a tenant: checked, numbered by revision, and every state they were ever in kept.

A change, its revision, and the word to all nodes are one transaction. Retention lies in columns of its own, which
collect reads; everything else is one JSON object. Revision 0 is how a tenant was founded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from satchel.auth.roles import Principal
from satchel.catalog import residence, retention
from satchel.catalog.retention import KEEP_ALL, Retention
from satchel.catalog.schema import TENANT, mine, tenant, tenant_settings
from satchel.catalog.scope import Record, Scope
from satchel.errors import InvalidInput, NoSuchThing, SettingsChanged, StorageNotAllowed

MAX_SYNC_INTERVAL_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """What can be set for a tenant, by its admins or, where it says so, by the operator."""

    retention: Retention = KEEP_ALL
    """How long versions are kept."""
    allowed_storage: tuple[str, ...] = ()
    """Where content may rest (``residence``); empty is anywhere. The operator's to set."""
    sync_interval_seconds: int = 0
    """Least time between two pushes of one project by one principal; 0 is none, a day the most."""

    def check(self) -> None:
        """Raise ``InvalidInput`` naming the first value that cannot be."""
        retention.check(self.retention)
        residence.check_places(self.allowed_storage)
        if not 0 <= self.sync_interval_seconds <= MAX_SYNC_INTERVAL_SECONDS:
            raise InvalidInput(f"syncIntervalSeconds may be from 0 to {MAX_SYNC_INTERVAL_SECONDS:,}")

    def named(self) -> dict[str, Any]:
        """As people and REST know them."""
        return {
            "retention": self.retention._asdict(),
            "allowedStorage": list(self.allowed_storage),
            "syncIntervalSeconds": self.sync_interval_seconds,
        }

    def differing(self, other: TenantSettings) -> list[str]:
        """The names of the settings that are not the same in both."""
        mine_, theirs = self.named(), other.named()
        return [name for name, value in mine_.items() if value != theirs[name]]


class Revision(NamedTuple):
    """One state of the settings, and who brought it about; for revision 0 nobody, when the tenant was founded."""

    number: int
    time: int
    principal_id: str
    principal_name: str
    settings: TenantSettings


COLUMNS = [tenant.c.settings, tenant.c.settings_revision, tenant.c.keep_versions, tenant.c.keep_days]
"""What ``read`` takes, in this order."""

_OWN = select(*COLUMNS, tenant.c.created).where(mine(tenant))
_SET = (
    update(tenant)
    .where(mine(tenant))
    .values(settings=bindparam("to_settings"), settings_revision=bindparam("to_revision"))
)
_INSERT = insert(tenant_settings).values(tenant_id=TENANT)
_REVISIONS = select(*(tenant_settings.c[name] for name in ("revision", *Revision._fields[1:]))).where(
    mine(tenant_settings)
)
_PAGE = (
    _REVISIONS.where(tenant_settings.c.revision < bindparam("before"))
    .order_by(tenant_settings.c.revision.desc())
    .limit(bindparam("limit"))
)
_ALL = 2**62


def read(row: Record | tuple[Any, ...]) -> tuple[TenantSettings, int]:
    """The settings and their revision, from a row that begins with ``COLUMNS``. What is not known here is ignored."""
    text, number, keep_versions, keep_days, *_ = row
    return _settings(json.loads(text), Retention(keep_versions, keep_days)), number


async def get(s: Scope) -> tuple[TenantSettings, int]:
    """The settings that count and their revision; raises ``NoSuchThing`` for a tenant that does not exist."""
    row = await s.row(_OWN)
    if row is None:
        raise NoSuchThing("there is no such tenant")
    return read(row)


async def change(
    s: Scope, new: TenantSettings, who: Principal | None, now: int, *, expected: int | None = None
) -> tuple[int, list[str]]:
    """Let ``new`` count from now on; the revision, and the names of what changed: nothing, where all is as before.

    ``who`` None is the operator, whom the tenant does not get to know. Raises ``InvalidInput``; ``SettingsChanged``
    where the revision is not the ``expected`` one; ``NoSuchThing``.
    """
    new.check()
    row = await s.row(_OWN)
    if row is None:
        raise NoSuchThing("there is no such tenant")
    old, number = read(row)
    if expected is not None and expected != number:
        raise SettingsChanged(
            f"the settings are at revision {number}, and the change was made from {expected}", revision=number
        )
    changed = new.differing(old)
    if not changed:
        return number, []
    if number == 0:
        await _note(s, Revision(0, row.created, "", "", old))
    name = "operator" if who is None else who.name
    await _note(s, Revision(number + 1, now, "" if who is None else who.id, name, new))
    await retention.set_(s, new.retention)
    kept = {name: value for name, value in new.named().items() if name != "retention"}
    await s.execute(_SET, {"to_settings": _json(kept), "to_revision": number + 1})
    s.announce()
    return number + 1, changed


async def revisions(s: Scope, before: int | None = None, limit: int = 100) -> list[Revision]:
    """Every state the settings were in, newest first; none where they were never changed. ``before`` is a number."""
    rows = await s.rows(_PAGE, {"before": _ALL if before is None else min(before, _ALL), "limit": limit})
    return [_revision(row) for row in rows]


async def check_storage(s: Scope, store: str) -> TenantSettings:
    """Raise ``StorageNotAllowed`` unless the tenant's content may rest at the address ``store``; its settings."""
    settings, _ = await get(s)
    if not residence.allows(settings.allowed_storage, store):
        raise StorageNotAllowed("this tenant's content may not rest in the storage of this server")
    return settings


async def _note(s: Scope, revision: Revision) -> None:
    values = revision._asdict() | {"settings": _json(revision.settings.named())}
    values["revision"] = values.pop("number")
    await s.execute(_INSERT, values)


def _revision(row: Record) -> Revision:
    number, time, principal_id, principal_name, text = row
    held = json.loads(text)
    kept = held.get("retention", {})
    settings = _settings(held, Retention(kept.get("versions"), kept.get("days")))
    return Revision(number, time, principal_id, principal_name, settings)


def _settings(held: dict[str, Any], kept: Retention) -> TenantSettings:
    return TenantSettings(kept, tuple(held.get("allowedStorage", ())), held.get("syncIntervalSeconds", 0))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
