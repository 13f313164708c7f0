"""What one sync will do: a plan seen through a direction, a strategy and the rules on names. Pure.

``choose`` turns a plan into ``Steps``: what to write in the folder, what to send, and which paths keep their old
base (are *held*) because the folder does not have the cloud's content yet. A held path is planned afresh next time from
the same base, so whatever is left undone today is neither forgotten nor mistaken for a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.objects.ids import ObjectId, object_id
from satchel.objects.listing import Entry, Tree
from satchel.objects.paths import collision_key, executed_by_tools, path_problem
from satchel.sync.choices import Direction as Direction
from satchel.sync.choices import Strategy as Strategy
from satchel.sync.merge import Apart, Clean, Gone, Marked, Outcome
from satchel.sync.naming import is_new, kept_by_old_names, name_clashes, waits_for
from satchel.sync.plan import NEITHER, Clash, Plan, merged_mode
from satchel.sync.record import NOTHING, Record, Remembered


class Conflict(NamedTuple):
    """Nobody decided."""

    clash: Clash
    reason: str
    beside: str | None = None
    """Where the cloud's file stands in the folder."""


@dataclass(slots=True)
class Steps:
    """What to do, path by path; ``None`` as an entry means: delete."""

    push: dict[str, Entry | None]
    pull: dict[str, Entry | None]
    conflicts: dict[str, Conflict] = field(default_factory=dict)
    name_clashes: dict[str, str] = field(default_factory=dict)
    """Path to reason: no folder could hold this path beside another one (``a`` and ``a/b``, ``A`` and ``a``)."""
    queued: dict[str, str] = field(default_factory=dict)
    """Path to reason: what is here is sent once another path is, since the cloud keeps a renamed file by this name."""
    untrusted: tuple[str, ...] = ()
    """Files that tools execute on their own, waiting in the cloud until a pull with trust."""
    waiting_push: int = 0
    """Local changes that this direction does not send."""
    waiting_pull: int = 0
    """Cloud changes that this direction does not fetch."""
    held: dict[str, Entry | None] = field(default_factory=dict)
    """Base entries to keep where the base will not be the cloud's entry."""
    merged: list[str] = field(default_factory=list)
    """Files that get the edits of both sides."""
    contents: dict[ObjectId, bytes] = field(default_factory=dict)
    """What to write that neither side has as a file."""
    records: list[Record] = field(default_factory=list)
    """What to remember before anything is written."""
    moves: dict[str, str] = field(default_factory=dict)
    """New name to old name: the old file goes once the new one stands."""
    beside: dict[str, str] = field(default_factory=dict)
    """The name of what is put beside a file, to the name of that file."""


def choose(
    made: Plan,
    base: Tree,
    local: Tree,
    cloud: Tree,
    *,
    direction: Direction = Direction.BOTH,
    strategy: Strategy = Strategy.MANUAL,
    trust: bool = False,
    texts: Mapping[str, Outcome] | None = None,
    known: Remembered = NOTHING,
) -> Steps:
    """Decide what to do about each difference of ``made = plan(base, local, cloud)``.

    ``texts`` says what became of the contents that both sides changed; a path it lacks waits. ``local`` also has the
    files that stand beside ours in a conflict.
    """
    if strategy is Strategy.BOTH and direction is Direction.TO_CLOUD:
        strategy = Strategy.MANUAL  # what would have to be fetched waits
    made = _kept_open(made, base, local, cloud, known.open)
    choosing = _Choosing(base, local, cloud, strategy, known)
    steps = choosing.steps
    steps.push |= made.push
    steps.pull |= made.pull
    for path, result in made.both.items():
        steps.push[path] = steps.pull[path] = result
        steps.merged.append(path)
    for name, move in made.moves.items():
        choosing.move(name, move.source, move.base, move.edited, move.result, here=move.here)
    for path, clash in made.conflicts.items():
        choosing.conflict(path, clash, known.open[path].reason if path in known.open else _reason(clash))
    for path, clash in made.merge.items():
        if strategy is Strategy.LOCAL and direction is Direction.TO_CLOUD:
            steps.push[path] = clash.local
        else:
            choosing.text(path, clash, (texts or {}).get(path))
    choosing.leave_out_clashes()
    going = choosing.going()
    choosing.clear_beside()
    if not trust:
        choosing.distrust()
    if direction is Direction.FROM_CLOUD:
        steps.waiting_push, steps.push = len(steps.push), {}
    elif direction is Direction.TO_CLOUD:
        choosing.fetch_nothing(made)
    choosing.keep_old_names()
    while choosing.going() != going:  # what stays after all may be in the way
        going = choosing.going()
        choosing.leave_out_clashes()
        choosing.keep_old_names()
    return steps


