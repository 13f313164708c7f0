"""One run of everything from one seed: who acts when, what the network does to them, who is killed.

Nothing here looks at a real clock or at real chance, so the same seed plays the same again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from satchel.sync.choices import Direction, Strategy
from satchel.sync.naming import WAITS_FOR
from satchel.sync.pull import LOST
from satchel.sync.report import SyncReport
from tests.simulation.actors import CLASHING, Agent, Client, Pen
from tests.simulation.ledger import Broken, Ledger
from tests.simulation.network import Network
from tests.simulation.one_thread import Processes, transfers_are_large
from tests.simulation.service import NOW, Installation, Server
from tests.simulation.upkeep import MOST_JUMP_MS, Operator

STEPS = 6
MOST_PAUSE_MS = 20 * 60 * 1000
DAY_MS = 24 * 60 * 60 * 1000
ROUNDS = 6
"""How often everybody may have to sync until all are in step."""
VERIFIED = 100
"""Of so many seeds one is also looked at by ``verify --full``."""
DEEDS = {"work": 40, "sync": 36, "agent": 9, "late": 5, "undo": 6, "resolve": 3, "clock": 3, "upkeep": 5}
UPKEEP = {
    Operator.collect: 3,
    Operator.expire: 2,
    Operator.purge: 4,
    Operator.damage: 3,
    Operator.lose_the_catalog: 2,
}


class World:
    """``play`` raises ``Broken``, whose text tells what happened, where a promise did not hold."""

    def __init__(self, house: Installation, seed: int, folder: Path, processes: Processes) -> None:
        self.seed, self.random, self.trace = seed, Random(seed), list[str]()
        self.now, self.depth, self.folder = NOW, 0, folder
        processes.tell, processes.stack = self.tell, []
        self.server = Server(house, seed, processes, Random(seed * 3 + 1), self.clock)
        self.ledger = Ledger(self.server)
        ledger = self.ledger
        heard = (ledger.sent, ledger.answered, ledger.refused)
        self.network = Network(self.server, self.random, self.tell, self.meanwhile, *heard)
        pen = Pen(self.random)
        self.clients = [
            Client(
                name,
                folder / name,
                self.network,
                ledger,
                processes,
                pen,
                self.clock,
                self.random.randint(-DAY_MS, DAY_MS),
            )
            for name in ("Ann", "Bob", "Cleo")[: self.random.choice((2, 2, 2, 3))]
        ]
        self.agent = Agent("Agent", self.network, ledger, pen)
        self.operator = Operator("Operator", self.server, ledger, self.clients, self.random, self.tell, self.wait)
        transfers_are_large(self.random.random() < 0.25)
        if self.random.random() < 0.25:
            self.agent.names += CLASHING
            for client in self.clients:
                client.names += CLASHING

    def clock(self) -> int:
        self.now += 1
        return self.now

    def wait(self, ms: int) -> None:
        self.now += ms

    def tell(self, line: str) -> None:
        self.trace.append("  " * self.depth + line)

    def play(self) -> None:
        try:
            self._begin()
            for _ in range(STEPS):
                self.now += self.random.randrange(MOST_PAUSE_MS)
                self.act()
                self.ledger.check()
            self._heal()
        except Exception as error:
            kind = "" if isinstance(error, Broken) else f"{type(error).__name__}: "
            raise Broken("\n".join([*self.trace, f"seed {self.seed}: {kind}{error}"])) from error
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.server.end()

    def _begin(self) -> None:
        """A few files that everybody has, in most runs; else the folders meet for the first time."""
        self.network.faulty = False
        for client in self.clients:
            for _ in range(3 if client is self.clients[0] else self.random.choice((0, 0, 1))):
                self.tell(f"{client.name} {client.work()}")
        if self.random.random() < 0.6:
            for client in self.clients:
                client.sync(Direction.BOTH, Strategy.MANUAL)
        self.network.faulty = True

    def act(self) -> None:
        """One deed of somebody who is free."""
        deed = self.random.choices(tuple(DEEDS), tuple(DEEDS.values()))[0]
        client = self.random.choice(self.clients)
        if deed == "work":
            for _ in range(self.random.choice((1, 1, 2))):
                self.tell(f"{client.name} {client.work()}")
        elif deed == "late":
            self.network.arrive()
        elif deed == "agent" and not self.agent.busy:
            self.agent.write()
        elif deed == "upkeep":
            self.random.choices(tuple(UPKEEP), tuple(UPKEEP.values()))[0](self.operator)
        elif deed == "clock":
            self._set_a_clock(client)
        elif client.busy:
            return
        elif deed == "sync":
            direction = self.random.choices(tuple(Direction), (8, 1, 1))[0]
            strategy = self.random.choices(tuple(Strategy), (12, 1, 1, 1))[0]
            client.sync(direction, strategy)
        elif deed == "undo":
            client.undo()
        elif deed == "resolve":
            client.resolve()

    def meanwhile(self) -> None:
        """While a request travels, somebody else acts, or its sender goes on working."""
        if self.depth < 2:
            self.depth += 1
            for _ in range(self.random.choice((1, 2))):
                self.act()
            self.depth -= 1

    def _set_a_clock(self, client: Client) -> None:
        """A clock jumps, forward or back: a client's by up to a day, the server's by hours."""
        if self.random.random() < 0.5:
            client.skew_ms = self.random.randint(-DAY_MS, DAY_MS)
            self.tell(f"{client.name}'s clock is {client.skew_ms / 1000:+.0f} s off")
        else:
            jump = self.random.randint(-MOST_JUMP_MS, MOST_JUMP_MS)
            if abs(self.now + jump - NOW) < MOST_JUMP_MS:
                self.now += jump
                self.tell(f"the server's clock jumps by {jump / 1000:+.0f} s")

    def _heal(self) -> None:
        """Edits stop and the network is well: everybody syncs, and conflicts are decided by one rule."""
        self.tell("all is well again")
        self.network.faulty = False
        while self.network.late:
            self.network.arrive()
        strategy = self.random.choice((Strategy.LOCAL, Strategy.CLOUD, Strategy.BOTH))
        reports: dict[str, SyncReport] = {}
        for _ in range(ROUNDS):
            for client in self.clients:
                if client.name not in reports or not self._in_step(client, reports[client.name]):
                    reports[client.name] = self._well(client, strategy)
            for client in self.clients:
                if client.settle_names():
                    reports.pop(client.name)
            if len(reports) == len(self.clients) and all(
                self._in_step(client, reports[client.name]) for client in self.clients
            ):
                break
        else:
            raise Broken(f"not all are in step after {ROUNDS} rounds by {strategy.value}: {self._differences()}")
        self.ledger.check()
        self.ledger.check_all()
        if self.seed % VERIFIED == 0 and not self.ledger.lost and (problems := self.server.verified()):
            raise Broken(f"verify: {problems}")

    def _lost(self, path: str) -> bool:
        """Whether the store lost what is there, and nobody had it to give back."""
        tree = self.ledger.history[-1].tree
        return path in tree and tree[path].object in self.ledger.lost | self.ledger.gone

    def _in_step(self, client: Client, report: SyncReport) -> bool:
        # A file that was renamed here waits for what the store lost by its new name, and others for that.
        waits = {one.path for one in report.conflicts if one.reason == LOST and self.ledger.lost | self.ledger.gone}
        waits |= {one.path for one in report.conflicts if waits and one.reason.startswith(WAITS_FOR)}
        if any(not self._lost(one.path) and one.path not in waits for one in report.conflicts):
            return False
        has, head = client.files(), self.ledger.head_files()
        own = {left.path for left in report.left_out} | waits
        differ = {path for path in has.keys() | head.keys() if has.get(path) != head.get(path)}
        return all(path in own or self._lost(path) for path in differ)

    def _differences(self) -> str:
        head, found = self.ledger.head_files(), list[str]()
        for client in self.clients:
            has = client.files()
            found += [f"{client.name}'s {path}" for path in sorted({*has, *head}) if has.get(path) != head.get(path)]
        return ", ".join(found)

    def _well(self, client: Client, strategy: Strategy) -> SyncReport:
        report = client.sync(Direction.BOTH, strategy)
        if report is None:
            raise Broken(f"{client.name}'s sync did not end well though nothing stood in its way")
        return report
