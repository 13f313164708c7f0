"""One sync of a folder, from looking to the last durable byte.

    scan the folder  ·  learn the cloud's head  ·  plan  ·  pull  ·  save the base  ·  push  ·  save the base

Any of these may be cut off by a crash: whatever was done is found done by the next run, since content that both sides
hold is agreed. When the head moves while we push, or a file changes while it is read, the run starts over with what is
there now. ``docs/spec/sync.md`` has the order of writes and what each crash leaves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.errors import (
    HeadMoved,
    ObjectsMissing,
    SatchelError,
    ServerAway,
    ServerLied,
    Unavailable,
    UnresolvedConflicts,
)
from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, Tree, digest
from satchel.sync import pull
from satchel.sync.failpoints import reach
from satchel.sync.folder import present
from satchel.sync.heal import heal
from satchel.sync.patience import Patience
from satchel.sync.peer import Committed, Head, Peer
from satchel.sync.plan import Clash, plan
from satchel.sync.pull import Cloud
from satchel.sync.push import Content, FileMoved, Outgoing, Progress, body
from satchel.sync.session import Direction, Steps, Strategy, choose, fold
from satchel.sync.wire import Parent, Sent
from satchel.worktree.base import Base, CloudEntry, load_base, save_base
from satchel.worktree.lock import folder_lock
from satchel.worktree.walk import ChangedMeanwhile, LeftOut, Scan, Worktree

ATTEMPTS = 6
"""How often a run starts over because somebody else was faster, or a file changed, before it gives up for now."""
STEADY_ATTEMPTS = 2
"""How often a file may change while it is sent before the run goes on without it."""

DELETIONS_MAY_RETURN = (
    "The hosted project has another line of history than this folder was in step with (it was restored or made anew). "
    "Nothing was deleted on either side; files deleted since may return."
)


class ChangedPath(NamedTuple):
    path: str
    how: str
    """``added``, ``changed`` or ``deleted``."""


class ConflictPath(NamedTuple):
    """A path that waits for a person; both sides keep what they have."""

    path: str
    reason: str
    local: str | None
    """The object here, ``None`` for no file; ``cloud`` likewise."""
    cloud: str | None


@dataclass(slots=True)
class SyncReport:
    """What a run did, or with ``dry_run`` would do."""

    direction: Direction
    dry_run: bool = False
    lineage: str = ""
    version: int = 0
    digest: str = ""
    """Of the hosted project afterwards."""
    pushed: list[ChangedPath] = field(default_factory=list)
    pulled: list[ChangedPath] = field(default_factory=list)
    conflicts: list[ConflictPath] = field(default_factory=list)
    untrusted: list[str] = field(default_factory=list)
    """Files that tools execute on their own, left in the cloud until a pull with trust."""
    unsettled: list[str] = field(default_factory=list)
    """Files that kept changing: they go with the next sync."""
    waiting_push: int = 0
    waiting_pull: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    raw_bytes: int = 0
    """Content sent, before compression; ``sent_bytes`` is what went over the wire, ``pulled_bytes`` content fetched."""
    sent_bytes: int = 0
    pulled_bytes: int = 0
    restored: int = 0
    """Artifacts' contents that the server had lost and got back from here."""
    requests: int = 0
    """Pushes that were sent; more than one where somebody else was faster or the answer never came."""

    @property
    def in_step(self) -> bool:
        """Whether folder and cloud hold the same now, as far as each may hold it."""
        waiting = self.waiting_push + self.waiting_pull + len(self.untrusted) + len(self.unsettled)
        planned = self.dry_run and (self.pushed or self.pulled)
        return not (self.conflicts or waiting or planned)

    def check(self) -> None:
        """Raise ``UnresolvedConflicts`` if paths wait for a person."""
        if self.conflicts:
            raise UnresolvedConflicts(
                f"{len(self.conflicts):,} files wait for you", paths=[c.path for c in self.conflicts]
            )


class _Again(Exception):
    """Look and plan again; ``reason`` is what to say if there is no next time."""

    def __init__(self, reason: SatchelError) -> None:
        super().__init__(reason.message)
        self.reason = reason


class _Hoped(NamedTuple):
    """A push whose answer never came: if the head is this now, it was committed."""

    lineage: str
    version: int
    digest: str
    pushed: list[ChangedPath]


