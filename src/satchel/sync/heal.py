"""Giving back to a server what it has lost and this folder still has.

The server names objects that its storage lost (a damaged disk, a bucket that was tampered with). An object is named by
its hash, so whoever has a file with that hash, or kept one in the undo store, has exactly what was lost.

A server may name what it never had. It is given what both sides had in step under the same path, and of what was kept
for undo, of which nobody knows any more whether it ever left, what does not look like a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TypeVar

from satchel.errors import NotFound, Refused
from satchel.objects.ids import ObjectId, object_id
from satchel.sync.peer import Peer
from satchel.sync.push import Content, FileMoved, content_body, kept_body
from satchel.sync.secrets import find_secrets
from satchel.worktree.base import Base
from satchel.worktree.former import Former
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import Scan

BATCH_BYTES = 32 << 20
"""Most content sent at once, but for a file that is larger: a server has a bound for what one request brings."""
T = TypeVar("T")


def heal(root: Path, scan: Scan, peer: Peer, project: str, base: Base | None) -> int:
    """Send what the server lost and this folder has; returns how many objects are whole again.

    ``base`` is what the two had in common last.
    Who may not write to the project sends nothing. Raises what the peer raises when it is away.
    """
    restored = 0
    with suppress(Refused, NotFound):  # no right to, or no room: the sync itself goes on
        asked = set(peer.damaged(project))
        for count in chain(_from_files(root, scan, peer, project, base, asked), _from_undo(root, peer, project, asked)):
            restored += count
    return restored


def _from_files(
    root: Path, scan: Scan, peer: Peer, project: str, base: Base | None, asked: set[ObjectId]
) -> Iterator[int]:
    known = {} if base is None else base.cloud
    found = {
        entry.object: Content(entry.object, path, scan.sizes[path])
        for path, entry in scan.tree.items()
        if entry.object in asked and (was := known.get(path)) is not None and was.object == entry.object
    }
    for batch in _batches(found.values(), lambda content: content.size):
        with suppress(FileMoved):  # it is just being edited: the next sync looks again
            sending = content_body(batch, root)
            yield peer.give_back(project, sending.stream, sending.declared)
            asked -= {content.object for content in batch}


def _from_undo(root: Path, peer: Peer, project: str, asked: set[ObjectId]) -> Iterator[int]:
    kept = (each for each in kept_here(root, asked) if not find_secrets(each[1]))
    for batch in _batches(kept, lambda kept: len(kept[1])):
        sending = kept_body(batch)
        yield peer.give_back(project, sending.stream, sending.declared)


def kept_here(root: Path, asked: set[ObjectId]) -> Iterator[tuple[ObjectId, bytes]]:
    """What of ``asked`` the undo store has, each once; reads it only while something is asked for."""
    undo = UndoStore(root)
    for sync_id in reversed(undo.syncs()):
        if not asked:
            return
        for kept in undo.kept(sync_id):
            name = None if kept.data is None else object_id(kept.data)
            if name in asked and kept.data is not None:
                asked.discard(name)
                yield name, kept.data


def at_hand(root: Path, name: ObjectId) -> bytes | None:
    """An object that was kept here for undo, or for deltas; ``None`` where it was not."""
    kept = dict(kept_here(root, {name})) or Former(root).read([name])
    return kept.get(name)


def _batches(contents: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for content in contents:
        batch.append(content)
        held += size(content)
        if held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
