"""The sessions of browsers: who signed in to the pages, and the tenant that person chose there.

A session is short, and found by the keyed hash of the secret in its cookie. It gives no access to anything but the
pages: what it allows a client is a code or a device login, made for one tenant.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select, update

from satchel.catalog.schema import browser_session, person
from satchel.catalog.scope import Directory

LIFETIME_MS = 30 * 60 * 1000
"""From sign-in, however much it is used."""


class BrowserRow(NamedTuple):
    person_id: str
    email: str
    name: str
    tenant: str | None
    """The id of the tenant chosen, None before one was."""
    created: int
    expires: int


_INSERT = insert(browser_session)
_FIND = (
    select(
        browser_session.c.person_id,
        person.c.email,
        person.c.name,
        browser_session.c.tenant_id,
        browser_session.c.created,
        browser_session.c.expires,
    )
    .select_from(browser_session.join(person, person.c.person_id == browser_session.c.person_id))
    .where(browser_session.c.mac == bindparam("of_mac"), browser_session.c.expires > bindparam("now"))
)
_CHOOSE = (
    update(browser_session).where(browser_session.c.mac == bindparam("of_mac")).values(tenant_id=bindparam("to_tenant"))
)
_END = delete(browser_session).where(browser_session.c.mac == bindparam("of_mac"))
_END_ALL = delete(browser_session).where(browser_session.c.person_id == bindparam("of_person"))
_EXPIRE = delete(browser_session).where(browser_session.c.expires <= bindparam("now"))


async def start(d: Directory, mac: bytes, person_id: str, tenant: str | None, now: int) -> None:
    """Begin a session, and forget those that are over."""
    await d.execute(_EXPIRE, {"now": now})
    values = {"mac": mac, "person_id": person_id, "tenant_id": tenant, "created": now, "expires": now + LIFETIME_MS}
    await d.execute(_INSERT, values)


async def find(d: Directory, mac: bytes, now: int) -> BrowserRow | None:
    """The session behind a cookie, None for one that is over or never was."""
    row = await d.row(_FIND, {"of_mac": mac, "now": now})
    return None if row is None else BrowserRow._make(row)


async def choose(d: Directory, mac: bytes, tenant: str) -> None:
    """Note the tenant that the person acts in from now on. The caller has seen that it is a member there."""
    await d.execute(_CHOOSE, {"of_mac": mac, "to_tenant": tenant})


async def end(d: Directory, mac: bytes) -> None:
    """End one session."""
    await d.execute(_END, {"of_mac": mac})


async def end_all(d: Directory, person_id: str) -> None:
    """End every session of a person: for a new password, and for whoever is no longer a member anywhere."""
    await d.execute(_END_ALL, {"of_person": person_id})
