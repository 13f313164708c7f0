"""Giving back to a server what it has lost and this folder still has.

The server names objects that its storage lost (a damaged disk, a bucket that was tampered with). An object is named by
its hash, so whoever has a file with that hash, or kept one in the undo store, has exactly what was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from satchel.errors import NotFound, Refused
from satchel.objects.ids import ObjectId, object_id
from satchel.sync.peer import Peer
from satchel.sync.push import Content, FileMoved, content_body, kept_body
from satchel.worktree.undo import UndoStore
from satchel.worktree.walk import Scan

BATCH_BYTES = 32 << 20
"""Most content of the undo store sent at once."""


def heal(root: Path, scan: Scan, peer: Peer, project: str) -> int:
    """Send what the server lost and this folder has; returns how many objects are whole again.

    Who may not write to the project sends nothing. Raises what the peer raises when it is away.
    """
    try:
        asked = set(peer.damaged(project))
        restored = _from_files(root, scan, peer, project, asked)
        return restored + _from_undo(root, peer, project, asked)
    except (Refused, NotFound):
        return 0  # no right to, or no room: the sync itself goes on


def _from_files(root: Path, scan: Scan, peer: Peer, project: str, asked: set[ObjectId]) -> int:
    found = {
        entry.object: Content(entry.object, path, scan.sizes[path])
        for path, entry in scan.tree.items()
        if entry.object in asked
    }
    if not found:
        return 0
    try:
        sending = content_body(list(found.values()), root)
        restored = peer.give_back(project, sending.stream, sending.declared)
    except FileMoved:
        return 0  # it is just being edited: the next sync looks again
    asked -= found.keys()
    return restored


def _from_undo(root: Path, peer: Peer, project: str, asked: set[ObjectId]) -> int:
    restored = 0
    for batch in _batches(kept_here(root, asked)):
        sending = kept_body(batch)
        restored += peer.give_back(project, sending.stream, sending.declared)
    return restored


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


def _batches(objects: Iterator[tuple[ObjectId, bytes]]) -> Iterator[list[tuple[ObjectId, bytes]]]:
    batch: list[tuple[ObjectId, bytes]] = []
    for name, data in objects:
        batch.append((name, data))
        if sum(len(data) for _, data in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch
