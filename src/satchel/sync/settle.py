"""What a person decides after a sync: which side of a conflict counts, and that the last sync be undone.

Neither asks the server anything. ``resolve`` only changes what the next sync compares with; ``undo`` brings back what
the last sync replaced and holds those paths, so that nothing is sent or fetched for them until somebody decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from satchel.errors import InvalidInput, NotFound, PathRefused
from satchel.objects.ids import Digest, object_id
from satchel.objects.listing import Entry, digest
from satchel.sync.conflicts import ConflictStore
from satchel.sync.failpoints import reach
from satchel.sync.folder import left_out, other_name, present, require_read, with_modes
from satchel.sync.heal import at_hand
from satchel.sync.merge import hunks
from satchel.sync.plan import NEITHER, Clash, plan
from satchel.sync.pull import note_after, read_after
from satchel.sync.record import Record, Remembered, Sides
from satchel.sync.session import choose, free_beside
from satchel.worktree.base import Base, load_base, save_base
from satchel.worktree.durable import by_name
from satchel.worktree.lock import folder_lock
from satchel.worktree.materialise import Materialiser
from satchel.worktree.undo import BOUNDS, Bounds, Kept, UndoStore, kind_of, name_of_undo, time_of
from satchel.worktree.walk import ChangedMeanwhile, Scan, Worktree

MAX_DAYS = 36_500
_RESTORE = "-restore"
"""Ends the name of an undo record of ``edit``."""

_NOT_OURS = "there is something that this folder's rules leave out"


class NothingToUndo(NotFound):
    code = "undo.nothing"
    default_hint = "Only what a sync or an undo overwrote in this folder can be brought back."


class StillMarked(InvalidInput):
    code = "conflict.still_marked"
    default_hint = (
        "Edit the file until no marker is left (`satchel conflicts` says where), or say `--force` to take it as it is."
    )


class Take(Enum):
    """The side of a conflict that counts."""

    LOCAL = "local"
    CLOUD = "cloud"
    BOTH = "both"
    """The folder's file stays, the cloud's stands beside it, and both are sent."""
    MERGED = "merged"
    """The file as it stands now."""


def resolve(
    worktree: Worktree,
    paths: Sequence[str],
    take: Take,
    *,
    force: bool = False,
    left: dict[str, str] | None = None,
    bounds: Bounds = BOUNDS,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> list[str]:
    """Decide conflicts; the next sync sends the folder's content or fetches the cloud's. Returns the decided paths.

    What is replaced here can be brought back by ``undo``. Raises ``InvalidInput`` for a path that is not in conflict or
    cannot be decided that way, and ``StillMarked`` for ``MERGED`` where markers are left (unless ``force``d); it then
    decides none. With ``left`` such conflicts are put there with the reason, and the others are decided.
    """
    root = worktree.root
    with folder_lock(root), by_name(root):
        waiting = _waiting(worktree, paths)
        agreed = [path for path in paths if waiting.agreed(path)]
        strange = [path for path in paths if path not in waiting.conflicts and path not in agreed]
        if clashing := [path for path in strange if path in waiting.clashes]:
            raise InvalidInput(
                f"{', '.join(clashing)}: {waiting.clashes[clashing[0]]}",
                hint="Give one of the two another name, here or there; the next sync brings both.",
            )
        if behind := [path for path in strange if path in waiting.queued]:
            raise InvalidInput(
                f"{', '.join(behind)}: {waiting.queued[behind[0]]}",
                hint="Nothing is to be decided there: once the other is, a sync sends both.",
            )
        if waiting.base is None or strange:
            raise InvalidInput(
                f"{', '.join(strange) or 'this folder'} is not in conflict",
                hint="`satchel conflicts` lists what is; a sync finds new ones.",
            )
        decisions: list[_Decision] = []
        settled: list[str] = []
        for path in paths:
            try:
                decisions += [] if path in agreed else [_decide(worktree, waiting, path, take, force)]
                settled.append(path)
            except (InvalidInput, StillMarked) as error:
                if left is None:
                    raise
                left[path] = error.message
        held = dict(waiting.base.held)
        held |= {one.path: one.base for one in decisions}
        write = {path: step for one in decisions for path, step in one.write.items()}
        undo_id = UndoStore(root).fresh(clock_ns(), random(3))
        alike = {path: one.path for one in decisions for path in one.write if path != one.path}
        refused = _write(worktree, write, waiting.local, undo_id, bounds, alike=alike)
        if refused:
            raise ChangedMeanwhile(refused)
        reach("resolve.after_write")
        save_base(root, replace(waiting.base, held={p: e for p, e in held.items() if e != waiting.cloud.get(p)}))
        reach("resolve.after_base")
        waiting.records.drop(settled)
        return settled


class Conflicting(NamedTuple):
    """What a person or a tool needs to merge one conflict."""

    path: str
    sides: Sides
    """The contents that met, where they are kept here."""
    beside: str | None


def conflicting(worktree: Worktree, path: str) -> Conflicting:
    """One conflict. Raises ``InvalidInput`` for a path that is not in conflict."""
    waiting = _waiting(worktree, [path])
    if path not in waiting.conflicts:
        raise InvalidInput(f"{path} is not in conflict", hint="`satchel conflicts` lists what is.")
    record = waiting.record(path)
    return Conflicting(path, waiting.records.sides(path), record.beside if record else None)


def _require_own(root: Path, scan: Scan, paths: Sequence[str]) -> None:
    """Raise where a path cannot be read, or is there and none of the project's."""
    require_read(scan, paths)
    if strange := left_out(root, scan, paths):
        raise PathRefused(f"{', '.join(strange)}: {_NOT_OURS}", hint="`satchel doctor` says why.")


