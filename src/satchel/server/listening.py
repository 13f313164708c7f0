"""Whoever wants to hear of a project's new versions, as server-sent events: one loop a tenant looks for all of its
listeners.

A commit through this node wakes the loop at once; those made through other nodes are seen at its next look, a second
later at most. Each look also judges every listener again: the credential and its grants (as remembered, which a change
of either voids within a second: see `watching`), the tenant, and whether the project is still there. Who may not read
any more is told so and let go; so is whoever's credential has expired, and everybody when the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from satchel.auth.policy import Action, decide
from satchel.catalog import projects
from satchel.catalog.scope import Catalog
from satchel.errors import SatchelError, TooManyRequests, Unavailable
from satchel.objects.ids import PrincipalId, ProjectId, TenantId
from satchel.server.credentials import Checked
from satchel.server.logs import log, where
from satchel.sync.peer import Head

LOOK_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
"""A line that means nothing: whoever hears none for a while knows that the connection is dead."""
MOST_OF_ONE = 16
"""Listeners of one principal; ``most`` is for a tenant."""
NAMED_OF_ONE = 100
"""A thousand resources of the longest names take 3 MB: 256 subscriptions to so many filled a gigabyte."""
RETRY_SECONDS = 30

Judge = Callable[[], Awaitable[Checked]]


class Said(NamedTuple):
    """What a listener is told: the name of the event and its JSON."""

    event: str
    data: dict[str, object]

    def encoded(self) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (self.event.encode(), msgspec.json.encode(self.data))


@dataclass(eq=False)
class Listener:
    """One connection."""

    principal: PrincipalId
    project: ProjectId | None
    """``None`` where it looks for itself, each time there may be something new."""
    judge: Judge
    weight: int = 1
    checked: Checked | None = None
    """What its credential was found to be at the last look."""
    told: Head | None = None
    waiting: list[Said] = field(default_factory=list)
    """At most the newest head and the end: a slow reader misses versions in between, which the newest stands for."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def tell(self, head: Head) -> None:
        if head != self.told and not self.ended:
            self.told = head
            self.waiting = [Said("head", head._asdict())]
            self.wake.set()

    def end(self, reason: str) -> None:
        if not self.ended:
            self.ended = True
            self.waiting.append(Said("end", {"reason": reason}))
            self.wake.set()

    async def events(self, seconds: float | None = None) -> AsyncIterator[bytes]:
        """What it is told, until the end of it or of the time given; a heartbeat where there is nothing to tell."""
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        while True:
            left = HEARTBEAT_SECONDS if until is None else max(0.0, min(HEARTBEAT_SECONDS, until - loop.time()))
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.wake.wait()
            self.wake.clear()
            if until is not None and loop.time() >= until:
                self.end("over")
            waiting, self.waiting = self.waiting, []
            yield b"".join(said.encoded() for said in waiting) or b": still here\n\n"
            if any(said.event == "end" for said in waiting):
                return


class Listeners:
    """One for a process; for tasks of one event loop."""

    def __init__(self, catalog: Catalog, *, most: int, clock: Callable[[], int]) -> None:
        self._catalog, self._most, self._clock = catalog, most, clock
        self._by_tenant: dict[TenantId, list[Listener]] = {}
        self._loops: dict[TenantId, asyncio.Task[None]] = {}
        self._wakes: dict[TenantId, asyncio.Event] = {}
        self._closed = False

    @property
    def all(self) -> int:
        """How many listen."""
        return sum(map(len, self._by_tenant.values()))

    def count(self, tenant: TenantId) -> int:
        """How many listen to projects of a tenant."""
        return len(self._by_tenant.get(tenant, ()))

    def join(
        self,
        tenant: TenantId,
        principal: PrincipalId,
        project: ProjectId | None,
        head: Head | None,
        judge: Judge,
        *,
        named: int = 0,
    ) -> Listener:
        """One more, who has to ``leave``. Each ``NAMED_OF_ONE`` of the resources ``named`` count for another.

        Raises ``TooManyRequests`` where there are as many as may be.
        """
        there = self._by_tenant.get(tenant, [])
        weight = 1 + named // NAMED_OF_ONE
        own = sum(listener.weight for listener in there if listener.principal == principal)
        whole = sum(listener.weight for listener in there)
        for count, most, whose in ((own, MOST_OF_ONE, "this credential"), (whole, self._most, "this tenant")):
            if count + weight > most:
                more = f"; {named} named resources count for {weight - 1}" if weight > 1 else ""
                raise TooManyRequests(
                    f"{count} listeners of {whose} are connected; at most {most} can be{more}",
                    hint="End one of them first.",
                    retry_after=RETRY_SECONDS,
                )
        listener = Listener(principal, project, judge, weight)
        if head is not None:
            listener.tell(head)
        if self._closed:
            listener.end("stopping")
        self._by_tenant.setdefault(tenant, []).append(listener)
        if tenant not in self._loops:
            self._wakes[tenant] = asyncio.Event()
            self._loops[tenant] = asyncio.create_task(self._look_on(tenant))
        return listener

    def leave(self, tenant: TenantId, listener: Listener) -> None:
        """Forget a listener; more than once is harmless."""
        there = self._by_tenant.get(tenant, [])
        if listener in there:
            there.remove(listener)
            if not there:
                del self._by_tenant[tenant], self._wakes[tenant]
                self._loops.pop(tenant).cancel()

    def committed(self, tenant: TenantId) -> None:
        """Look at once: a version was made through this node."""
        wake = self._wakes.get(tenant)
        if wake is not None:
            wake.set()

    def close(self) -> None:
        """Let everybody go: the server stops."""
        self._closed = True
        for there in self._by_tenant.values():
            for listener in there:
                listener.end("stopping")

    async def _look_on(self, tenant: TenantId) -> None:
        """Look again and again, for as long as anybody listens. What goes wrong in one look is over at the next."""
        while True:
            wake = self._wakes[tenant]
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await wake.wait()
            wake.clear()
            try:
                for listener in list(self._by_tenant.get(tenant, ())):
                    await self._judge(listener)
                with suppress(SatchelError):  # the catalog is away: heads stay as they were told, and heartbeats go on
                    await self._look(tenant)
            except Exception as error:  # noqa: BLE001  or nobody would be judged, nor told anything, ever again
                log.error("a look for listeners failed", tenant=tenant, where=where(error))

    async def _look(self, tenant: TenantId) -> None:
        there = list(self._by_tenant.get(tenant, ()))
        heads: dict[ProjectId, Head | None] = {}
        async with self._catalog.read(tenant) as s:
            for project in {listener.project for listener in there if listener.project is not None}:
                row = await projects.get(s, project)
                heads[project] = None if row is None else Head(row.lineage, row.version, row.digest)
        for listener in there:
            if listener.project is None:
                listener.wake.set()
                continue
            head = heads[listener.project]
            if head is None:
                listener.end("project.not_found")
            else:
                listener.tell(head)

    async def _judge(self, listener: Listener) -> None:
        """Let a listener go who may not listen any more; unknown while the catalog is away, which lets it go too."""
        try:
            checked = await listener.judge()
        except SatchelError as error:
            listener.end("unavailable" if isinstance(error, Unavailable) else error.code)
            return
        listener.checked = checked
        if checked.expires <= self._clock():
            listener.end("auth.expired")
        elif (
            listener.project is not None
            and not decide(checked.principal, Action.PROJECT_READ, listener.project).allowed
        ):
            listener.end("project.not_found")
