"""The work of one sync, from looking to the last durable byte: loaded where there is something to do.

    scan the folder  ·  learn the cloud's head  ·  plan  ·  merge  ·  pull  ·  save the base  ·  push  ·  save the base

Any of these may be cut off by a crash: whatever was done is found done by the next run, since content that both sides
hold is agreed. When the head moves while we push, or a file changes while it is read, the run starts over with what is
there now. ``docs/spec/sync.md`` has the order of writes and what each crash leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from satchel.errors import (
    FrameRefused,
    HeadMoved,
    ObjectsMissing,
    QuotaReached,
    ReviewByPerson,
    SatchelError,
    ServerAway,
    ServerLied,
    TooLarge,
    Unavailable,
)
from satchel.objects.ids import ObjectId
from satchel.objects.listing import Entry, Tree, digest
from satchel.sync import pull, selection
from satchel.sync.barring import Barred, keep, withhold
from satchel.sync.choices import Direction, Strategy
from satchel.sync.conflicts import ConflictStore, Found
from satchel.sync.failpoints import reach
from satchel.sync.folder import present
from satchel.sync.heal import heal
from satchel.sync.holdback import Judged, judge
from satchel.sync.lastlook import NOTHING_SAID, gone, hold, require_project, require_quiet
from satchel.sync.naming import after_refusals
from satchel.sync.outgoing import bases_of, counted, expected, outgoing_of, weigh
from satchel.sync.outlook import seen
from satchel.sync.peer import Committed, Head, Peer
from satchel.sync.plan import NEITHER, Clash, Plan, plan
from satchel.sync.pull import Cloud
from satchel.sync.push import FileMoved, Outgoing, Progress, body
from satchel.sync.reading import Findings, Start, start
from satchel.sync.record import Remembered, Sides
from satchel.sync.report import ChangedPath, SyncReport
from satchel.sync.resume import LARGE_BYTES, Sending
from satchel.sync.sent import SentNote
from satchel.sync.session import Conflict, Steps, choose, fold
from satchel.sync.telling import Lines, changed_paths, conflict_path, hunks_of, near, tell_waiting
from satchel.sync.texts import Looked, look
from satchel.worktree.base import Base, CloudEntry, save_base
from satchel.worktree.find import ProjectConfig
from satchel.worktree.flush import flush_news
from satchel.worktree.former import Former
from satchel.worktree.policy import Governing
from satchel.worktree.undo import Bounds, UndoStore, told
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

ATTEMPTS = 6
"""How often a run starts over because somebody else was faster, or a file changed, before it gives up for now."""
HOPED_BYTES = 1 << 20
"""A push of at most so much content is sent without asking first what the cloud has: one round trip."""
MANY = 1_000
"""Files from which on a push is worth the memory that the rows of the last scan take, and reading these again."""
STEADY_ATTEMPTS = 2
"""How often a file may change while it is sent before the run goes on without it."""

DELETIONS_MAY_RETURN = (
    "The hosted project has another line of history than this folder was in step with (it was restored or made anew). "
    "Nothing was deleted on either side; files deleted since may return."
)
VERSIONS_FORGOTTEN = (
    "The server has other versions than this folder was in step with, by the same numbers: an older state of it may "
    "have been restored. Nothing was deleted on either side; files deleted since may return. Tell its operator."
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


class Attempts:
    """One call of ``sync.run``: what it was asked, and what has to be kept from one attempt to the next."""

    def __init__(
        self,
        worktree: Worktree,
        peer: Peer,
        project: str,
        report: SyncReport,
        strategy: Strategy,
        trust: bool,
        progress: Progress | None,
        bounds: Bounds,
        random: Callable[[int], bytes],
        clock_ns: Callable[[], int],
        start: Start,
    ) -> None:
        self.start: Start | None = start
        self.worktree, self.peer, self.project = worktree, peer, project
        self.report, self.strategy, self.trust, self.progress = report, strategy, trust, progress
        self.root, self.bounds = worktree.root, bounds
        self.records = ConflictStore(worktree.root)
        self.prune, self.governing = False, Governing()
        self.person = True
        self.deletions = NOTHING_SAID
        self.began: ProjectConfig | None = None
        self.nonce = random(16).hex()
        self.random, self.clock_ns = random, clock_ns
        self.undo_id = self._new_step()
        self.moved: dict[str, int] = {}
        self.hoped: _Hoped | None = None
        self.resend: set[ObjectId] = set()
        self.loaded: Base | None = None
        self.saved: Base | None = None
        self.written: set[str] = set()
        """What this attempt put on disk: over that of one before somebody may have saved since."""
        self.touched: dict[str, tuple[Entry | None, Entry | None]] = {}
        """What stood at each path that was to be written, and what was to stand there."""
        self.healed = False
        self.deltas = True
        self.hope = report.direction is not Direction.FROM_CLOUD and not report.dry_run

    def _new_step(self) -> str:
        """The name of what is replaced from now on, in the undo store."""
        return UndoStore(self.root).fresh(self.clock_ns(), self.random(3))

    def through(self) -> None:
        """Start over while somebody else is faster, or a file changes."""
        for last in [*[False] * (ATTEMPTS - 1), True]:
            try:
                self._attempt()
                return
            except _Again as again:
                if last:
                    if isinstance(again.reason, HeadMoved):  # it says what was just done, time and again
                        again.reason.hint = "Others were faster each time; nothing is lost. Run the same command again."
                        again.reason.facts["retry_after"] = 1  # whoever has patience waits for a calmer moment
                    raise again.reason from again
            except QuotaReached as error:
                error.hint = f"Nothing is lost: what changed here waits, and goes with a later sync. {error.hint}"
                raise

    def _attempt(self) -> None:
        self.written = set()
        first, self.start = self.start or start(self.worktree), None
        scan, findings, history, changes = first
        base, notices = history.load()
        self.loaded = self.saved = base
        found = self.records.load()
        was = pull.as_known(base) if base is not None else None
        hope, self.hope = self.hope, False  # the first attempt alone: whatever follows has to look
        hope = hope and changes is None and not (found.placed or found.begun)
        hoping = hope and was is not None and self._hopes(base, was, scan)
        if was is not None and hoping:
            cloud = was
        else:
            cloud = pull.learn(self.peer, self.project, base, was, changes)
            self._heal(cloud.damaged, scan)
            if not self.report.dry_run:
                Former(self.root).note(cloud.head.lineage, cloud.deltas)
        if self.hoped is not None and self.hoped[:3] == cloud.head:
            self.report.pushed += self.hoped.pushed
            self.hoped = None
        known = base
        if base is not None and cloud.head.lineage != base.lineage:
            notices, known = [*notices, DELETIONS_MAY_RETURN], None
        elif cloud.apart:
            notices, known = [*notices, VERSIONS_FORGOTTEN], None
        before = self._common(known, cloud)
        unsettled = [path for path, times in self.moved.items() if times >= STEADY_ATTEMPTS]
        whole, theirs = present(self.root, scan, before, unsettled), cloud.tree
        kept = found.judged(base.tree if base else None, whole)
        before, local = seen(before, whole, kept)
        if self.deletions.back:
            lost = gone(before, whole)
            before = {path: entry for path, entry in before.items() if path not in lost or entry == NEITHER}
        made = plan(before, local, theirs)
        pruned = selection.prune(made, self.worktree, scan, theirs) if self.prune else set()
        bars = selection.barred(self.worktree, self.governing, scan, made, cloud.sizes)
        bars = {path: bar for path, bar in bars.items() if path not in pruned}
        bars |= {} if self.person else selection.reviews(made)
        made, withheld = withhold(made, before, local, theirs, bars)
        looked = Looked()
        if made.merge and self.report.direction is not Direction.TO_CLOUD:
            fresh = {path: clash for path, clash in made.merge.items() if path not in kept.open}
            looked = look(self.worktree, self.peer, self.project, fresh, scan, cloud)
        steps = self._choose(made, before, whole, theirs, looked, kept, found)
        judged = self._judged(steps, theirs, findings)
        del first, findings  # of many files they take room
        if hoping and (judged.found or not steps.push):  # nothing, or not all of it, would be sent: so ask
            self._attempt()
            return
        secret: dict[str, str] = {}
        if judged.found:
            held_back = {found.path: Barred("secret") for found in judged.found}
            made, secret = withhold(made, before, local, theirs, held_back)
            steps = self._choose(made, before, whole, theirs, looked, kept, found)
        wanted = {path: entry for path, entry in steps.push.items() if path not in pruned} if pruned else steps.push
        notices += hold(wanted, before, whole, self.deletions, dry_run=self.report.dry_run)
        absent = [path for path, why in withheld.items() if why == selection.LEFT_SELECTION and path not in whole]
        keep(steps, withheld | secret, before, theirs, absent)
        self.report.withheld = withheld
        self.report.secrets, self.report.secrets_allowed = judged.found, list(judged.allowed)
        self._tell(scan, notices, unsettled, cloud, steps, whole, kept)
        if self.report.dry_run:
            self.report.pushed = changed_paths(steps, steps.push, theirs)
            self.report.pulled = changed_paths(steps, steps.pull, whole)
            self.report.merged = steps.merged
            outgoing = self._outgoing(steps, theirs, cloud, scan, expected(steps, cloud, scan))
            weigh(self.report, outgoing, self.root, steps, cloud)
            return
        # A generation that was damaged is written anew even where nothing changed.
        sizes = self._pull(steps, before, whole, cloud, None if notices else base, looked, found)
        if steps.push:
            self._push(steps, theirs, cloud, scan, sizes)

    def _common(self, base: Base | None, cloud: Cloud) -> Tree:
        """The tree of the base; the cloud's own where nothing happened since, to build it once."""
        if base is None:
            return {}
        if base.cloud is cloud.entries:
            return base.tree if base.held else cloud.tree
        sent = SentNote(self.root).known(base, cloud, lambda version: self.peer.digest_of(self.project, version))
        return fold(base.tree, sent.items()) if sent else base.tree

    def _hopes(self, base: Base | None, was: Cloud, scan: Scan) -> bool:
        """Whether so little changed here that a push hopes for the cloud as it ``was``: the commit finds out."""
        if base is None or base.held:
            return False
        fresh = [path for path, entry in scan.tree.items() if was.tree.get(path) != entry]
        differs = bool(fresh) or len(scan.tree) < len(was.tree)
        return differs and sum(scan.sizes[path] for path in fresh) <= HOPED_BYTES

    def _heal(self, damaged: int, scan: Scan) -> None:
        """Give back what the server lost, once."""
        if damaged and not self.healed and not self.report.dry_run:
            self.healed = True
            if self.report.direction is not Direction.FROM_CLOUD:
                self.report.restored = heal(self.root, scan, self.peer, self.project, self.saved)

    def _choose(
        self, made: Plan, before: Tree, whole: Tree, theirs: Tree, looked: Looked, kept: Remembered, found: Found
    ) -> Steps:
        steps = choose(
            made,
            before,
            whole,
            theirs,
            direction=self.report.direction,
            strategy=self.strategy,
            trust=self.trust,
            texts=looked.outcomes,
            known=self._as_settled(kept, whole),
        )
        for record in (*found.placed.values(), *found.begun.values()):
            mine = record.local  # as it was before the markers
            if mine is not None and steps.pull.get(record.path) == mine != whole.get(record.path):
                own = self.records.sides(record.path, record).local
                if own is not None:
                    steps.contents[mine.object] = own
        return steps

    def _judged(self, steps: Steps, theirs: Tree, looked: Findings) -> Judged:
        """Look for credentials in what would be sent."""
        try:
            return judge(self.root, steps.push, theirs, self.governing, steps.contents, steps.moves, looked)
        except FileMoved as error:
            raise self._look_again(error) from error

    def _last_look(self, scan: Scan, steps: Steps) -> None:
        try:
            require_quiet(self.worktree, scan, steps.push)
        except ChangedMeanwhile as error:
            raise _Again(error) from error
        require_project(self.root, self.began)

    def _look_again(self, moved: FileMoved) -> _Again:
        self.moved[moved.path] = self.moved.get(moved.path, 0) + 1
        return _Again(ChangedMeanwhile(f"{moved.path} keeps changing"))

    def _as_settled(self, kept: Remembered, whole: Tree) -> Remembered:
        """With a strategy, a file whose markers are gone is what the folder wants; else what it was before them."""
        if self.strategy is Strategy.MANUAL or not kept.open:
            return kept
        waiting = {
            path: record if hunks_of(self.worktree, path) else record._replace(local=whole.get(path))
            for path, record in kept.open.items()
        }
        return kept._replace(open=waiting)

    def _pull(
        self,
        steps: Steps,
        before: Tree,
        local: Tree,
        cloud: Cloud,
        base: Base | None,
        looked: Looked,
        found: Found,
    ) -> Mapping[ObjectId, int]:
        """Write what the cloud changed and what merged, and note how far the folder is in step."""
        for record in steps.records:
            self.records.begin(record, looked.sides.get(record.path, Sides()))
        if steps.records:
            reach("merge.after_record")
        if any(local.get(path) not in self.touched.get(path, (local.get(path),)) for path in steps.pull):
            self.undo_id = self._new_step()  # edited since: of each step the first state of a path is brought back
        self.touched |= {path: (local.get(path), entry) for path, entry in steps.pull.items()}
        done = pull.write(
            self.root,
            self.peer,
            self.project,
            steps.pull,
            local,
            cloud,
            self.undo_id,
            self.progress,
            contents=steps.contents,
            moves=steps.moves,
            beside=steps.beside,
            bounds=self.bounds,
            base=self.saved,
        )
        if done.dropped:
            self.report.notices.append(told(done.dropped, self.bounds))
        self.written |= done.done.keys()
        for path, why in done.refused.items():
            self._refuse(steps, path, why, before, local, cloud)
        moved = set(steps.moves.values())
        behind = after_refusals(steps.push, done.refused, before, local, cloud.tree, steps.merged, moved)
        for path, why in behind.items():
            self._tell_refused(path, why, local, cloud)
        standing = [one.path for one in steps.records if one.kind != "merged" and (one.beside or one.path) in done.done]
        if steps.records:
            reach("merge.after_write")
        self.records.placed([*standing, *(path for path in found.begun if path in steps.conflicts)])
        self.report.pulled += changed_paths(steps, done.done, local)
        self.report.pulled_bytes += done.bytes
        self.report.merged += [path for path in steps.merged if path not in self.report.merged]
        reach("pull.before_base")
        self._save(Base(*cloud.head, cloud.entries, steps.held), base)
        reach("pull.after_base")
        if steps.records:
            reach("merge.after_base")
        ended = found.placed.keys() | found.begun.keys() | {one.path for one in steps.records}
        self.records.drop(ended - steps.conflicts.keys() - steps.held.keys())
        return done.sizes

    def _refuse(self, steps: Steps, path: str, why: str, before: Tree, local: Tree, cloud: Cloud) -> None:
        """A path was left as it is: neither it nor what goes with it is sent, and it is planned afresh."""
        other = steps.moves.get(path)
        for each in (path, other) if other else (path,):
            steps.push.pop(each, None)
            steps.held[each] = before.get(each)
            steps.merged = [name for name in steps.merged if name != each]
            steps.conflicts.pop(each, None)
        self._tell_refused(path, why, local, cloud)

    def _tell_refused(self, path: str, why: str, local: Tree, cloud: Cloud) -> None:
        clash = Clash(None, local.get(path), cloud.tree.get(path))
        self.report.conflicts = [one for one in self.report.conflicts if one.path != path]
        self.report.conflicts.append(conflict_path(path, Conflict(clash, why), [], cloud.entries, "sync"))

    def _push(self, steps: Steps, theirs: Tree, cloud: Cloud, scan: Scan, written: Mapping[ObjectId, int]) -> None:
        outgoing = self._outgoing(steps, theirs, cloud, scan, written)
        whole, sending, former = outgoing.raw_bytes, Sending(self.root), Former(self.root)
        outgoing = replace(outgoing, contents=sending.rest(self.peer, self.project, outgoing.contents, self.resend))
        # The key names this very commit: sent again it is answered again, and any other commit has another key.
        key = f"{self.nonce}{cloud.head.lineage[:8]}-{cloud.head.version}-{outgoing.digest[:16]}"
        bases = former.read(bases_of(outgoing)) if self.deltas and former.taken(cloud.head.lineage) else {}
        keeping, sent_deltas = former.keep(), 0
        try:
            content = body(outgoing, self.root, self.progress, former=bases, keeper=keeping)
            sent_deltas = content.deltas
            reach("push.before_send")
            self._last_look(scan, steps)
            SentNote(self.root).write(cloud.head, outgoing.digest)
            self.report.requests += 1
            told = {"allowed": tuple(self.report.secrets_allowed)} if self.report.secrets_allowed else {}
            answer = self.peer.sync(self.project, counted(content.stream, self.report), content.declared, key, **told)
            self._check(answer, outgoing, cloud.head)
            keeping.commit()
        except FileMoved as error:
            raise self._look_again(error) from error
        except (ObjectsMissing, FrameRefused, TooLarge) as error:
            if sent_deltas:  # an older server, or one that lost a base: the content itself is welcome
                self.deltas = False
                former.note(cloud.head.lineage, not isinstance(error, FrameRefused))
            elif isinstance(error, ObjectsMissing):
                self._send_again(error)
            else:
                raise
            raise _Again(error) from error
        except HeadMoved as error:
            raise _Again(error) from error
        except ReviewByPerson as error:  # the rest is welcome
            if not self.person:
                raise
            self.person = False
            raise _Again(error) from error
        except Unavailable as error:
            # It may have committed: the next look tells. Sent again under the same key, it is answered again.
            first, hoped = self.hoped is None, changed_paths(steps, steps.push, theirs)
            self.hoped = _Hoped(cloud.head.lineage, cloud.head.version + 1, outgoing.digest, hoped)
            # What came of a large push is being put into safety there: a moment later less has to be sent.
            if first and isinstance(error, ServerAway) and whole <= LARGE_BYTES:
                raise _Again(error) from error
            raise
        finally:
            keeping.drop()
        sending.ended()
        former.note(answer.lineage, answer.deltas)
        self.report.pushed += changed_paths(steps, steps.push, theirs)
        self.report.raw_bytes += outgoing.raw_bytes
        self.report.lineage, self.report.version, self.report.digest = answer[:3]
        self.report.notices += [near(quota) for quota in answer.warnings]
        reach("push.before_base")
        entries = dict(cloud.entries)
        for path, entry in steps.push.items():
            if entry is None:
                del entries[path]
            else:
                entries[path] = CloudEntry(*entry, answer.version, answer.author, answer.time_ms, answer.author_kind)
        self._save(Base(answer.lineage, answer.version, answer.digest, entries, steps.held), None)
        SentNote(self.root).ended()
        reach("push.after_base")
        self._heal(answer.damaged, scan)

    def _outgoing(
        self, steps: Steps, theirs: Tree, cloud: Cloud, scan: Scan, written: Mapping[ObjectId, int]
    ) -> Outgoing:
        sizes = {name: len(data) for name, data in steps.contents.items()} | dict(written)
        known = {path: sizes[e.object] for path, e in steps.push.items() if e is not None and e.object in sizes}
        tree = fold(theirs, steps.push.items())
        after = scan.digest if tree == scan.tree else digest(tree)
        if len(steps.push) > MANY:
            self.worktree.forget()  # what holds a row for each file makes room for what is sent
        return outgoing_of(steps.push, theirs, after, cloud.head, {**scan.sizes, **known}, self.resend, steps.moves)

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
        if before is not None and base == before:
            return
        flush_news(self.root, base, self.saved, self.written)
        save_base(self.root, base, self.loaded)
        self.saved = base

    # Telling ----------------------------------------------------------------------------------------------------------

    def _tell(
        self,
        scan: Scan,
        notices: list[str],
        unsettled: list[str],
        cloud: Cloud,
        steps: Steps,
        local: Tree,
        known: Remembered,
    ) -> None:
        report = self.report
        report.lineage, report.version, report.digest = cloud.head
        report.unsettled, report.left_out = unsettled, scan.left_out
        stay = [selection.REVIEWS_STAY] if selection.NO_PERSON in report.withheld.values() else []
        report.notices += [notice for notice in (*notices, *scan.notices, *stay) if notice not in report.notices]
        report.conflicts = []
        tell_waiting(report, steps, local, cloud.tree, Lines(self.worktree, steps, known), cloud.entries)