class _Decision(NamedTuple):
    path: str
    base: Entry | None
    """What the folder and the cloud have in common from now on."""
    write: dict[str, tuple[bytes, str] | None]


class _Waiting(NamedTuple):
    base: Base | None
    local: dict[str, Entry]
    cloud: dict[str, Entry]
    conflicts: Mapping[str, Clash]
    clashes: Mapping[str, str]
    """Names that cannot stand together: nothing to decide, one has to be another."""
    queued: Mapping[str, str]
    """What goes after another path: nothing to decide."""
    known: Remembered
    records: ConflictStore

    def agreed(self, path: str) -> bool:
        """Whether it was in conflict, and the file was made what the cloud has."""
        held = self.base is not None and path in self.base.held
        return held and path in self.local and self.local[path] == self.cloud.get(path)

    def record(self, path: str) -> Record | None:
        return self.known.open.get(path) or self.known.beside.get(path)


def _waiting(worktree: Worktree, paths: Sequence[str]) -> _Waiting:
    """The conflicts that the last sync left, ``paths`` among them. Raises ``FolderUnreadable`` for one of these."""
    base, _ = load_base(worktree.root)
    before = base.tree if base else {}
    scan = worktree.scan()
    _require_own(worktree.root, scan, paths)
    local = present(worktree.root, scan, before)
    cloud = {path: Entry(entry.mode, entry.object) for path, entry in base.cloud.items()} if base else {}
    records = ConflictStore(worktree.root)
    known = records.load().judged(before if base else None, local)
    steps = choose(plan(before, local, cloud), before, local, cloud, known=known)
    conflicts = {path: conflict.clash for path, conflict in steps.conflicts.items()}
    return _Waiting(base, local, cloud, conflicts, steps.name_clashes, steps.queued, known, records)


def _decide(worktree: Worktree, waiting: _Waiting, path: str, take: Take, force: bool) -> _Decision:
    mine, theirs = waiting.local.get(path), waiting.cloud.get(path)
    record = waiting.record(path)
    met = record.cloud if record is not None else theirs
    beside = record.beside if record is not None and record.beside in waiting.local else None
    gone: dict[str, tuple[bytes, str] | None] = {beside: None} if beside is not None else {}
    marked = mine is not None and bool(hunks(worktree.read(path)))
    own: dict[str, tuple[bytes, str] | None] = {}
    sides = waiting.records.sides(path, record)
    if marked and record is not None and record.local is not None and sides.local is not None:
        own[path] = (sides.local, record.local.mode)  # as it was before the markers
        mine = record.local
    if marked and not force and take is not Take.CLOUD and (take is Take.MERGED or not own):
        raise StillMarked(f"{path} still has markers in it")
    if take is Take.CLOUD or (take is Take.BOTH and mine is None):
        # The base is what is here: the cloud's differs, and is fetched.
        return _Decision(path, mine, {**gone, **own})
    if take is Take.MERGED:
        return _Decision(path, met, gone)
    if take is Take.LOCAL or met is None:
        # The base is what was seen of the cloud: what is here differs, and is sent.
        return _Decision(path, met, {**gone, **own})
    if beside is None:
        cloud = sides.cloud if sides.cloud is not None else at_hand(worktree.root, met.object)
        if cloud is None:
            raise InvalidInput(
                f"the cloud's {path} is not on this disk",
                hint="Let a sync fetch it:  satchel sync --strategy both   or take local or cloud.",
            )
        own[free_beside(path, waiting.local, waiting.cloud)] = (cloud, met.mode)
    return _Decision(path, met, own)


