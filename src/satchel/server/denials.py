"""What was refused, written into the audit a moment later, off the request's path.

Whether a project is absent, another tenant's or only not for this caller is not known when the request ends: each of
these does the same, it leaves a note here. The work that writes the notes down looks into the caller's own tenant, and
there alone, which of them it was.

A note goes to the audit of a tenant only where the tenant is proven: by a credential that was verified, or by a key
that is genuine and no longer counts, or by the e-mail address of one of its members. Nobody else can add to it. Notes
are bounded in number and, for each principal, by the minute; what goes beyond is counted, and the number is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from starlette.types import Scope as Asgi

from satchel.auth.keys import key_mac, parse_key
from satchel.auth.policy import role_on
from satchel.auth.roles import Principal
from satchel.catalog import audit, members, principals, projects, tenants
from satchel.catalog.scope import Catalog, CatalogUnavailable, Scope
from satchel.errors import InvalidInput, NoSuchThing, SatchelError, SignInNeeded
from satchel.objects.ids import PrincipalId, TenantId
from satchel.server.edge import Exchange

MAX_WAITING = 10_000
"""Notes of verified callers kept until they are written: a minute and more without a catalog, at a few MB."""
MAX_UNPROVEN = 1_000
"""The same of callers that are yet to be proven. Anybody can fill these, and those beyond are dropped."""
MAX_PROVEN_AT_ONCE = 100
"""Of those, looked into at one flush: each is a question to the catalog."""
MAX_PER_MINUTE = 60
"""Notes of one principal written in a minute."""
MINUTE_MS = 60_000
WRITE_SECONDS = 3.0
"""Longest time that writing the notes of one tenant keeps those of others waiting."""
GIVE_UP = 3
"""Tenants whose notes cannot be written, after which it is the catalog that is away."""
MAX_KEPT = 1_000
"""Notes of one tenant kept for the next time, once writing them failed."""
MAX_NAMES = 10
"""Projects of one request that are noted."""
DENIED = "access.denied"
WATCHED = frozenset({"auth.insufficient_scope", "project.not_found", "resource.not_found", "review.person_required"})
"""Codes of answers that are noted. The two that say "absent" are also what hides a denial."""


class Asked(NamedTuple):
    """A request, as the audit tells of it."""

    what: str
    """Method and path, or the tool."""
    request_id: str
    address: str
    time: int
    """Milliseconds UTC."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A verified caller was refused, or named something that is absent."""

    who: Principal
    code: str
    asked: Asked
    project: str | None = None
    """Slug or id of the project that was named, where one was."""


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """Somebody sent an API key that does not count; whether it ever did is not known yet."""

    tenant: TenantId
    key: PrincipalId
    mac: bytes
    code: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignInRefusal:
    """Somebody gave an e-mail address and a password that do not fit; whose address is not known yet."""

    email: str
    asked: Asked


class _Row(NamedTuple):
    """What is to be written."""

    who: Principal | None
    action: str
    result: str
    asked: Asked
    project: str | None = None


@dataclass(slots=True)
class _Minute:
    began: int
    who: Principal
    written: int = 0
    lost: int = 0