def _kept_open(made: Plan, base: Tree, local: Tree, cloud: Tree, waiting: Mapping[str, Record]) -> Plan:
    """The same plan, but that nothing else is done about a file with markers in it, whatever became of the others."""
    if not waiting:
        return made
    push, pull, conflicts = dict(made.push), dict(made.pull), dict(made.conflicts)
    both, merge, moves = dict(made.both), dict(made.merge), dict(made.moves)
    for name, move in made.moves.items():
        if name in waiting or move.source in waiting:
            (push if move.here else pull)[name] = (local if move.here else cloud)[name]
            conflicts[move.source] = Clash(move.base, local.get(move.source), cloud.get(move.source))
            del moves[name]
    for path in waiting:
        if path in push or path in pull or path in both or path in merge:
            conflicts[path] = Clash(base.get(path), local.get(path), cloud.get(path))
            for part in (push, pull, both, merge):
                part.pop(path, None)
    return Plan(push, pull, both, merge, moves, conflicts, made.agreed)


class _Choosing:
    """Steps in the making."""

    def __init__(self, base: Tree, local: Tree, cloud: Tree, strategy: Strategy, known: Remembered) -> None:
        self.base, self.local, self.cloud, self.strategy, self.known = base, local, cloud, strategy, known
        self.steps = Steps({}, {})
        self.taken: set[str] = set()
        self.unsent: list[tuple[str, ObjectId]] = []
        """What waits here and what it holds, since the last look at who keeps an old name for it."""

    def wait(self, path: str) -> None:
        """Nobody has looked at the contents yet."""
        self.unsend(path)
        self.steps.waiting_pull += 1
        self.hold(path, self.base.get(path))

    def hold(self, path: str, entry: Entry | None) -> None:
        """Let the base keep ``entry`` there."""
        if entry != self.cloud.get(path):
            self.steps.held[path] = entry

    def unsend(self, path: str) -> None:
        """Nothing is sent there, and nobody decided that the cloud does without what is here."""
        sent, shown = self.steps.push.pop(path, None), self.known.open.get(path) or self.known.beside.get(path)
        # Between markers stands what it was renamed with; or somebody put another file in that one's place.
        for mine in dict.fromkeys((self.local.get(path, sent), shown.local if shown else None)):
            if mine is not None and is_new(mine, self.base.get(path), self.cloud.get(path)):
                self.unsent.append((path, mine.object))

    def text(self, path: str, clash: Clash, outcome: Outcome | None) -> None:
        """Both sides changed the content."""
        if outcome is None and path in self.known.beside:
            outcome = Apart(self.known.beside[path].reason)
        if outcome is None:
            self.wait(path)
        elif isinstance(outcome, Clean):
            self.merged(path, clash, outcome.data)
        elif isinstance(outcome, Gone):
            self.conflict(path, clash, outcome.reason)
        else:
            self.conflict(path, clash, outcome.reason, outcome)

    def merged(self, path: str, clash: Clash, data: bytes) -> None:
        """Both sides get one text."""
        if clash.local is None or clash.cloud is None:
            raise AssertionError("a merge has two sides")
        result = Entry(merged_mode(clash.base, clash.local, clash.cloud), object_id(data))
        if result != clash.cloud:
            self.steps.push[path] = result
        if result != clash.local:
            self.steps.pull[path] = result
            self.steps.contents[result.object] = data
            was, then = {path: clash.base}, {path: clash.cloud}
            self.steps.records.append(Record(path, "merged", *clash, result, None, was, then))
        self.steps.merged.append(path)

    def move(self, name: str, source: str, was: Entry, edited: Entry, result: Entry, *, here: bool) -> None:
        """A file goes by its new name, with the other side's edit."""
        steps = self.steps
        if here:  # the cloud edited
            steps.push[source] = None
            then: dict[str, Entry | None] = {source: edited}
        else:
            steps.pull[source] = None
            then = {source: edited, name: self.cloud[name]}
        if self.local.get(name) != result:
            steps.pull[name] = result
        if self.cloud.get(name) != result:
            steps.push[name] = result
        steps.moves[name] = source
        steps.merged.append(name)
        sides = (was, self.local.get(name), self.cloud.get(name))
        steps.records.append(Record(name, "merged", *sides, result, None, {source: was, name: None}, then))

    def conflict(self, path: str, clash: Clash, reason: str, outcome: Apart | Marked | None = None) -> None:
        """No text came of it, or there is none."""
        steps, shown = self.steps, self.known.open.get(path)
        mine, theirs = clash.local, clash.cloud
        if self.strategy in (Strategy.LOCAL, Strategy.BOTH) and shown is not None and mine is not None:
            mine = shown.local  # what stands in the file may have markers in it
            if mine != clash.local:
                steps.pull[path] = mine
        if self.strategy is Strategy.LOCAL or (self.strategy is Strategy.BOTH and theirs is None):
            steps.push[path] = mine
        elif self.strategy is Strategy.CLOUD or (self.strategy is Strategy.BOTH and mine is None):
            steps.pull[path] = theirs
        elif self.strategy is Strategy.BOTH and theirs is not None:
            beside = self.beside(path)
            steps.push[path], steps.push[beside], steps.pull[beside] = mine, theirs, theirs
            steps.beside[beside] = path
        else:
            self.leave(path, clash, reason, outcome)

    def leave(self, path: str, clash: Clash, reason: str, outcome: Apart | Marked | None) -> None:
        """Hold it for a person, with the other side where they can see it."""
        steps, beside = self.steps, None
        shown = self.known.open.get(path)
        self.unsend(path)
        self.hold(path, shown.base if shown is not None and clash.base != NEITHER else clash.base)
        if isinstance(outcome, Marked) and clash.local is not None:
            result = Entry(clash.local.mode, object_id(outcome.data))
            steps.pull[path] = result
            steps.contents[result.object] = outcome.data
            steps.records.append(Record(path, "lines", *clash, result, reason=reason))
        elif isinstance(outcome, Apart) and clash.cloud is not None:
            stands = self.known.beside.get(path)
            if stands is not None and stands.cloud == clash.cloud:
                beside = stands.beside if stands.beside in self.local else None  # whoever took it away meant it
            else:
                again = stands is not None and stands.beside and self.local.get(stands.beside) in (None, stands.result)
                beside = stands.beside if again and stands is not None and stands.beside else self.beside(path)
                if self.local.get(beside) != clash.cloud:
                    steps.pull[beside], steps.beside[beside] = clash.cloud, path
                steps.records.append(Record(path, "beside", *clash, clash.cloud, beside, reason=reason))
        seen = clash if shown is None else clash._replace(local=shown.local)
        steps.conflicts[path] = Conflict(seen, reason, beside)

    def beside(self, path: str) -> str:
        """A free name beside a file, for the cloud's version of it."""
        if not self.taken:
            self.taken = {collision_key(name) for name in (*self.local, *self.cloud, *self.base)}
        name = next(name for name in beside_names(path) if collision_key(name) not in self.taken)
        self.taken.add(collision_key(name))
        return name

    def clear_beside(self) -> None:
        """What stands beside a file goes once nobody is asked about it; the cloud's history has it."""
        for path, record in self.known.beside.items():
            beside = record.beside
            if path in self.steps.conflicts or beside is None or beside in self.steps.push:
                continue
            if self.local.get(beside) == record.result:
                self.steps.pull.setdefault(beside, None)

    def going(self) -> set[tuple[str, bool]]:
        """What is to be deleted there and here."""
        sides = ((self.steps.push, True), (self.steps.pull, False))
        return {(path, there) for side, there in sides for path, entry in side.items() if entry is None}

    def leave_out_clashes(self) -> None:
        """Leave out names that cannot stand together; what goes with them stays, and may be in the way of more."""
        steps = self.steps
        while clashes := name_clashes(self.cloud, steps.push) | name_clashes(self.local, steps.pull):
            self.leave_out(clashes)

    def leave_out(self, clashes: Mapping[str, str]) -> None:
        """Paths that no folder can hold keep what they have on both sides."""
        self.stay(clashes)
        self.steps.name_clashes |= clashes

    def stay(self, paths: Iterable[str]) -> None:
        """Neither send nor fetch anything there."""
        for path in (both := [*paths, *self.partners(paths)]):
            self.unsend(path)
            self.steps.pull.pop(path, None)
            if path not in self.steps.conflicts:
                self.hold(path, self.base.get(path))
        self.forget(both)

    def distrust(self) -> None:
        """Leave files that tools execute on their own in the cloud."""
        steps = self.steps
        found = [path for path, entry in steps.pull.items() if entry and executed_by_tools(path)]
        for path in [*found, *self.partners(found)]:
            # Local content that lost to the cloud waits too: from the base it then had, or it would be sent next.
            lost = path in self.local and self.strategy is Strategy.CLOUD and path not in steps.merged
            steps.held[path] = self.local.get(path) if lost else self.base.get(path)
            if path in steps.push:
                self.unsend(path)
            steps.pull.pop(path, None)
            steps.conflicts.pop(path, None)
        steps.untrusted = tuple(found)
        self.forget([*found, *self.partners(found)])

    def fetch_nothing(self, made: Plan) -> None:
        """Send only: what would be written here waits."""
        steps = self.steps
        paths = [path for path in steps.pull if path not in steps.conflicts]
        for path in [*paths, *self.partners(paths)]:
            # Where the cloud won a conflict, the base is the local entry from now on, so that it stays won.
            won = path in made.conflicts and path not in steps.push
            steps.held[path] = self.local.get(path) if won else self.base.get(path)
            if path in steps.push and (path in steps.merged or path in steps.pull):
                self.unsend(path)
        for name, source in steps.moves.items():
            for path in (name, source):
                self.unsend(path)
                self.hold(path, self.base.get(path))
        steps.waiting_pull += len(set(paths))
        steps.pull, steps.records, steps.merged, steps.moves, steps.contents = {}, [], [], {}, {}

    def keep_old_names(self) -> None:
        """A file renamed here stays in the cloud by its old name as long as the new one has to wait."""
        steps, moved = self.steps, set(self.steps.moves.values())
        sides = (self.base, self.local, self.cloud)
        kept = kept_by_old_names(steps.push, *sides, self.unsent, steps.merged, moved)
        queued = {name: waits_for(path) for name, path in kept.items() if steps.push[name] is not None}
        self.stay(kept)
        self.unsent.clear()
        steps.queued |= queued
        for old, path in kept.items():
            also = f"; until it is decided the cloud keeps {old}"
            for reasons in (steps.name_clashes, steps.queued):
                if path in reasons:
                    reasons[path] += also
            if path in steps.conflicts:
                steps.conflicts[path] = steps.conflicts[path]._replace(reason=steps.conflicts[path].reason + also)

    def partners(self, paths: Iterable[str]) -> list[str]:
        """The other names of files among ``paths`` that move."""
        named = set(paths)
        other = {**self.steps.moves, **{source: name for name, source in self.steps.moves.items()}}
        return [other[path] for path in named if path in other and other[path] not in named]

    def forget(self, paths: Iterable[str]) -> None:
        """Nothing is merged at these paths after all."""
        steps, gone = self.steps, set(paths)
        steps.merged = [path for path in steps.merged if path not in gone]
        steps.records = [record for record in steps.records if gone.isdisjoint((record.path, record.beside))]
        steps.moves = {name: source for name, source in steps.moves.items() if name not in gone}


