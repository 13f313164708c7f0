"""The whole proof against one installation, and the report that an auditor can keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from satchel.server.isolation import confusion, matrix, rest, tools
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.expectations import CALLERS
from satchel.server.isolation.requests import decoded, message
from satchel.server.isolation.sequences import Folders, Sequences
from satchel.server.isolation.world import EXPIRY_SECONDS, Tenant, World, dissolve, found_tenant, founded

NOT_INSPECTED = (
    "Other nodes: requests went to whichever answered at this address.",
    "Logs, metrics and traces, and where they are kept.",
    "Files on the servers' disks, caches and search indexes among them.",
    "The store: who else may read the bucket, and its earlier versions of objects.",
    "The keys: who holds the root key, and whether each tenant's are apart.",
    "Backups, replicas and copies of the database and the store.",
    "Differences in time between the answers for what is foreign and what never was.",
    "Signing in with passwords; tokens of OAuth clients.",
    "What the operator and whoever controls the servers can do: they are within the walls.",
)
"""What a proof over HTTP cannot see."""
_EXPIRED = "A credential that expired: that takes a minute, and this was quick."


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the proof."""

    name: str
    of: str
    """What was counted, in words."""
    count: int
    failed: list[str]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass
class Report:
    """What was asked of an installation, and what came of it."""

    url: str
    time: str
    version: str = ""
    installation: str = ""
    """The id of the installation, where the server or its database says it."""
    seed: int = 0
    checks: list[Check] = field(default_factory=list)
    not_inspected: tuple[str, ...] = NOT_INSPECTED
    requests: int = 0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether nothing failed."""
        return not any(check.failed for check in self.checks)


class Proof:
    """One run. The tenants it founds are gone at its end; where it dies, their lease ends them."""

    def __init__(
        self,
        asking: Asking,
        operator: str,
        word: Callable[[], str],
        report: Report,
        *,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._asking, self._operator, self._word = asking, operator, word
        self._report, self._progress, self._sleep = report, progress, sleep

    def run(self, *, sequences: int, quick: bool, only: str, folders: Folders | None) -> None:
        """Ask everything; the report has the result.

        ``quick`` asks each cell of the matrix in one way and leaves out the credential that has to expire first;
        ``only`` asks it for the operations whose name has that in it. Raises what founding tenants raises.
        """
        began = time.monotonic()
        self._report.version = str(self._asking.call(None, "GET", "/health")["version"])
        self._checked("expectations of what the server offers", "operations and tools", self._known)
        with founded(self._asking, self._operator, self._word) as world:
            made = time.monotonic()
            if not only:
                self._checked("being taken for another tenant", "attempts", lambda: self._confusion(world))
            if sequences:
                self._sequences(sequences, folders)
            self._matrix(world, quick, only, made)
        self._report.requests = self._asking.asked
        self._report.seconds = time.monotonic() - began

    def _checked(self, name: str, of: str, work: Callable[[], tuple[int, list[str]]]) -> None:
        began = time.monotonic()
        count, failed = work()
        self._report.checks.append(Check(name, of, count, failed, time.monotonic() - began))

    def _known(self) -> tuple[int, list[str]]:
        """What the server offers and the expectations do not know, or the other way round."""
        expected = {operation.name for operation in rest.OPERATIONS}
        offered = matrix.described(self._asking)
        listed = decoded(self._asking.send(message(tools.ERAS[1], "tools/list", {}), self._operator))
        named: set[str] = set()
        match listed:
            case {"result": {"tools": list(rows)}}:
                named = {str(row["name"]) for row in rows}
        failed = [f"{name}: offered, and without an expectation" for name in sorted(offered - expected)]
        failed += [f"{name}: expected, and not offered" for name in sorted(expected - offered)]
        failed += [f"MCP {name}: offered or expected alone" for name in sorted(named ^ tools.TOOL_NAMES)]
        return len(offered) + len(named), failed

    def _confusion(self, world: World) -> tuple[int, list[str]]:
        count, worked = confusion.run(world)
        return count, [str(each) for each in worked]

    def _sequences(self, count: int, folders: Folders | None) -> None:
        began = time.monotonic()
        with ExitStack() as stack:
            a, b = (stack.enter_context(self._tenant(name)) for name in ("d", "e"))
            driver = Sequences(self._asking, a, b, self._word, seed=self._report.seed, folders=folders)
            for number in range(count):
                self._progress("sequences", number, count)
                driver.run(number, 1)
        failed = [str(each) for each in (*driver.leaks, *driver.failed)]
        notes = (f"{driver.steps} steps over REST, MCP{'' if folders is None else ' and sync'}, seed {driver.seed}",)
        check = Check("random sequences of two tenants", "sequences", count, failed, time.monotonic() - began, notes)
        self._report.checks.append(check)

    @contextmanager
    def _tenant(self, name: str) -> Iterator[Tenant]:
        made = found_tenant(self._asking, self._operator, self._word, name)
        try:
            yield made
        finally:
            dissolve(self._asking, self._operator, made.id)

    def _matrix(self, world: World, quick: bool, only: str, made: float) -> None:
        began = time.monotonic()

        def expire() -> None:
            left = EXPIRY_SECONDS + 2 - (time.monotonic() - made)
            if left > 0:
                self._sleep(left)

        counts = matrix.run(
            world,
            callers=[caller for caller in CALLERS if not (quick and caller.name == matrix.EXPIRED)],
            operations=[operation for operation in matrix.OPERATIONS if only in operation.name],
            thorough=not quick,
            expire=expire,
            progress=lambda done, total: self._progress("matrix", done, total),
        )
        if quick:
            self._report.not_inspected = (_EXPIRED, *self._report.not_inspected)
        if only:
            left_out = f"Everything but the operations with {only!r} in their name."
            self._report.not_inspected = (left_out, *self._report.not_inspected)
        failed = [str(cell) for cell in counts.failed]
        notes = (
            f"{counts.requests} requests; {counts.pairs} answers compared with those for what never was",
            "operations × callers × (own, other project, other tenant, absent); nothing changed by what was refused",
        )
        self._report.checks.append(
            Check("authorization matrix", "cells", counts.cells, failed, time.monotonic() - began, notes)
        )


def now() -> str:
    """The time, for a report."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def told(report: Report) -> dict[str, object]:
    """The report as data."""
    return {
        "holds": report.holds,
        "url": report.url,
        "time": report.time,
        "version": report.version,
        "installation": report.installation or None,
        "seed": report.seed,
        "requests": report.requests,
        "seconds": round(report.seconds, 1),
        "checks": [{**asdict(check), "seconds": round(check.seconds, 1)} for check in report.checks],
        "notInspected": list(report.not_inspected),
    }
