"""Every operation × every caller × every target, asked and compared with what each owes.

First whatever must be refused: each request as it should be and with everything wrong that can be, the project by its
id and by its slug. Then it is seen that nothing changed. Last whatever is allowed, which may change the tenants founded
for it. Beside its status and code every answer is held to two rules: what the caller may not read answers exactly as
what never was, and no answer holds a mark of what its caller may not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from satchel.remote.raw import Reply
from satchel.server.isolation import rest, tools
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.expectations import (
    CALLERS,
    Caller,
    Operation,
    Outcome,
    Target,
    concerns,
    expected,
    lets_in,
)
from satchel.server.isolation.requests import Request, decoded, outcome, requests_of, seen
from satchel.server.isolation.world import World, differences

OPERATIONS = (*rest.OPERATIONS, *tools.OPERATIONS)
EXPIRED = CALLERS[-1].name


class Cell(NamedTuple):
    """One request and what came of it."""

    operation: str
    caller: str
    target: str
    variant: str
    """How it was asked, and how the project was named."""
    expected: Outcome
    found: Outcome
    problem: str = ""
    """What is wrong; empty where all is as it should be."""

    def __str__(self) -> str:
        where = f"{self.operation} · {self.caller} · {self.target} ({self.variant})"
        return f"{where}: expected {self.expected}, found {self.found}{'; ' + self.problem if self.problem else ''}"


class Counts:
    """How much was asked and compared."""

    def __init__(self) -> None:
        self.cells = 0
        """Operation × caller × target."""
        self.requests = 0
        self.pairs = 0
        """Answers that were compared with that for what never was."""
        self.failed: list[Cell] = []


def run(
    world: World,
    *,
    callers: Sequence[Caller] = CALLERS,
    operations: Sequence[Operation] = OPERATIONS,
    thorough: bool = True,
    expire: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Counts:
    """Ask every cell.

    ``thorough`` asks each in every way: without, each is asked once, the ways taking turns. ``expire`` is called before
    the expired credential is used, and waits until it is expired.
    """
    matrix = _Matrix(world, thorough)
    pairs = [(operation, caller) for caller in callers for operation in operations]
    before = world.state()
    for done, (operation, caller) in enumerate(pairs):
        if caller.name == EXPIRED and operation is operations[0]:
            expire()
        progress(done, 2 * len(pairs))
        matrix.refused(operation, caller)
    for name in differences(before, world.state()):
        cell = Cell("all that is refused", "all", name, "", Outcome(0), Outcome(0), "it was changed")
        matrix.counts.failed.append(cell)
    # What leaves a target another comes after everybody has asked for it.
    for done, (operation, caller) in enumerate(sorted(pairs, key=lambda each: each[0].last)):
        progress(len(pairs) + done, 2 * len(pairs))
        matrix.answered(operation, caller)
    return matrix.counts


class _Matrix:
    def __init__(self, world: World, thorough: bool) -> None:
        self.counts = Counts()
        self._world, self._thorough = world, thorough
        self._turn = 0

    def refused(self, operation: Operation, caller: Caller) -> None:
        """In order and garbled by id; by slug in order alone, and not where the credential says it all."""
        self._turn += 1
        self._ask(operation, caller, let_in=False)

    def answered(self, operation: Operation, caller: Caller) -> None:
        """In order, by id and by slug; once what leaves the target another."""
        self._ask(operation, caller, let_in=True)

    def _ask(self, operation: Operation, caller: Caller, *, let_in: bool) -> None:
        absent: dict[str, Reply] = {}
        owed_to_absent = expected(operation, caller, Target.ABSENT)
        for target in reversed(operation.targets):  # from the absent: what the others must look like
            if lets_in(operation, caller, target) is not let_in or not concerns(operation, caller, target):
                continue
            self.counts.cells += 1
            owed = expected(operation, caller, target)
            for variant, request in self._ways(operation, caller, target, let_in=let_in):
                reply = self._world.asking.send(request, self._world.keys[caller.name])
                cell = self._judged(
                    Cell(operation.name, caller.name, target.value, variant, owed, outcome(reply)), reply
                )
                first = absent.setdefault(request.variant, reply) if target is Target.ABSENT else None
                first = absent.get(request.variant, first)
                if owed == owed_to_absent and first is not None and first is not reply:
                    self._compare(cell, reply, first)

    def _ways(self, operation: Operation, caller: Caller, target: Target, *, let_in: bool) -> list[tuple[str, Request]]:
        ways: list[tuple[str, Request]] = []
        for naming, place in self._world.places(target, caller, own_file=let_in):
            requests = requests_of(operation, place)
            all_of_them = operation.is_mcp or (naming == "id" and not let_in)
            ways += [(f"{each.variant}, by {naming}", each) for each in (requests if all_of_them else requests[:1])]
            if caller.refused or not operation.of_project or (let_in and operation.last):
                break
        return ways if self._thorough or let_in else [ways[self._turn % len(ways)]]

    def _compare(self, cell: Cell, reply: Reply, absent: Reply) -> None:
        self.counts.pairs += 1
        if seen(reply) != seen(absent):
            said = f"differs from the answer for what never was: {difference(reply, absent)}"
            self.counts.failed.append(cell._replace(problem=said))

    def _judged(self, cell: Cell, reply: Reply) -> Cell:
        self.counts.requests += 1
        caller = next(each for each in CALLERS if each.name == cell.caller)
        leaked = leaks(self._world, caller, reply)
        wrong = [f"it holds a mark of {', '.join(leaked)}"] if leaked else []
        if cell.found != cell.expected:
            wrong.append("not the answer owed")
        if wrong:
            cell = cell._replace(problem="; ".join(wrong))
            self.counts.failed.append(cell)
        return cell


def leaks(world: World, caller: Caller, reply: Reply) -> list[str]:
    """Whose marks an answer holds that its caller may not know."""
    text = reply.body + b"\n".join(f"{name}: {value}".encode() for name, value in reply.headers)
    lower = text.lower()
    return sorted({whose for whose, mark in world.unknown_to(caller) if mark in lower})


def difference(one: Reply, other: Reply) -> str:
    """What differs between two answers, in words."""
    a, b = seen(one), seen(other)
    if a.status != b.status:
        return f"status {a.status}, {b.status}"
    if a.headers != b.headers:
        return "headers " + ", ".join(sorted({name for name, _ in set(a.headers) ^ set(b.headers)}))
    return "the body"


def described(asking: Asking) -> set[str]:
    """The operations that a live server's own description names."""
    told = decoded(asking.send(Request("", "GET", "/openapi.json", (), None), None))
    if not isinstance(told, dict):
        return set()
    return {f"{method.upper()} {path}" for path, methods in told["paths"].items() for method in methods}
