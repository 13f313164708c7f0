"""What guessing passwords may cost: how many are checked at once, how many wait, and how often one address may fail.

Kept in this process alone, in bounded memory. An address is held as a keyed hash, and one that nobody has counts like
one that somebody has, so that the refusal does not tell who has an account.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from satchel.auth.emails import normal_email
from satchel.auth.passwords import hash_password, outdated, verify_password
from satchel.catalog import audit, members, principals, sessions, tenants
from satchel.catalog.members import MembershipRow, PersonRow
from satchel.catalog.scope import Directory
from satchel.errors import CredentialInvalid, InvalidInput, TooManyRequests
from satchel.objects.ids import PrincipalId, TenantId, new_id
from satchel.server.minting import tokens_for

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud
    from satchel.server.edge import Exchange

CHECKED_AT_ONCE = 2
"""Password hashes computed at a time: each takes 64 MiB and about 50 ms of a core."""
MAX_WAITING = 16
"""More are refused: waiting for 16 takes half a second."""
MAX_FAILURES = 10
FAILURE_WINDOW_MS = 10 * 60 * 1000
"""An address that failed ``MAX_FAILURES`` times within this is refused until the first of them is this old."""
MAX_ADDRESSES = 10_000
"""Addresses remembered; beyond, the one that failed longest ago is forgotten."""


class SignInGate:
    """One for a process; for tasks of one event loop."""

    def __init__(self, secret: bytes, clock: Callable[[], int]) -> None:
        """``secret`` keys the hashes of addresses; ``clock`` gives milliseconds."""
        self._secret, self._clock = secret, clock
        self._places = asyncio.Semaphore(CHECKED_AT_ONCE)
        self._inside = 0
        self._failures: OrderedDict[bytes, deque[int]] = OrderedDict()

    @asynccontextmanager
    async def attempt(self, email: str) -> AsyncIterator[Callable[[], None]]:
        """A place for checking one password; call what it gives when the password was right.

        An attempt counts as failed from its beginning, so that many at once are no way around the limit. One that was
        right forgets the failures before it. Raises ``TooManyRequests`` with the seconds to wait.
        """
        name = self._name(email)
        async with self.place(lambda: self._count(name)):
            yield lambda: self._forget(name)

    @asynccontextmanager
    async def place(self, before: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """A place for hashing one password. ``before`` runs once it is sure that there is one to wait for.

        Raises ``TooManyRequests`` where too many wait already.
        """
        if self._inside >= CHECKED_AT_ONCE + MAX_WAITING:
            raise TooManyRequests("too many people are signing in at this moment", retry_after=1)
        before()
        self._inside += 1
        try:
            async with self._places:
                yield
        finally:
            self._inside -= 1

    def _count(self, name: bytes) -> None:
        now = self._clock()
        times = self._failures.setdefault(name, deque())
        while times and times[0] <= now - FAILURE_WINDOW_MS:
            times.popleft()
        if len(times) >= MAX_FAILURES:
            wait = -(-(times[0] + FAILURE_WINDOW_MS - now) // 1000)
            raise TooManyRequests("too many failed sign-ins with this e-mail address", retry_after=max(1, wait))
        times.append(now)
        self._failures.move_to_end(name)
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)

    def _forget(self, name: bytes) -> None:
        self._failures.pop(name, None)

    def _name(self, email: str) -> bytes:
        try:
            text = normal_email(email).encode()
        except InvalidInput:
            text = email.strip().casefold().encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._secret[:64], digest_size=16).digest()


class Known(NamedTuple):
    """Somebody who has proven to be this person."""

    person: PersonRow
    places: list[MembershipRow]
    """One or more tenants it is a member of."""


def not_right() -> CredentialInvalid:
    """The one answer to everything that may be wrong with e-mail, password and membership."""
    return CredentialInvalid("the e-mail address or the password is not right", hint="Check both, and try again.")


async def by_password(cloud: Cloud, email: str, password: str) -> Known:
    """The person with this address and password. Everything that is wrong with them looks and lasts the same.

    Raises ``CredentialInvalid`` and ``TooManyRequests``.
    """
    async with cloud.sign_in.attempt(email) as succeeded:
        try:
            async with cloud.catalog.directory() as d:
                person = await members.find_person(d, email)
                places = [] if person is None else await members.memberships(d, person.id)
        except InvalidInput:
            person, places = None, []
        good = await asyncio.to_thread(verify_password, person.password if person else None, password)
        if person is None or not good or not places:
            raise not_right()
        succeeded()
        person = await renewed(cloud, person, password)
    return Known(person, places)


async def renewed(cloud: Cloud, person: PersonRow, password: str) -> PersonRow:
    """The person, whose password is hashed anew if that was done with parameters we use no more: only now it is known.

    Raises ``CredentialInvalid`` where the password was changed since it was right.
    """
    if person.password is None or not outdated(person.password):
        return person
    stored = await asyncio.to_thread(hash_password, password)
    async with cloud.catalog.directory(write=True) as d:
        now = await members.get_person(d, person.id)
        if now is not None and now.password == person.password:
            await members.set_password(d, person.id, stored)
            return person._replace(password=stored)
    # Another sign-in hashed it anew, or somebody changed it.
    if now is None or not await asyncio.to_thread(verify_password, now.password, password):
        raise not_right()
    return now


async def check_unchanged(d: Directory, person: PersonRow) -> None:
    """Call it in the transaction that begins something for a person who proved to be it before.

    Raises ``CredentialInvalid`` where the password was changed since: that ends what began before it.
    """
    now = await members.get_person(d, person.id)
    if now is None or now.password != person.password:
        raise not_right()


async def begin(
    cloud: Cloud, person: PersonRow, tenant: TenantId, principal_id: PrincipalId, exchange: Exchange
) -> dict[str, object]:
    """The first tokens of a session of somebody who has proven to be this person, as a member of a tenant.

    Raises ``CredentialInvalid`` and ``TenantSuspended``.
    """
    now = cloud.clock()
    async with cloud.catalog.directory(write=True) as d:
        await check_unchanged(d, person)
        s = d.enter(tenant)
        await tenants.check_active(s)
        who = await principals.resolve(s, principal_id, now)
        if who is None:
            raise not_right()
        family, text = await sessions.start(
            s,
            pepper=cloud.pepper,
            family=new_id("fam", cloud.random(16)),
            principal_id=who.id,
            now=now,
            lifetime_ms=cloud.settings.refresh_seconds * 1000,
        )
        await audit.record(s, who, "session.start", family.id, audit.DONE, exchange.id, now, address=exchange.address)
    return tokens_for(cloud, who, family=family, refresh=text)