class Denials:
    """One for a process; for any of its threads to add to, and for one task to write down."""

    def __init__(self, catalog: Catalog, pepper: bytes, clock: Callable[[], int]) -> None:
        self._catalog, self._pepper, self._clock = catalog, pepper, clock
        self._held = 0  # notes of verified callers that are not written yet
        self._waiting: deque[Refusal] = deque()
        self._unproven: deque[KeyRefusal | SignInRefusal] = deque()
        self._flushing = asyncio.Lock()
        self._minutes: dict[tuple[TenantId, PrincipalId], _Minute] = {}
        self._ready: dict[TenantId, list[_Row]] = {}

    def watch(self, exchange: Exchange, who: Principal, scope: Asgi) -> None:
        """Note at the end of a request of ``who`` whether it was refused."""
        exchange.at_end.append(lambda: self._ended(exchange, who, scope))

    def key_refused(self, text: str, code: str, exchange: Exchange, scope: Asgi) -> None:
        """Note that an API key was refused; anything else that was sent as a credential is none of a tenant's."""
        with suppress(SignInNeeded):
            parts = parse_key(text)
            mac = key_mac(self._pepper, text)
            self.add_unproven(KeyRefusal(parts.tenant, parts.key_id, mac, code, self.asked(exchange, scope)))

    def sign_in_refused(self, email: str, exchange: Exchange, scope: Asgi) -> None:
        """Note that a sign-in was refused, whether somebody has that address or nobody."""
        self.add_unproven(SignInRefusal(email, self.asked(exchange, scope)))

    def asked(self, exchange: Exchange, scope: Asgi) -> Asked:
        """A request as the audit tells of it: its path in the form it was sent, without the query."""
        path = scope.get("raw_path") or scope["path"].encode()
        what = f"{scope['method']} {path.decode('ascii', 'replace')}"
        return Asked(what[: audit.MAX_TARGET_CHARACTERS], exchange.id, exchange.address, self._clock())

    def _ended(self, exchange: Exchange, who: Principal, scope: Asgi) -> None:
        if exchange.code not in WATCHED and not exchange.absent:
            return
        code = exchange.code if exchange.code in WATCHED else "project.not_found"
        asked = self.asked(exchange, scope)
        named = exchange.absent or [scope.get("path_params", {}).get("p")]
        for project in dict.fromkeys(named[:MAX_NAMES]):
            self.add(Refusal(who, code, asked, project))

    def add(self, refusal: Refusal) -> None:
        """Note that a verified caller was refused. The same work whatever the reason was."""
        if self._counts(refusal.who, full=self._held >= MAX_WAITING):
            self._held += 1
            self._waiting.append(refusal)

    def add_unproven(self, refusal: KeyRefusal | SignInRefusal) -> None:
        """Note that a credential was refused; what cannot be proven is dropped."""
        if len(self._unproven) < MAX_UNPROVEN:
            self._unproven.append(refusal)

    async def flush(self) -> None:
        """Write down what was noted. What the catalog does not take now is kept for the next time.

        A tenant whose notes it does not take keeps no other waiting. Raises ``CatalogUnavailable`` after several.
        """
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        await self._prove()
        for _ in range(len(self._waiting)):
            refusal = self._waiting.popleft()
            row = _Row(refusal.who, DENIED, refusal.code, refusal.asked, refusal.project)
            self._ready.setdefault(refusal.who.tenant, []).append(row)
        self._tell_losses()
        failed = 0
        try:
            for tenant in list(self._ready):
                rows = self._ready.pop(tenant)
                try:
                    with suppress(NoSuchThing):  # the tenant is gone
                        async with asyncio.timeout(WRITE_SECONDS):
                            await self._write(tenant, rows)
                except (SatchelError, TimeoutError, asyncio.CancelledError) as error:
                    self._keep(tenant, rows)  # behind the others
                    failed += 1
                    if failed == GIVE_UP or not isinstance(error, SatchelError | TimeoutError):
                        raise
        except TimeoutError as error:
            raise CatalogUnavailable("the catalog does not answer") from error
        finally:
            self._held = len(self._waiting) + sum(map(len, self._ready.values()))

    def _keep(self, tenant: TenantId, rows: list[_Row]) -> None:
        """Keep notes for the next time; those of one tenant leave room for those of others."""
        self._ready[tenant] = rows[:MAX_KEPT]
        for row in rows[MAX_KEPT:]:
            if row.who is not None:
                self._counts(row.who, full=True)

    def _counts(self, who: Principal, *, full: bool = False) -> bool:
        """Whether a note of ``who`` is to be written; else it is counted as lost."""
        now = self._clock()
        minute = self._minutes.get((who.tenant, who.id))
        if minute is None:
            minute = self._minutes[who.tenant, who.id] = _Minute(now, who)
        if full or minute.written >= MAX_PER_MINUTE:
            minute.lost += 1
            return False
        minute.written += 1
        return True

    def _tell_losses(self) -> None:
        """One row for each principal whose minute is over and of whom notes were lost."""
        now = self._clock()
        for key, minute in list(self._minutes.items()):
            if 0 <= now - minute.began < MINUTE_MS:
                continue
            del self._minutes[key]
            if minute.lost:
                asked = Asked(f"{minute.lost} denials not recorded", "", "", now)
                self._ready.setdefault(key[0], []).append(_Row(minute.who, DENIED, "not_recorded", asked))

    async def _prove(self) -> None:
        for _ in range(min(len(self._unproven), MAX_PROVEN_AT_ONCE)):
            refusal = self._unproven.popleft()
            if isinstance(refusal, KeyRefusal):
                await self._prove_key(refusal)
            else:
                await self._prove_sign_in(refusal)

    async def _prove_key(self, refusal: KeyRefusal) -> None:
        async with self._catalog.read(refusal.tenant) as s:
            who = await principals.holder(s, refusal.key, refusal.mac)
        if who is not None and self._counts(who):
            row = _Row(who, "key.refused", refusal.code, refusal.asked)
            self._ready.setdefault(refusal.tenant, []).append(row)

    async def _prove_sign_in(self, refusal: SignInRefusal) -> None:
        async with self._catalog.directory() as d:
            try:
                person = await members.find_person(d, refusal.email)
            except InvalidInput:
                return
            places = [] if person is None else await members.memberships(d, person.id)
        for place in places:
            member = Principal(place.tenant, place.principal_id, "", "member")
            if self._counts(member):
                # Nobody was recognised: the member is whose account it was tried on, not who did it.
                # Why it was refused is not said: it may be the state of another tenant.
                row = _Row(None, "session.start", "auth.invalid", refusal.asked._replace(what=place.principal_id))
                self._ready.setdefault(place.tenant, []).append(row)

    async def _write(self, tenant: TenantId, rows: list[_Row]) -> None:
        async with self._catalog.write(tenant) as s:
            if (await tenants.own(s)).state == tenants.SHREDDED:
                return
            for row in rows:
                asked, result = row.asked, await _reason(s, row)
                await audit.record(
                    s, row.who, row.action, asked.what, result, asked.request_id, asked.time, address=asked.address
                )


async def _reason(s: Scope, row: _Row) -> str:
    """What the row says beside what the caller was told: whether "absent" hid a denial."""
    if row.result == "resource.not_found" and row.who is not None and not row.who.operator:
        return "operator.denied" if row.asked.what.partition(" ")[2].startswith("/api/v1/admin") else row.result
    if row.result != "project.not_found" or row.project is None or row.who is None:
        return row.result
    found = await projects.get(s, row.project)
    # Made since, or in the same millisecond: it was absent. So was what the caller could have read, as it stood then.
    absent = found is None or found.created >= row.asked.time or role_on(row.who, found.id) is not None
    return row.result if absent else "project.denied"
