"""What everybody did, and the promises that a simulation is held to after each of its steps.

Every edit brings a token that was never seen before, so that it can be followed: a token may vanish only because
somebody took its line or its file away, or decided a conflict against it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.errors import SatchelError
from satchel.objects.ids import Lineage, ObjectId, object_id
from satchel.objects.listing import Entry, digest
from satchel.sync.peer import Committed, Head
from tests.simulation.network import Request
from tests.simulation.service import Server

TOKEN = re.compile(rb"tok\d+")


class Broken(AssertionError):
    """A promise does not hold."""


class Version(NamedTuple):
    head: Head
    tree: dict[str, Entry]


@dataclass
class Person:
    """Whoever writes: what they did themselves, as opposed to what a sync did for them."""

    name: str
    wrote: set[tuple[str, ObjectId]] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    removed: set[bytes] = field(default_factory=set)
    """Tokens that they took away."""
    excused: set[str] = field(default_factory=set)
    """Paths that they undid or resolved: old content may return there."""
    forgiven: bool = False
    """Since another lineage began: old content may return anywhere."""


@dataclass
class Ledger:
    server: Server
    people: dict[str, Person] = field(default_factory=dict)
    history: list[Version] = field(default_factory=list)
    objects: dict[ObjectId, bytes] = field(default_factory=dict)
    writes: dict[tuple[str, str], tuple[Request, Committed]] = field(default_factory=dict)
    by_version: dict[int, Request] = field(default_factory=dict)
    choices: set[tuple[str, str]] = field(default_factory=set)
    """Who decided conflicts, and the end of the key under which the outcome was sent."""
    decided: set[bytes] = field(default_factory=set)
    """Tokens that a decision took away."""
    lineage: Lineage | None = None
    floor: int = 0
    """Versions below it expired."""
    gone: set[ObjectId] = field(default_factory=set)
    """Purged: nobody can read them."""
    lost: set[ObjectId] = field(default_factory=set)
    """Damaged in the store, and asked of the clients."""
    _seen: tuple[int, int] = (0, 0)

    def sent(self, request: Request) -> None:
        """Something is about to arrive."""
        if request.decided:
            self.choices.add((request.who, request.key.partition("-")[2]))

    def answered(self, request: Request, answer: Committed) -> None:
        """P7: whatever arrives under one key is one write, with one answer."""
        if not answer.added + answer.changed + answer.deleted:
            return
        first = self.writes.setdefault((request.who, request.key), (request, answer))[1]
        _require(first == answer, f"P7: one write had two answers, {first[:2]} and {answer[:2]}")
        one = self.by_version.setdefault(answer.version, request)
        _require((one.who, one.key) == (request.who, request.key), f"P7: two writes made version {answer.version}")

    def refused(self, request: Request, error: SatchelError) -> None:
        """P7: what was done is answered again, however late it arrives once more."""
        _require((request.who, request.key) not in self.writes, f"P7: done before, and now refused: {error.code}")

    def check(self) -> None:
        """P3 and P4 of everything new in the cloud."""
        seen = (self.server.house.database.changes, len(self.writes))
        if seen == self._seen:
            return
        self._seen = seen
        head = self.server.run(self.server.head())
        self.lineage = self.lineage or head.lineage
        before = self.history[-1] if self.history else Version(Head(head.lineage, 0, digest({})), {})
        _require(head.lineage == self.lineage, "P4: another lineage")
        _require(head.version >= before.head.version, "P4: the head went back")
        for number in range(before.head.version + 1, head.version + 1):
            row, tree = self.server.run(self.server.tree(number))
            _require(digest(tree) == row.digest, f"P4: version {number} is not what its digest names")
            stayed = {entry.object for entry in before.tree.values()}
            new = {entry.object for entry in tree.values()} - stayed - (self.objects.keys() - self.gone)
            # What was purged is in a version that was lost and is back without its content; by another path it returns.
            new |= self.gone & {entry.object for path, entry in tree.items() if before.tree.get(path) != entry}
            found = self.server.run(self.server.contents(new))
            _require(found.keys() == new, f"P3: version {number} has no content for some of its files")
            self.objects |= found
            self.gone -= new
            made = Version(Head(row.lineage, number, row.digest), tree)
            self._conserved(before.tree, made, self.people[row.author])
            self._willed(before.tree, made, self.people[row.author])
            self.history.append(made)
            before = made
        _require(before.head[1:] == head[1:], "P4: the head is not the newest version")
        for _, answer in self.writes.values():
            kept = answer.version <= head.version and self.history[answer.version - 1].head == answer[:3]
            _require(kept, f"P3: the acknowledged version {answer.version} is not there")
        if self.lost:
            self._healed()

    def _healed(self) -> None:
        """What clients gave back is there again."""
        lost = self.server.run(self.server.lost())
        back = self.lost - lost - self.gone
        found = self.server.run(self.server.contents(back))
        there = {name: self.objects[name] for name in back if name in self.needed()}
        _require(there.items() <= found.items(), "P3: what a client gave back cannot be read")
        self.lost = lost

    def needed(self) -> set[ObjectId]:
        """What versions that did not expire hold."""
        kept = self.history[max(self.floor - 1, 0) :]
        return {entry.object for version in kept for entry in version.tree.values()} - self.gone

    # What the operator does to history --------------------------------------------------------------------------------

    def readable(self) -> set[ObjectId]:
        return self.needed() - self.lost

    def upkeep(self) -> None:
        """Versions may have expired, content been purged, damaged or restored."""
        self.floor, self.gone, self.lost = self.server.run(self.server.standing(set(self.objects)))

    def begun_again(self, head: Head) -> None:
        """The catalog was lost, and made anew from the bucket, which may have lost the newest versions."""
        _require(head.lineage != self.lineage or head[1:] == self.history[-1].head[1:], "P4: a lineage forgot versions")
        # Nothing is left where the only version was committed, and its server died before it was confirmed.
        then = self.history[head.version - 1].head.digest if head.version else digest({})
        _require(head.digest == then, "P4: rebuilt otherwise than it was")
        if head.lineage != self.lineage:
            # Nobody knows any more what was answered; what people deleted since may return.
            self.lineage, self.history = head.lineage, self.history[: head.version]
            self.choices.clear()
            for person in self.people.values():
                person.forgiven = True
        self.writes.clear()
        self.by_version.clear()
        self.upkeep()

    def _conserved(self, before: Mapping[str, Entry], made: Version, who: Person) -> None:
        gone = self.tokens_of(before) - self.tokens_of(made.tree)
        if self._was_decided(made, who):
            self.decided |= gone
        else:
            lost = gone - who.removed
            _require(not lost, f"P3: version {made.head.version} by {who.name} drops {_names(lost)}")

    def _willed(self, before: Mapping[str, Entry], made: Version, who: Person) -> None:
        """A sync sends what its person did, and never what was there before they were asked."""
        decided = self._was_decided(made, who)
        for path in before.keys() | made.tree.keys():
            was, now = before.get(path), made.tree.get(path)
            if was == now or decided or (now is not None and who.forgiven) or path in who.excused:
                continue
            if now is None:
                _require(path in who.deleted, f"P3: {who.name} never deleted {path}")
            elif was is None or was.object != now.object:
                old = any(one.tree.get(path, now)[1] == now.object and path in one.tree for one in self.history)
                returned = old and (path, now.object) not in who.wrote
                _require(not returned, f"P3: {who.name} brought an old {path} back")
                who.wrote.add((path, now.object))

    def _was_decided(self, made: Version, who: Person) -> bool:
        return (who.name, f"{made.head.version - 1}-{made.head.digest[:16]}") in self.choices

    def check_all(self) -> None:
        """All of history that did not expire still reads as it did."""
        for version in self.history[max(self.floor - 1, 0) :]:
            row, tree = self.server.run(self.server.tree(version.head.version))
            _require(tree == version.tree, f"P3: version {version.head.version} reads otherwise than it did")
            _require((row.lineage, row.digest) == (version.head.lineage, version.head.digest), "P4: history changed")
        wanted = {name: self.objects[name] for name in self.readable()}
        found = self.server.run(self.server.contents(set(wanted)))
        _require(found == wanted, "P3: not all of history can be read")
        _require(not self.server.run(self.server.contents(self.gone)), "purged content can be read")

    def head_files(self) -> dict[str, bytes]:
        tree = self.history[-1].tree if self.history else {}
        return {path: self.objects[entry.object] for path, entry in tree.items()}

    def tokens_of(self, tree: Mapping[str, Entry]) -> set[bytes]:
        return tokens(self.objects[entry.object] for entry in tree.values())

    def synced(self, who: Person, had: Mapping[str, bytes], has: Mapping[str, bytes], decided: bool) -> None:
        """What a sync did in a folder: nothing went that nobody took away."""
        gone = tokens(had.values()) - tokens(has.values())
        if decided:  # what lost may also be in the cloud still, and go with a later push
            who.removed |= gone | tokens(self.head_files().values()) - tokens(has.values())
            self.decided |= gone
            return
        lost = gone.difference(self.decided, *(person.removed for person in self.people.values()))
        _require(not lost, f"P3: the folder of {who.name} lost {_names(lost)}")

    def kept(
        self, who: Person, owed: Mapping[bytes, str], has: Iterable[bytes], undo: Callable[[], Iterable[bytes]]
    ) -> None:
        """P3: what a sync overwrote is in the undo store or in history."""
        there, readable = {*has}, self.readable()
        missing = {data: path for data, path in owed.items() if data not in there and object_id(data) not in readable}
        kept = {*undo()} if missing else set()
        for data, path in missing.items():
            _require(data in kept, f"P3: what {who.name} had in {path} is neither in the undo store nor in history")


def tokens(contents: Iterable[bytes]) -> set[bytes]:
    return {token for data in contents for token in TOKEN.findall(data)}


def _names(lost: set[bytes]) -> str:
    return ", ".join(sorted(token.decode() for token in lost))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