def _write(
    worktree: Worktree,
    write: Mapping[str, tuple[bytes, str] | None],
    local: Mapping[str, Entry],
    undo_id: str,
    bounds: Bounds,
    permissions: int = 0o777,
    alike: Mapping[str, str] | None = None,
) -> str:
    """Put contents in place, a new file with at most these ``permissions`` or with those of the one that it is
    ``alike``; says what was in the way, if anything."""
    if not write:
        return ""
    store = UndoStore(worktree.root, bounds)
    store.begin(undo_id)
    after = {path: None if it is None else Entry(it[1], object_id(it[0])) for path, it in write.items()}
    try:
        note_after(store, undo_id, after)
        with Materialiser(worktree.root, store) as folder:
            for path, content in write.items():
                expect = local.get(path)
                if content is not None:
                    like = (alike or {}).get(path, "")
                    folder.write(path, *content, expect, permissions=permissions, like=like)
                elif expect is not None:
                    folder.delete(path, expect)
    except (ChangedMeanwhile, PathRefused) as error:
        return error.message
    finally:
        store.close()
    return ""


def put_back(
    worktree: Worktree,
    path: str,
    data: bytes,
    mode: str,
    *,
    bounds: Bounds = BOUNDS,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> bool:
    """Make a file hold an old content; whether it was another. What stood there can be brought back by ``undo``.

    Raises ``PathRefused`` where the rules leave out what stands there, ``ChangedMeanwhile`` where something else is in
    the way, and ``UndoFull``. A file that was deleted here by Satchel is not readable to more people than it was.
    """
    permissions = 0o777 if os.path.lexists(worktree.root / path) else UndoStore(worktree.root).permissions(path)

    def decide(scan: Scan) -> tuple[bytes, str]:
        _require_own(worktree.root, scan, [path])
        if other := other_name(worktree.root, scan, path):
            raise PathRefused(f"this disk takes {other} for {path}", hint=f"Give {other} another name first.")
        return data, mode

    changed, _ = edit(worktree, path, decide, permissions=permissions, bounds=bounds, random=random, clock_ns=clock_ns)
    return changed


def edit(
    worktree: Worktree,
    path: str,
    decide: Callable[[Scan], tuple[bytes, str]],
    *,
    permissions: int = 0o777,
    bounds: Bounds = BOUNDS,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> tuple[bool, Digest]:
    """Make a file hold what ``decide`` gives (bytes and mode) for the folder as it is, with nobody else at work in it.
    Where there is none it is made with at most these ``permissions``.

    Says whether it held something else, and the digest of the folder afterwards. What stood there can be brought back
    by ``undo``. Raises ``Busy``, ``ChangedMeanwhile`` where something else is in the way, and ``UndoFull``.
    """
    with folder_lock(worktree.root), by_name(worktree.root):
        scan = worktree.scan()
        require_read(scan, [path])
        data, mode = decide(scan)
        entry = Entry(mode, object_id(data))
        after = digest({**scan.tree, path: entry})
        if scan.tree.get(path) == entry:
            return False, after
        undo_id = UndoStore(worktree.root).fresh(clock_ns(), random(3)) + _RESTORE
        present_now = {path: now} if (now := scan.tree.get(path)) else {}
        refused = _write(worktree, {path: (data, mode)}, present_now, undo_id, bounds, permissions)
        if refused:
            raise ChangedMeanwhile(refused)
        return True, after


@dataclass(slots=True)
class Undone:
    """What ``undo`` did."""

    restored: list[str] = field(default_factory=list)
    """Paths that are as they were before the sync: files brought back, and new files taken away."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Paths left alone, with the reason: they are not what the sync wrote any more."""
    waits: bool = False
    """Whether the paths brought back are held until somebody decides; a person's own step waits for nobody."""
    again: bool = False
    """Whether what was undone was an undo."""
    time: int = 0
    """When what was undone began, in milliseconds UTC."""
    gone: int = 0
    """How many of the paths were not there before it, and are not any more."""


def undo(
    worktree: Worktree,
    step: str = "",
    *,
    dry: bool = False,
    bounds: Bounds = BOUNDS,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Undone:
    """Bring back what the last sync (or undo, or the ``step``) replaced here, where it still is what that one wrote.

    The paths are held until ``resolve``; what the undo replaces can be brought back by another undo. One that was cut
    off is gone on with. With ``dry`` nothing is changed. Raises ``NothingToUndo``, ``UndoFull``.
    """
    root = worktree.root
    with folder_lock(root), by_name(root):
        store = UndoStore(root, bounds._replace(days=MAX_DAYS))  # however old: it is brought back right now
        last, kept, begun = _chosen(store, step)
        base, _ = load_base(root)
        wrote: dict[str, Entry | None] = {}
        if base is not None:
            wrote = {path: Entry(*entry[:2]) if (entry := base.cloud.get(path)) else None for path in kept}
        wrote |= read_after(store, last)
        scan = worktree.scan()
        require_read(scan, kept)
        local = with_modes(root, present(root, scan, {}), {path: entry for path, entry in wrote.items() if entry})
        result = Undone(again=kind_of(last) == "undo", time=time_of(last))
        todo: dict[str, Kept] = {}
        for path, was in kept.items():
            if begun and local.get(path) == _entry(was):
                result.restored.append(path)
            elif local.get(path) == wrote.get(path):
                todo[path] = was
            else:
                result.skipped[path] = _NOT_OURS if left_out(root, scan, [path]) else "changed since"
        if step and not todo and not result.restored:
            return result  # it may yet be, once what came after it is taken back
        store.spared, replaced = (last, *begun), _kept(store, begun)
        size = sum(scan.sizes.get(path, 0) for path in todo) + sum(len(was.data or b"") for was in replaced.values())
        store.check_room(len(todo) + len(replaced), size)
        own = last.endswith(_RESTORE)  # a person's own step: the base has nothing to do with it
        result.waits = base is not None and not own
        if dry:
            result.restored += todo
            result.gone = _gone(kept, result)
            return result
        if base is not None and not own:
            _hold(worktree, base, todo)
        reach("undo.after_hold")
        undo_id = store.fresh(clock_ns(), random(3)) + name_of_undo(last) + (_RESTORE if own else "")
        if todo:
            done = {path: kept[path] for path in result.restored}
            _restore(worktree, store, todo, local, undo_id, result, done, replaced)
        reach("undo.after_restore")
        if any(kept[path].data is not None for path in result.skipped):
            store.set_aside(last)  # what could not be brought back is still nowhere else
            for name in (undo_id, *begun):
                store.ended(name)
        else:
            store.forget(last)
        for name in begun if todo else ():
            store.forget(name)  # what it replaced is in the newest
        result.gone = _gone(kept, result)
        return result


def _gone(kept: Mapping[str, Kept], result: Undone) -> int:
    return sum(kept[path].data is None for path in result.restored)


def _chosen(store: UndoStore, step: str) -> tuple[str, dict[str, Kept], list[str]]:
    """The ``step``, or the newest that kept anything, or the one that an undo was bringing back when it was cut off.

    The last are the undos of it that were cut off.
    """
    named = store.named(step) if step else None
    if step and named is None:
        raise NothingToUndo(f"there is no step {step!r} to undo here", hint="List them:  satchel undo --list")
    for name in reversed(store.syncs()) if named is None else (named,):
        kept = _kept(store, [name])
        if kept:
            unfinished = store.cut_off(name)
            if unfinished is None:
                return name, kept, []
            last, begun = unfinished
            return last, _kept(store, [last]), begun
    raise NothingToUndo("no sync has overwritten anything here")


def _kept(store: UndoStore, syncs: Sequence[str]) -> dict[str, Kept]:
    """What they kept; of several states of a path the first is the one before them."""
    kept: dict[str, Kept] = {}
    for name in syncs:
        for item in store.kept(name):
            kept.setdefault(item.path, item)
    return kept


def _hold(worktree: Worktree, base: Base, todo: dict[str, Kept]) -> None:
    """Hold the paths before they are touched: after a crash they are in step, or they wait, but they are not sent."""
    held = {**base.held, **dict.fromkeys(todo, NEITHER)}
    save_base(worktree.root, replace(base, held=held))


def _restore(
    worktree: Worktree,
    store: UndoStore,
    todo: dict[str, Kept],
    local: dict[str, Entry],
    undo_id: str,
    result: Undone,
    done: Mapping[str, Kept],
    replaced: Mapping[str, Kept],
) -> None:
    """Bring ``todo`` back. ``done`` was, by undos that were cut off, and ``replaced`` is what they kept."""
    after = {path: _entry(was) for path, was in {**done, **todo}.items()}
    store.begin(undo_id)
    try:
        note_after(store, undo_id, after)
        for item in replaced.values():
            store.keep(item.path, item.data, item.mode, item.permissions)  # so that one undo takes all of it back
        with Materialiser(worktree.root, store) as folder:
            # Deletions first: a folder may have to become a file.
            for path, was in sorted(todo.items(), key=lambda item: item[1].data is not None):
                expect = local.get(path)
                try:
                    if was.data is not None and was.mode is not None:
                        folder.write(path, was.data, was.mode, expect, permissions=was.permissions)
                    elif expect is not None:
                        folder.delete(path, expect)
                    result.restored.append(path)
                except (ChangedMeanwhile, PathRefused) as error:
                    result.skipped[path] = error.message
    finally:
        store.close()


def _entry(was: Kept) -> Entry | None:
    return None if was.data is None or was.mode is None else Entry(was.mode, object_id(was.data))
