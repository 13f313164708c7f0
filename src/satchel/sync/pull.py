"""What the cloud changed, brought into the folder: fetched in bounded batches, checked, then written.

Everything a server says is checked before a byte is written: that its head did not go back, that its changes lead to
the digest it names, that its paths are listable, that every object has the hash it is named by and no more bytes come
than were announced. Content replaced or deleted here is in the undo store before it goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from satchel.errors import PathRefused, SatchelError, ServerLied
from satchel.objects.ids import ObjectId, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.paths import collision_key, path_problem
from satchel.sync.failpoints import reach
from satchel.sync.fetching import MANY_OBJECTS, NEARLY_ALL, Held, Wanted, fetch
from satchel.sync.naming import above
from satchel.sync.peer import Changes, Head, Peer
from satchel.sync.push import Progress
from satchel.sync.wire import MAX_SIZE
from satchel.worktree import durable
from satchel.worktree.base import Base, CloudEntry, entries_of
from satchel.worktree.beneath import Beneath, read_own
from satchel.worktree.former import Former
from satchel.worktree.materialise import Materialiser, Staged
from satchel.worktree.undo import BOUNDS, Bounds, UndoStore
from satchel.worktree.walk import ChangedMeanwhile

GROUP_OBJECTS, GROUP_BYTES = 256, 4 << 20
"""Files written and synced side by side: enough that the disk's wait is shared, few enough to hold."""
EDITED = "changed while the sync ran"
LOST = "the server lost its content: it comes back when somebody who has it syncs, or from the operator's backup"
Group = list[tuple[ObjectId, bytes]]
_Begun = tuple[Group, bool, Callable[[], list[tuple[str, Staged]]]]
"""A group, whether it was fetched, and what waits until it is on disk aside."""
AFTER = "after"
"""Beside an undo journal: what the sync wrote over each path it kept, so that undo can tell a later edit."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The hosted tree at its head, as far as it was checked: listable paths, and a digest that fits."""

    head: Head
    entries: Mapping[str, CloudEntry]
    sizes: Mapping[str, int]
    """Bytes of the paths that changed since the base."""
    tree: Mapping[str, Entry]
    damaged: int = 0
    """Objects that the server lost and asks for."""
    deltas: bool = False
    """Whether the server takes deltas."""
    gives_deltas: bool = False
    """Whether it tells an edit as one to who asks so."""
    gives_files: bool = False
    """Whether it takes ``Files``."""
    apart: bool = False
    """Whether its history, though of the base's lineage, does not hold the base."""


def as_known(base: Base) -> Cloud:
    """The hosted tree as it was at the last sync, without asking."""
    return Cloud(Head(base.lineage, base.version, base.digest), base.cloud, {}, entries_of(base.cloud))


def learn(peer: Peer, project: str, base: Base | None, was: Cloud | None = None, asked: Changes | None = None) -> Cloud:
    """Ask the peer what changed since ``base`` (``was``, as a tree), unless it was ``asked``.

    Raises ``ServerLied`` unless all of it fits.
    """
    found = asked or peer.changes(project, base.version if base else 0, base.lineage if base else None)
    same_line, apart = base is not None and found.head.lineage == base.lineage, False
    if same_line and base is not None:
        if found.head.version < base.version:
            raise ServerLied(
                f"the project was at version {base.version} and is now at {found.head.version}, in one line of history",
                hint="Nothing was changed here. A server restored from a backup has to start a new lineage.",
            )
        if found.head.version == base.version and found.head.digest != base.digest:
            raise ServerLied(f"version {base.version} of the project has another content than it had before")
    for change in found.items:
        problem = path_problem(change.path)
        if problem is not None:
            raise ServerLied(f"the server names a path that no project can have: {problem}")
        if change.size > MAX_SIZE:
            raise ServerLied(f"the server names a file of {change.size:,} bytes")
    if base is not None and not found.items and found.head == (base.lineage, base.version, base.digest):
        known = was or as_known(base)
        able = replace(known, deltas=found.deltas, gives_deltas=found.gives_deltas, gives_files=found.gives_files)
        return replace(able, damaged=found.damaged)
    if found.since and same_line and base is not None:
        cloud = _cloud(found, base.cloud)
        if cloud is not None:
            return cloud
        # The server forgot versions and has others by their numbers, or the base is wrong: the whole tree decides.
        apart = digest((was or as_known(base)).tree) == base.digest
        found = peer.changes(project, 0, None)
    elif same_line and base is not None and base.version:
        # The base has expired there: whether these versions came of it, only its digest can tell.
        told = peer.digest_of(project, base.version)
        apart = told is not None and told != base.digest
    cloud = _cloud(found, {})
    if cloud is None:
        raise ServerLied("the files that the server lists do not have the digest it names")
    return replace(cloud, apart=apart)


