"""Whoever runs the server: collects, lets versions expire, purges, meets damage and repairs, loses the catalog.

All of it is what ``satchel admin`` does, beside clients and agents who know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from satchel.catalog import retention
from satchel.catalog.retention import Retention
from satchel.errors import SatchelError
from satchel.upkeep.collect import collect
from satchel.upkeep.lease import LEASE_MS
from satchel.upkeep.purge import purge
from satchel.upkeep.rebuild import add_unknown, holdings
from satchel.upkeep.recovery import recover_project
from satchel.upkeep.repair import repair
from satchel.upkeep.verify import verify
from tests.simulation.actors import Client
from tests.simulation.ledger import Broken, Ledger, Person, tokens
from tests.simulation.one_thread import Killed
from tests.simulation.service import LIMITS, Server

T = TypeVar("T")
DIES = 0.15
STEPS_OF_UPKEEP = 12
MOST_JUMP_MS = 10 * 60 * 60 * 1000
"""Answers are remembered for a day: the clock goes wrong by less, both ways."""


@dataclass
class Operator:
    """Does one thing at a time, and may be killed in the middle of it."""

    name: str
    server: Server
    ledger: Ledger
    clients: list[Client]
    random: Random
    tell: Callable[[str], None]
    wait: Callable[[int], None]
    """Lets time pass."""

    def __post_init__(self) -> None:
        self.who = self.ledger.people[self.name] = Person(self.name)

    def collect(self) -> None:
        self._do("collect", lambda: collect(self.server.estate, self.server.tenant, window_ms=0))

    def expire(self) -> None:
        """Keep a few versions from now on, and let go of the others."""
        rule = self.random.choice((Retention(versions=self.random.randint(1, 3)), Retention()))

        async def work() -> None:
            async with self.server.house.catalog.write(self.server.tenant) as s:
                await retention.set_(s, rule)
            await collect(self.server.estate, self.server.tenant, window_ms=0)

        self.ledger.check()
        oldest = self.ledger.floor
        if rule.versions is not None:
            oldest = max(oldest, len(self.ledger.history) - rule.versions + 1)
        self._do(f"collect, keeping {rule.versions or 'all'} versions", work)
        if self.ledger.floor > oldest:
            raise Broken(f"P3: versions below {self.ledger.floor} expired, and those from {oldest} on were to be kept")

    def purge(self) -> None:
        self.ledger.check()
        known = sorted({path for version in self.ledger.history for path in version.tree})
        if not known:
            return
        path = self.random.choice(known)
        history = self.ledger.history
        trees = [version.tree for version in history if path in version.tree]
        self.who.deleted.add(path)
        self.who.removed |= tokens(self.ledger.objects[tree[path].object] for tree in trees)
        server = self.server
        caller = server.caller(self.name)
        done = self._do(
            f"purge of {path}", lambda: purge(server.estate, server.receiver, caller, server.project, [path])
        )
        if done is not None and not done.shared:
            left = {tree[path].object for tree in trees} - self.ledger.gone
            # Of what only expired versions held nobody knows any more: it goes without a note.
            left -= left - self.ledger.needed() - self.server.run(self.server.contents(left)).keys()
            if left:
                raise Broken(f"purged, and not gone: {len(left)} contents of {path}")

    def damage(self) -> None:
        """A pack goes bad; a check finds it, and a repair asks the clients for what was in it."""
        self.ledger.check()
        store = self.server.house.store
        packs = sorted(name for name in store.objects if self.server.project in name and "/packs/" in name)
        if not packs:
            return
        name = self.random.choice(packs)
        data = store.objects[name]
        at = self.random.randrange(len(data) // 2, len(data))  # what comes first names the key: that may be missing
        store.objects[name] = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

        self.wait(LEASE_MS)  # whoever was killed at work has a turn until then
        with self.server.house.catalog.not_read_through():
            self._do("repair of a damaged pack", self._repair, dies=False)

    async def _repair(self) -> None:
        server = self.server
        await repair(
            server.estate, await verify(server.estate, full=True, tenant=server.tenant, project=server.project)
        )

    def lose_the_catalog(self) -> None:
        """The catalog is made anew from the bucket, which has perhaps lost the newest versions too."""
        self.ledger.check()
        server, head = self.server, self.ledger.history[-1].head if self.ledger.history else None
        if head is None:
            return
        before = self.ledger.readable()
        forgotten = self.random.choice((0, 1, 2))
        first = max(head.version - forgotten, self.ledger.floor, 1) + 1
        for number in range(first, head.version + 1):
            for name in [name for name in server.house.store.objects if self._confirms(name, number)]:
                del server.house.store.objects[name]
        self.tell(f"the catalog is lost, and of the bucket the heads from {first} on")

        async def work() -> None:
            await server.forget_rows()
            held = await holdings(server.house.store)
            await add_unknown(server.estate, held, b"p" * 32, LIMITS, operators=False)
            await recover_project(server.estate, server.tenant, server.project)
            await self._repair()  # the bucket says nothing of what was found damaged before

        self.wait(LEASE_MS)
        with server.house.catalog.not_read_through():
            server.serve(work())
        self.ledger.begun_again(server.run(server.head()))
        self._excuse(before)

    def _confirms(self, name: str, number: int) -> bool:
        head = f"tenants/{self.server.tenant}/projects/{self.server.project}/heads/"
        return name.startswith(head) and name.rpartition("/")[2].lstrip("0") == str(number)

    def _do(self, what: str, work: Callable[[], Coroutine[Any, Any, T]], *, dies: bool = True) -> T | None:
        """What came of it; None where it was killed or gave up."""
        self.ledger.check()
        before = self.ledger.readable()
        self.tell(what)
        dies_after = self.random.randrange(STEPS_OF_UPKEEP) if dies and self.random.random() < DIES else None
        done: T | None = None
        try:
            done = self.server.serve(work(), dies_after)
        except Killed:
            pass
        except SatchelError as error:
            if error.code not in ("upkeep.busy", "artifact.not_found", "sync.objects_missing"):
                raise Broken(f"{what} ended with {error.code}: {error.message}") from error
            self.tell(f"{what} gives up: {error.code}")
        self.ledger.upkeep()
        self.ledger.check()
        self._excuse(before)
        return done

    def _excuse(self, before: set[Any]) -> None:
        """What was in history alone went on purpose."""
        went = before - self.ledger.readable()
        if went:
            for client in self.clients:
                client.forgive(went)