def free_beside(path: str, *trees: Tree) -> str:
    """The first of the names beside a file that none of the trees has."""
    taken = {collision_key(name) for tree in trees for name in tree}
    return next(name for name in beside_names(path) if collision_key(name) not in taken)


def beside_names(path: str) -> Iterable[str]:
    """``a/plan.md`` stands beside as ``a/plan.cloud.md``, else ``a/plan.cloud-2.md`` and so on."""
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    for number in range(1, 1_000):
        mark = "cloud" if number == 1 else f"cloud-{number}"
        made = f"{folder}/{stem}.{mark}{dot}{suffix}".removeprefix("/")
        if path_problem(made) is None:
            yield made
    for number in range(1_000_000):  # the name is as long as one may be, or much stands beside it
        yield f"{folder}/cloud-{number}{dot}{suffix}".removeprefix("/")


def _reason(clash: Clash) -> str:
    if clash.base == NEITHER:
        return "undone here"
    if clash.local is None:
        return "deleted here, changed in the cloud"
    if clash.cloud is None:
        return "changed here, deleted in the cloud"
    return "changed on both sides"


def fold(base: Mapping[str, Entry], changes: Iterable[tuple[str, Entry | None]]) -> dict[str, Entry]:
    """The tree after ``changes`` (``None`` deletes)."""
    tree = dict(base)
    for path, entry in changes:
        if entry is None:
            tree.pop(path, None)
        else:
            tree[path] = entry
    return tree
