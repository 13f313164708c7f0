"""From commit records to the rows that the commits made. Pure.

A record's changes are applied to the tree before it; the tree after it has to have the digest that the record names,
or nothing of the record is taken. Titles are not in records: whoever writes the rows describes the content anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from satchel.catalog.packs import PackRow, PlaceRow
from satchel.catalog.recover import EntryRows
from satchel.catalog.versions import VersionRow
from satchel.objects.frame import MAX_FRAME_RAW
from satchel.objects.ids import Digest, ObjectId
from satchel.objects.listing import Entry, digest, parse
from satchel.objects.record import CommitRecord, PackTable, RecordRefused


@dataclass(slots=True)
class EntryRow:
    """An entry as the catalog has it. ``fresh`` says that it is not in the catalog yet."""

    path: str
    since: int
    until: int | None
    object: ObjectId
    size: int
    mode: str
    kind: str
    title: str
    fresh: bool = True


@dataclass(slots=True)
class Replay:
    """The rows of one project as records are applied to it."""

    living: dict[str, EntryRow] = field(default_factory=dict)
    """The entries of the newest version, by path."""
    new: list[EntryRow] = field(default_factory=list)
    ended: list[tuple[str, int]] = field(default_factory=list)
    versions: list[VersionRow] = field(default_factory=list)
    packs: list[tuple[int, PackTable]] = field(default_factory=list)
    """What the records say of packs, oldest first, each with the time of the commit that brought it."""

    def resume(self, record: CommitRecord, sizes: Mapping[ObjectId, int]) -> None:
        """Go on at a record that has the whole listing, where the records before it are gone; ``sizes`` of objects.

        Raises ``RecordRefused`` for a listing that is not the record's, ``ListingRefused``.
        """
        listed = parse((record.listing or "").encode())
        _check(record, listed)
        changed = {change.path: change for change in record.changes}
        known = {row.object: row.size for row in self.living.values()}
        for path, row in list(self.living.items()):
            if listed.get(path) != Entry(row.mode, row.object):
                self._end(self.living.pop(path), record.version)
        for path, entry in listed.items():
            if path in self.living:
                continue
            change = changed.get(path)
            size = known.get(entry.object, sizes.get(entry.object, 0)) if change is None else change.size
            kind = "" if change is None else change.kind
            self._add(EntryRow(path, record.version, None, entry.object, size, entry.mode, kind, ""))
        deleted = sum(1 for change in record.changes if change.object is None)
        self._version(record, 0, len(record.changes) - deleted, deleted)

    def apply(self, record: CommitRecord) -> None:
        """The next version. Raises ``RecordRefused``, and then nothing was applied."""
        fresh = [change for change in record.changes if self._differs(change.path, change.mode, change.object)]
        after = {path: Entry(row.mode, row.object) for path, row in self.living.items()}
        for change in fresh:
            if change.object is None or change.mode is None:
                after.pop(change.path, None)
            else:
                after[change.path] = Entry(change.mode, change.object)
        _check(record, after)
        added = deleted = changed = 0
        for change in fresh:
            before = self.living.pop(change.path, None)
            if before is not None:
                self._end(before, record.version)
            if change.object is None or change.mode is None:
                deleted += 1
                continue
            added, changed = (added + 1, changed) if before is None else (added, changed + 1)
            entry = EntryRow(
                change.path, record.version, None, change.object, change.size, change.mode, change.kind, ""
            )
            self._add(entry)
        self._version(record, added, changed, deleted)

    def rows(self) -> EntryRows:
        """What to write of entries."""
        return EntryRows(
            [(e.path, e.since, e.until, e.object, e.size, e.mode, e.kind, e.title) for e in self.new], self.ended
        )

    @property
    def head(self) -> tuple[Digest, int, int]:
        """Digest, files and bytes of the newest version."""
        tree = {path: Entry(row.mode, row.object) for path, row in self.living.items()}
        return digest(tree), len(tree), sum(row.size for row in self.living.values())

    def _differs(self, path: str, mode: str | None, name: ObjectId | None) -> bool:
        before = self.living.get(path)
        return before is None or name is None or (before.mode, before.object) != (mode, name)

    def _add(self, entry: EntryRow) -> None:
        self.living[entry.path] = entry
        self.new.append(entry)

    def _end(self, entry: EntryRow, version: int) -> None:
        entry.until = version
        if not entry.fresh:
            self.ended.append((entry.path, version))

    def _version(self, record: CommitRecord, added: int, changed: int, deleted: int) -> None:
        self.packs += ((record.time, table) for table in record.packs)
        self.versions.append(
            VersionRow(
                record.version,
                record.lineage,
                record.digest,
                record.id,
                record.author_id,
                record.author,
                record.time,
                added,
                changed,
                deleted,
            )
        )


class Shelf(NamedTuple):
    """The packs that are to be live, and those whose whole content was moved to others."""

    live: list[PackRow]
    spare: list[PackRow]


def shelve(
    moved: Iterable[PackTable],
    brought: Sequence[tuple[int, PackTable]],
    there: Mapping[str, int],
    purged: Mapping[ObjectId, int],
) -> Shelf:
    """The packs of ``there`` (name and size) that tables tell of.

    ``moved`` come from tables of their own. A pack that a commit ``brought`` (with its time, oldest first) is spare if
    all that it holds was moved; content was moved away from damage, too, so never the other way round. What was
    ``purged`` (when) after a commit brought it is not taken from that commit's pack again.
    """
    live: list[PackRow] = []
    spare: list[PackRow] = []
    held: set[tuple[ObjectId, int]] = set()
    seen: set[str] = set()
    for time, table in [*((None, table) for table in moved), *reversed(brought)]:
        if table.name in seen or there.get(table.name) != table.size:
            continue
        seen.add(table.name)
        places = tuple(place for place in places_of(table) if time is None or not time <= purged.get(place.object, -1))
        row = PackRow(table.name, table.size, len(table.frames), places)
        if time is not None and all((place.object, place.part) in held for place in places):
            spare.append(row)
            continue
        live.append(row)
        if time is None:
            held.update((place.object, place.part) for place in places)
    return Shelf(live, spare)


def places_of(table: PackTable) -> tuple[PlaceRow, ...]:
    """Where a pack's table says its objects lie. A long object's size is known from its last part, or from none."""
    sizes = {
        slot.object: frame.part * MAX_FRAME_RAW + slot.length
        for frame in table.frames
        if frame.parts > 1 and frame.part == frame.parts - 1
        for slot in frame.table
    }
    return tuple(
        PlaceRow(
            slot.object,
            frame.part,
            frame.parts,
            slot.length if frame.parts == 1 else sizes.get(slot.object, 0),
            table.name,
            frame.id,
            frame.offset,
            frame.length,
            slot.offset,
            slot.length,
        )
        for frame in table.frames
        for slot in frame.table
    )


def sizes_in(tables: Iterable[PackTable]) -> dict[ObjectId, int]:
    """The size of every object of which the tables hold the last part."""
    return {
        slot.object: frame.part * MAX_FRAME_RAW + slot.length
        for table in tables
        for frame in table.frames
        if frame.part == frame.parts - 1
        for slot in frame.table
    }


def sized(rows: Sequence[PackRow], sizes: Mapping[ObjectId, int]) -> list[PackRow]:
    """The same packs, each place with the size of its whole object, whose parts may lie in different packs."""
    return [
        row._replace(
            places=tuple(
                place if place.parts == 1 else place._replace(size=sizes.get(place.object, place.size))
                for place in row.places
            )
        )
        for row in rows
    ]


def _check(record: CommitRecord, tree: Mapping[str, Entry]) -> None:
    if digest(tree) != record.digest:
        raise RecordRefused(f"the changes of version {record.version} do not lead to its digest")