def _cloud(found: Changes, before: Mapping[str, CloudEntry]) -> Cloud | None:
    entries, sizes = dict(before), {}
    for path, entry, size, version, author, time_ms, author_kind in found.items:
        if entry is None:
            entries.pop(path, None)
        else:
            entries[path] = CloudEntry(*entry, version, author, time_ms, author_kind)
            sizes[path] = size
    tree = entries_of(entries)
    if digest(tree) != found.head.digest:
        return None
    gives = found.gives_deltas, found.gives_files
    return Cloud(found.head, entries, sizes, tree, found.damaged, found.deltas, *gives)


# Writing -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Pulled:
    """What became of a pull."""

    done: dict[str, Entry | None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    """Paths that were left as they are, with the reason: edited meanwhile, or no name for this filesystem."""
    bytes: int = 0
    """Content fetched."""
    sizes: dict[ObjectId, int] = field(default_factory=dict)
    """Of what was written."""
    dropped: list[str] = field(default_factory=list)
    """Syncs that the undo store let go of."""


def write(
    root: Path,
    peer: Peer,
    project: str,
    steps: Mapping[str, Entry | None],
    local: Mapping[str, Entry],
    cloud: Cloud,
    undo_id: str,
    progress: Progress | None = None,
    *,
    contents: Mapping[ObjectId, bytes] | None = None,
    moves: Mapping[str, str] | None = None,
    beside: Mapping[str, str] | None = None,
    bounds: Bounds = BOUNDS,
    base: Base | None = None,
) -> Pulled:
    """Do the pulled ``steps``: deletions that make room, content as it comes, then all other deletions.

    So a pull that breaks off has deleted nothing whose text may be among what did not come. ``local`` is what each path
    is expected to hold. ``contents`` are not asked of the peer, nor is what a file here holds; an edit of what still is
    as ``base`` has it may come as a delta. The old names in ``moves`` (by their new names), and files whose content is
    to stand elsewhere, go once it does. A file that comes by another name, or ``beside`` one that is here (which one,
    by its own name), is as readable as that. Everything is durable when this returns.
    """
    pulled = Pulled()
    if not steps:
        return pulled
    places: dict[ObjectId, list[str]] = {}
    for path, entry in steps.items():
        if entry is not None:
            places.setdefault(entry.object, []).append(path)
    undo = UndoStore(root, bounds)
    undo.begin(undo_id)
    undo.check_room(*_replaced(root, steps.keys() & local.keys()))
    known = {name: data for name, data in (contents or {}).items() if name in places}
    own = _own(places.keys() - known.keys(), local)
    sizes = {name: cloud.sizes.get(paths[0]) for name, paths in places.items() if name not in known | own}
    gone = [path for path, entry in steps.items() if entry is None and path in local]
    first = _in_the_way(gone, steps)
    waits = {path: places[local[path].object][0] for path in gone if path not in first and local[path].object in places}
    waits |= {old: new for new, old in (moves or {}).items()}
    alike = {path: source for name, source in own.items() for path in places[name]} | dict(beside or {})
    alike |= moves or {}
    lost: set[ObjectId] = set()
    there = {entry.object for entry in cloud.tree.values()} if own else set()
    keeping, held = Former(root).keep(), _held(root, base, cloud, local, places)

    def otherwise(name: ObjectId) -> None:
        """No file here holds it any more; what is to be fetched is asked for after all that is here."""
        if name in there:
            sizes[name] = cloud.sizes.get(places[name][0])
        else:
            lost.add(name)

    try:
        note_after(undo, undo_id, steps)
        with Materialiser(root, undo) as folder:
            for path in gone:
                if path in first and path not in waits:
                    _one(pulled, path, None, partial(folder.delete, path, local[path]))
            here = chain(known.items(), _read_here(root, own, otherwise))
            coming = fetch(peer, project, sizes, lost, keeping, held, _whole(cloud, sizes.keys()))
            for group, fetched, staged in _staged(folder, _both(_groups(here), _groups(coming)), places, steps):
                pulled.bytes += sum(len(data) for _, data in group) if fetched else 0
                pulled.sizes.update((name, len(data)) for name, data in group)
                for path, content in staged():
                    put = partial(folder.place, path, content, local.get(path), alike.get(path, ""))
                    _one(pulled, path, steps[path], put)
                if progress is not None:
                    progress("pull", len(pulled.done) + len(pulled.refused), len(steps), pulled.bytes)
            pulled.refused.update((path, EDITED if name in own else LOST) for name in lost for path in places[name])
            others = [path for path in gone if path not in first or path in waits]
            _delete_others(folder, pulled, others, steps, local, waits)
    finally:
        keeping.commit()
        undo.close()
        pulled.dropped += undo.dropped
    return pulled


def _replaced(root: Path, paths: Set[str]) -> tuple[int, int]:
    """How many files would be replaced, and their bytes together."""
    size = 0
    for path in paths:
        with suppress(OSError):
            size += os.lstat(root / path).st_size
    return len(paths), size


def _in_the_way(gone: Sequence[str], steps: Mapping[str, Entry | None]) -> set[str]:
    """Those of the files to be deleted that stand where another is to be written, or a folder of it, or within it."""
    if not gone:
        return set()
    files = {collision_key(path) for path, entry in steps.items() if entry is not None}
    taken = files | {folder for path in files for folder in above(path)}
    keys = {path: collision_key(path) for path in gone}
    return {path for path, key in keys.items() if key in taken or not files.isdisjoint(above(key))}


def _own(names: Set[ObjectId], local: Mapping[str, Entry]) -> dict[ObjectId, str]:
    """Those of ``names`` that files here hold, each with one of them."""
    return {entry.object: path for path, entry in local.items() if entry.object in names} if names else {}


def _read_here(
    root: Path, own: Mapping[ObjectId, str], otherwise: Callable[[ObjectId], None]
) -> Iterator[tuple[ObjectId, bytes]]:
    """What files hold; ``otherwise`` is told of what a file was to hold, and holds no more."""
    for name in own:
        data = _content(root, own, name)
        if data is not None:
            yield name, data
        else:
            otherwise(name)


def _content(root: Path, files: Mapping[ObjectId, str], name: ObjectId) -> bytes | None:
    """An object as one of ``files`` holds it; ``None`` where none does (any more)."""
    if name not in files:
        return None
    try:
        with Beneath(root) as beneath:
            data, _ = beneath.read(files[name], MAX_SIZE)
    except OSError:
        return None
    return data if object_id(data) == name else None


def _held(
    root: Path, base: Base | None, cloud: Cloud, local: Mapping[str, Entry], places: Mapping[ObjectId, Sequence[str]]
) -> Held | None:
    """The version that what comes may be told against: of files that are as it has them, and get other content."""
    if base is None or not cloud.gives_deltas or cloud.apart or base.lineage != cloud.head.lineage:
        return None
    files: dict[ObjectId, str] = {}
    for path in chain.from_iterable(places.values()):
        was, mine = base.cloud.get(path), local.get(path)
        if was is not None and mine is not None and was.object == mine.object:
            files[mine.object] = path
    return Held(base.version, partial(_content, root, files)) if files else None


def _whole(cloud: Cloud, names: Set[ObjectId]) -> Wanted | None:
    """The version, where ``names`` are many and nearly all that it holds, for a peer that takes ``Files``."""
    if not cloud.gives_files or len(names) <= MANY_OBJECTS or cloud.sizes.keys() != cloud.tree.keys():
        return None
    files = [(path, entry.object, cloud.sizes[path]) for path, entry in sorted(cloud.tree.items())]
    wanted = sum(size for _, name, size in files if name in names)
    return Wanted(cloud.head.version, files) if wanted >= NEARLY_ALL * sum(size for *_, size in files) else None


def _both(here: Iterator[Group], fetched: Iterator[Group]) -> Iterator[tuple[Group, bool]]:
    for group in here:
        yield group, False
    for group in fetched:
        yield group, True


def _delete_others(
    folder: Materialiser,
    pulled: Pulled,
    gone: Sequence[str],
    steps: Mapping[str, Entry | None],
    local: Mapping[str, Entry],
    waits: Mapping[str, str],
) -> None:
    """Delete what made no room, now that all has come; what goes by another name now, where that one stands."""
    if gone:
        folder.finish()
    for path in gone:
        new = waits.get(path)
        if new in steps and new not in pulled.done:
            pulled.refused[path] = f"waits for {new}"
            continue
        reach("pull.before_old_name")
        _one(pulled, path, None, partial(folder.delete, path, local[path]))


def _staged(
    folder: Materialiser,
    groups: Iterator[tuple[Group, bool]],
    places: Mapping[ObjectId, Sequence[str]],
    steps: Mapping[str, Entry | None],
) -> Iterator[_Begun]:
    """The groups, each after the next one was begun."""
    begun: _Begun | None = None
    try:
        for group, fetched in groups:
            wanted = [(path, data, entry) for name, data in group for path in places[name] if (entry := steps[path])]
            staging = folder.staging([(data, entry.mode) for _, data, entry in wanted])
            following = group, fetched, partial(_by_path, [path for path, _, _ in wanted], staging)
            if begun is not None:
                yield begun
            begun = following
    except SatchelError:
        if begun is not None:  # what has come is put in place
            yield begun
        raise
    if begun is not None:
        yield begun


def _by_path(paths: Sequence[str], staging: Callable[[], list[Staged]]) -> list[tuple[str, Staged]]:
    return list(zip(paths, staging(), strict=True))


def _one(pulled: Pulled, path: str, entry: Entry | None, write: Callable[[], None]) -> None:
    try:
        write()
    except (ChangedMeanwhile, PathRefused) as error:
        pulled.refused[path] = error.message
        return
    pulled.done[path] = entry
    reach("pull.after_path")


def _groups(fetched: Iterator[tuple[ObjectId, bytes]]) -> Iterator[Group]:
    """Objects in groups that are put on disk together."""
    group: Group = []
    held = 0
    for name, data in fetched:
        group.append((name, data))
        held += len(data)
        if len(group) == GROUP_OBJECTS or held >= GROUP_BYTES:
            yield group
            group, held = [], 0
    if group:
        yield group


# What undo needs to know -------------------------------------------------------------------------------------------


def note_after(undo: UndoStore, undo_id: str, steps: Mapping[str, Entry | None]) -> None:
    """Write down, before anything is touched, what will stand at each path afterwards."""
    told = {**read_after(undo, undo_id), **steps}
    rows = {path: None if entry is None else list(entry) for path, entry in told.items()}
    data = json.dumps(rows, ensure_ascii=False).encode()
    durable.replace(undo.folder / undo_id / AFTER, data, permissions=0o600)


def read_after(undo: UndoStore, undo_id: str) -> dict[str, Entry | None]:
    """What ``note_after`` wrote; empty where that cannot be read."""
    try:
        rows = json.loads(read_own(undo.folder / undo_id / AFTER))
        return {path: None if row is None else Entry(row[0], ObjectId(row[1])) for path, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return {}
