"""What a person decides after a sync: which side of a conflict counts, and that the last sync be undone.

Neither asks the server anything. ``resolve`` only changes what the next sync compares with; ``undo`` brings back what
the last sync replaced and holds those paths, so that nothing is sent or fetched for them until somebody decides.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from satchel.errors import InvalidInput, NotFound, PathRefused
from satchel.objects.ids import object_id
from satchel.objects.listing import Entry
from satchel.sync.failpoints import reach
from satchel.sync.folder import present
from satchel.sync.plan import NEITHER, plan
from satchel.sync.pull import note_after, read_after
from satchel.worktree.base import Base, load_base, save_base
from satchel.worktree.lock import folder_lock
from satchel.worktree.materialise import Materialiser
from satchel.worktree.undo import Kept, UndoStore
from satchel.worktree.walk import ChangedMeanwhile, Worktree


class NothingToUndo(NotFound):
    code = "undo.nothing"
    default_hint = "Only what a sync or an undo overwrote in this folder can be brought back."


class Take(Enum):
    """The side of a conflict that counts."""

    LOCAL = "local"
    CLOUD = "cloud"


def resolve(worktree: Worktree, paths: Sequence[str], take: Take) -> list[str]:
    """Decide conflicts; the next sync sends the folder's content or fetches the cloud's. Returns the decided paths.

    Raises ``InvalidInput`` for a path that is not in conflict, and then decides none.
    """
    with folder_lock(worktree.root):
        base, _ = load_base(worktree.root)
        before = base.tree if base else {}
        local = present(worktree.root, worktree.scan(), before)
        cloud = {path: Entry(entry.mode, entry.object) for path, entry in base.cloud.items()} if base else {}
        conflicts = plan(before, local, cloud).conflicts
        strange = [path for path in paths if path not in conflicts]
        if base is None or strange:
            raise InvalidInput(
                f"{', '.join(strange) or 'this folder'} is not in conflict",
                hint="`satchel conflicts` lists what is; a sync finds new ones.",
            )
        held = dict(base.held)
        for path in paths:
            if take is Take.LOCAL:
                held.pop(path, None)  # the base is the cloud's entry then: what is here differs, and is sent
            else:
                held[path] = local.get(path)  # the base is what is here: the cloud's differs, and is fetched
        save_base(worktree.root, replace(base, held=held))
        return list(paths)


@dataclass(slots=True)
class Undone:
    """What ``undo`` did."""

    restored: list[str] = field(default_factory=list)
    """Paths that are as they were before the sync: files brought back, and new files taken away."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Paths left alone, with the reason: they are not what the sync wrote any more."""


def undo(
    worktree: Worktree,
    *,
    random: Callable[[int], bytes] = os.urandom,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Undone:
    """Bring back what the last sync (or undo) replaced here, where it still is what that one wrote.

    The paths are held until ``resolve``; what the undo replaces can be brought back by another undo. Raises
    ``NothingToUndo``, ``UndoFull``.
    """
    root = worktree.root
    with folder_lock(root):
        store = UndoStore(root)
        last, kept = _latest(store)
        base, _ = load_base(root)
        wrote: dict[str, Entry | None] = {}
        if base is not None:
            wrote = {path: Entry(*entry[:2]) if (entry := base.cloud.get(path)) else None for path in kept}
        wrote |= read_after(store, last)
        local = present(root, worktree.scan(), {})
        result = Undone()
        todo: dict[str, Kept] = {}
        for path, was in kept.items():
            if local.get(path) == wrote.get(path):
                todo[path] = was
            else:
                result.skipped[path] = "changed since"
        if base is not None:
            _hold(worktree, base, todo)
        reach("undo.after_hold")
        _restore(worktree, store, todo, local, f"{clock_ns():020d}-{random(3).hex()}", result)
        reach("undo.after_restore")
        store.forget(last)
        return result


def _latest(store: UndoStore) -> tuple[str, dict[str, Kept]]:
    """The newest sync that kept anything; of several states of a path the first is the one before the sync."""
    for name in reversed(store.syncs()):
        kept: dict[str, Kept] = {}
        for item in store.kept(name):
            kept.setdefault(item.path, item)
        if kept:
            return name, kept
    raise NothingToUndo("no sync has overwritten anything here")


def _hold(worktree: Worktree, base: Base, todo: dict[str, Kept]) -> None:
    """Hold the paths before they are touched: after a crash they are in step, or they wait, but they are not sent."""
    held = {**base.held, **dict.fromkeys(todo, NEITHER)}
    save_base(worktree.root, replace(base, held=held))


def _restore(
    worktree: Worktree, store: UndoStore, todo: dict[str, Kept], local: dict[str, Entry], undo_id: str, result: Undone
) -> None:
    if not todo:
        return
    after = {path: _entry(was) for path, was in todo.items()}
    store.begin(undo_id)
    note_after(store, undo_id, after)
    try:
        with Materialiser(worktree.root, store) as folder:
            # Deletions first: a folder may have to become a file.
            for path, was in sorted(todo.items(), key=lambda item: item[1].data is not None):
                expect = local.get(path)
                try:
                    if was.data is not None and was.mode is not None:
                        folder.write(path, was.data, was.mode, expect)
                    elif expect is not None:
                        folder.delete(path, expect)
                    result.restored.append(path)
                except (ChangedMeanwhile, PathRefused) as error:
                    result.skipped[path] = error.message
    finally:
        store.close()


def _entry(was: Kept) -> Entry | None:
    return None if was.data is None or was.mode is None else Entry(was.mode, object_id(was.data))