def run(
    worktree: Worktree,
    peer: Peer,
    project: str,
    direction: Direction = Direction.BOTH,
    *,
    strategy: Strategy = Strategy.MANUAL,
    dry_run: bool = False,
    trust: bool = False,
    progress: Progress | None = None,
    patience: Patience | None = None,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> SyncReport:
    """Bring the folder and ``project`` on ``peer`` in step. Holds the folder's lock.

    With ``patience`` a peer that is away for a while is waited for. What was done before is found done then, and a push
    that is repeated goes under the same key.

    Conflicts are no error: they are in the report, and everything else is in step. Raises ``Busy``, ``ServerAway``,
    ``ServerLied``, ``HeadMoved`` (somebody else was faster each time), and what the peer refuses with.
    """
    report = SyncReport(direction, dry_run)
    with folder_lock(worktree.root):
        one = _Run(worktree, peer, project, report, strategy, trust, progress, random, clock_ns)
        if patience is None:
            one.attempts()
        else:
            patience.through(one.attempts)
    return report


def status(worktree: Worktree) -> SyncReport:
    """What a sync would do as far as the folder alone knows: nothing is asked, nothing is written."""
    scan = worktree.scan()
    base, notices = load_base(worktree.root)
    report = SyncReport(Direction.BOTH, dry_run=True, notices=[*notices, *scan.notices], left_out=scan.left_out)
    if base is not None:
        report.lineage, report.version, report.digest = base.lineage, base.version, base.digest
    before = base.tree if base else {}
    cloud = {path: Entry(entry.mode, entry.object) for path, entry in base.cloud.items()} if base else {}
    local = present(worktree.root, scan, before)
    steps = choose(plan(before, local, cloud), before, local, cloud)
    report.pushed, report.pulled = _changed(steps.push, cloud), _changed(steps.pull, local)
    _tell_waiting(report, steps, local, cloud)
    return report


class _Run:
    """One call of ``run``: what it was asked, and what has to be kept from one attempt to the next."""

    def __init__(
        self,
        worktree: Worktree,
        peer: Peer,
        project: str,
        report: SyncReport,
        strategy: Strategy,
        trust: bool,
        progress: Progress | None,
        random: Callable[[int], bytes],
        clock_ns: Callable[[], int],
    ) -> None:
        self.worktree, self.peer, self.project = worktree, peer, project
        self.report, self.strategy, self.trust, self.progress = report, strategy, trust, progress
        self.root = worktree.root
        self.nonce = random(16).hex()
        self.undo_id = f"{clock_ns():020d}-{random(3).hex()}"
        self.moved: dict[str, int] = {}
        self.hoped: _Hoped | None = None
        self.resend: set[ObjectId] = set()
        self.healed = False

    def attempts(self) -> None:
        """Start over while somebody else is faster, or a file changes."""
        for last in [*[False] * (ATTEMPTS - 1), True]:
            try:
                self._attempt()
                return
            except _Again as again:
                if last:
                    raise again.reason from again

    def _attempt(self) -> None:
        base, notices = load_base(self.root)
        scan = self.worktree.scan()
        cloud = pull.learn(self.peer, self.project, base)
        if cloud.damaged and not self.healed and not self.report.dry_run:
            self.healed = True
            if self.report.direction is not Direction.FROM_CLOUD:
                self.report.restored = heal(self.root, scan, self.peer, self.project)
        if self.hoped is not None and self.hoped[:3] == cloud.head:
            self.report.pushed += self.hoped.pushed
            self.hoped = None
        known = base
        if base is not None and cloud.head.lineage != base.lineage:
            notices, known = [*notices, DELETIONS_MAY_RETURN], None
        before = _tree(known, cloud)
        unsettled = [path for path, times in self.moved.items() if times >= STEADY_ATTEMPTS]
        local, theirs = present(self.root, scan, before, unsettled), cloud.tree
        made = plan(before, local, theirs)
        steps = choose(
            made, before, local, theirs, direction=self.report.direction, strategy=self.strategy, trust=self.trust
        )
        self._tell(scan, notices, unsettled, cloud.head, steps, local, theirs)
        if self.report.dry_run:
            self.report.pushed, self.report.pulled = _changed(steps.push, theirs), _changed(steps.pull, local)
            return
        # A generation that was damaged is written anew even where nothing changed.
        self._pull(steps, before, local, theirs, cloud, None if notices else base)
        if steps.push:
            self._push(steps, local, theirs, cloud, scan)

    def _pull(
        self, steps: Steps, before: Tree, local: dict[str, Entry], theirs: Tree, cloud: Cloud, base: Base | None
    ) -> None:
        """Write what the cloud changed and note how far the folder is in step."""
        done = pull.write(self.root, self.peer, self.project, steps.pull, local, cloud, self.undo_id, self.progress)
        for path, why in done.refused.items():
            steps.held[path] = before.get(path)
            self.report.conflicts.append(_conflict(path, why, Clash(None, local.get(path), theirs.get(path))))
        self.report.pulled += _changed(done.done, local)
        self.report.pulled_bytes += done.bytes
        reach("pull.before_base")
        self._save(Base(*cloud.head, cloud.entries, steps.held), base)
        reach("pull.after_base")

    def _push(self, steps: Steps, local: Tree, theirs: Tree, cloud: Cloud, scan: Scan) -> None:
        after = fold(theirs, steps.push.items())
        outgoing = self._outgoing(steps.push, theirs, after, cloud.head, scan)
        # The key names this very commit: sent again it is answered again, and any other commit has another key.
        key = f"{self.nonce}-{cloud.head.version}-{outgoing.digest[:16]}"
        try:
            sending = body(outgoing, self.root, self.progress)
            reach("push.before_send")
            self.report.requests += 1
            answer = self.peer.sync(self.project, self._counted(sending.stream), sending.declared, key)
        except FileMoved as error:
            self.moved[error.path] = self.moved.get(error.path, 0) + 1
            raise _Again(ChangedMeanwhile(f"{error.path} keeps changing")) from error
        except ObjectsMissing as error:
            self._send_again(error)
            raise _Again(error) from error
        except HeadMoved as error:
            raise _Again(error) from error
        except Unavailable as error:
            # It may have committed: the next look tells. Sent again under the same key, it is answered again.
            first, told = self.hoped is None, _changed(steps.push, theirs)
            self.hoped = _Hoped(cloud.head.lineage, cloud.head.version + 1, outgoing.digest, told)
            if first and isinstance(error, ServerAway):
                raise _Again(error) from error
            raise
        self._check(answer, outgoing, cloud.head)
        self.report.pushed += _changed(steps.push, theirs)
        self.report.raw_bytes += outgoing.raw_bytes
        self.report.lineage, self.report.version, self.report.digest = answer[:3]
        reach("push.before_base")
        entries = dict(cloud.entries)
        for path, entry in steps.push.items():
            if entry is None:
                del entries[path]
            else:
                entries[path] = CloudEntry(*entry, answer.version, answer.author, answer.time_ms)
        self._save(Base(answer.lineage, answer.version, answer.digest, entries, steps.held), None)
        reach("push.after_base")

    def _outgoing(
        self, push: Mapping[str, Entry | None], theirs: Tree, after: Tree, head: Head, scan: Scan
    ) -> Outgoing:
        there = {entry.object for entry in theirs.values()} - self.resend
        contents: dict[ObjectId, Content] = {}
        changes: list[Sent] = []
        for path, entry in push.items():
            changes.append(Sent(path, entry, 0 if entry is None else scan.sizes[path]))
            if entry is not None and entry.object not in there:
                contents.setdefault(entry.object, Content(entry.object, path, scan.sizes[path]))
        return Outgoing(Parent(*head), digest(after), changes, list(contents.values()))

    def _counted(self, stream: Iterable[bytes]) -> Iterable[bytes]:
        """The same stream, adding to the report what was taken from it; a list stays one, to be sent twice."""
        if isinstance(stream, list):
            self.report.sent_bytes += sum(map(len, stream))
            return stream

        def counting() -> Iterator[bytes]:
            for piece in stream:
                self.report.sent_bytes += len(piece)
                yield piece

        return counting()

    def _send_again(self, error: ObjectsMissing) -> None:
        named = error.facts.get("objects")
        missing = {ObjectId(name) for name in named if isinstance(name, str)} if isinstance(named, list) else set()
        if not missing or missing <= self.resend:
            raise error
        self.resend |= missing

    def _check(self, answer: Committed, outgoing: Outgoing, head: Head) -> None:
        expected = (head.lineage, head.version + 1, outgoing.digest)
        if (answer.lineage, answer.version, answer.digest) != expected:
            raise ServerLied("the server says it committed something else than was sent")

    def _save(self, base: Base, before: Base | None) -> None:
        if before is None or base != before:
            save_base(self.root, base)

    # Telling ----------------------------------------------------------------------------------------------------------

    def _tell(
        self,
        scan: Scan,
        notices: list[str],
        unsettled: list[str],
        head: Head,
        steps: Steps,
        local: Tree,
        theirs: Tree,
    ) -> None:
        report = self.report
        report.lineage, report.version, report.digest = head
        report.unsettled, report.left_out = unsettled, scan.left_out
        report.notices += [notice for notice in (*notices, *scan.notices) if notice not in report.notices]
        report.conflicts = []
        _tell_waiting(report, steps, local, theirs)


def _tree(base: Base | None, cloud: Cloud) -> Tree:
    """The tree of the base; the cloud's own where nothing happened since, to build it once."""
    if base is None:
        return {}
    return cloud.tree if not base.held and base.cloud is cloud.entries else base.tree


def _tell_waiting(report: SyncReport, steps: Steps, local: Tree, theirs: Tree) -> None:
    report.waiting_push, report.waiting_pull = steps.waiting_push, steps.waiting_pull
    report.untrusted = list(steps.untrusted)
    for path, clash in steps.conflicts.items():
        report.conflicts.append(_conflict(path, _reason(clash), clash))
    for path, reason in steps.name_clashes.items():
        report.conflicts.append(_conflict(path, reason, Clash(None, local.get(path), theirs.get(path))))


def _reason(clash: Clash) -> str:
    if clash.local is None:
        return "deleted here, changed in the cloud"
    if clash.cloud is None:
        return "changed here, deleted in the cloud"
    return "changed on both sides"


def _conflict(path: str, reason: str, clash: Clash) -> ConflictPath:
    here, there = clash.local, clash.cloud
    return ConflictPath(path, reason, here.object if here else None, there.object if there else None)


def _changed(steps: Mapping[str, Entry | None], before: Tree) -> list[ChangedPath]:
    return [
        ChangedPath(path, "deleted" if entry is None else "changed" if path in before else "added")
        for path, entry in sorted(steps.items())
    ]
