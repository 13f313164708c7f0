"""The commit record: all that is needed to apply one commit again, so that a project can be rebuilt from the bucket.

It is written, sealed, before the catalog commits, and believed only once ``heads/<lineage>/<version>`` names it. The
encoding is canonical JSON inside one zstd frame; ``docs/spec/objects.md`` has the fields. The hash that a child keeps
of its parent is taken over the encoded bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, NamedTuple, NoReturn

from satchel.errors import Damaged, FrameRefused
from satchel.objects import zstd
from satchel.objects.frame import Slot, check_table, content_size
from satchel.objects.ids import Digest, FrameId, Lineage, ObjectId, is_hex_id
from satchel.objects.listing import MODES

FULL_LISTING_EVERY = 64
"""A commit whose version is a multiple of this carries the whole listing, so that a rebuild may start there."""
MAX_RECORD_BYTES = 256 << 20
"""Most bytes of JSON: 100,000 changes and a listing of 100,000 files with paths of 1,024 bytes."""
_AT_ONCE = 1_000
"""Rows that are encoded together: a commit may have 100,000, and each step holds its rows once more."""
_FORMAT = "satchel-record 1"
_TABLES_FORMAT = "satchel-tables 1"
_PURGE_FORMAT = "satchel-purge 1"


class RecordRefused(Damaged):
    code = "record.refused"
    default_hint = "The commit record is not what was written: restore it from a copy."


class Parent(NamedTuple):
    """The commit before this one: its record id, and ``record_hash`` of its encoded record."""

    id: str
    hash: str


class Change(NamedTuple):
    """What a commit does to one path; ``object`` is ``None`` where it deletes."""

    path: str
    mode: str | None
    object: ObjectId | None
    size: int = 0
    kind: str = ""
    title: str = ""


class FrameAt(NamedTuple):
    """A sealed frame at rest: where it lies in its pack, and which objects lie where in its content."""

    id: FrameId
    offset: int
    length: int
    part: int
    parts: int
    table: tuple[Slot, ...]


class PackTable(NamedTuple):
    """A pack that this commit brought: its random name, its size, its frames by offset."""

    name: str
    size: int
    frames: tuple[FrameAt, ...]


class Purge(NamedTuple):
    """Objects that were removed for good, the paths they were asked to be removed from, and when (milliseconds UTC)."""

    objects: tuple[ObjectId, ...]
    paths: tuple[str, ...]
    time: int


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """One commit. ``time`` is milliseconds UTC; ``listing`` is the canonical listing, in every 64th record."""

    id: str
    parent: Parent | None
    lineage: Lineage
    version: int
    digest: Digest
    changes: tuple[Change, ...]
    packs: tuple[PackTable, ...]
    author_id: str
    author: str
    time: int
    listing: str | None = None


def encode_record(record: CommitRecord) -> bytes:
    """The bytes of a record, before sealing. The same record gives the same JSON on every machine."""
    fields: dict[str, object] = {
        "format": _FORMAT,
        "id": record.id,
        "parent": None if record.parent is None else list(record.parent),
        "lineage": record.lineage,
        "version": record.version,
        "digest": record.digest,
        "changes": map(_change_fields, record.changes),
        "packs": map(_pack_fields, record.packs),
        "author": [record.author_id, record.author],
        "time": record.time,
        "listing": record.listing,
    }
    return _compressed(fields)


def encode_tables(tables: Sequence[PackTable]) -> bytes:
    """The bytes, before sealing, of tables of packs to which content was moved, outside any commit."""
    return _compressed({"format": _TABLES_FORMAT, "packs": map(_pack_fields, tables)})


def decode_tables(encoded: bytes) -> tuple[PackTable, ...]:
    """Read tables back. Raises ``RecordRefused`` for anything ``encode_tables`` would not have written."""
    fields = _json(encoded)
    if not isinstance(fields, dict) or set(fields) != {"format", "packs"} or fields["format"] != _TABLES_FORMAT:
        _refuse("its fields are not those of this format")
    return tuple(_pack(item) for item in _list(fields["packs"]))


def encode_purge(purge: Purge) -> bytes:
    """The bytes, before sealing, of a purge."""
    fields = {"format": _PURGE_FORMAT, "objects": purge.objects, "paths": purge.paths, "time": purge.time}
    return _compressed(fields)


def decode_purge(encoded: bytes) -> Purge:
    """Read a purge back. Raises ``RecordRefused`` for anything ``encode_purge`` would not have written."""
    fields = _json(encoded)
    known = {"format", "objects", "paths", "time"}
    if not isinstance(fields, dict) or set(fields) != known or fields["format"] != _PURGE_FORMAT:
        _refuse("its fields are not those of this format")
    objects = tuple(ObjectId(_hex(name)) for name in _list(fields["objects"]))
    return Purge(objects, tuple(_text(path) for path in _list(fields["paths"])), _count(fields["time"]))


def record_hash(encoded: bytes) -> str:
    """What the next record keeps of this one: SHA-256 of the encoded bytes, in lowercase hex."""
    return hashlib.sha256(encoded).hexdigest()


def decode_record(encoded: bytes) -> CommitRecord:
    """Read a record back. Raises ``RecordRefused`` for anything ``encode_record`` would not have written."""
    fields = _json(encoded)
    expected = {
        "format",
        "id",
        "parent",
        "lineage",
        "version",
        "digest",
        "changes",
        "packs",
        "author",
        "time",
        "listing",
    }
    if not isinstance(fields, dict) or set(fields) != expected or fields["format"] != _FORMAT:
        _refuse("its fields are not those of this format")
    parent, author = fields["parent"], _list(fields["author"], 2)
    return CommitRecord(
        id=_text(fields["id"]),
        parent=None if parent is None else Parent(_text(_list(parent, 2)[0]), _hex(parent[1])),
        lineage=Lineage(_text(fields["lineage"])),
        version=_count(fields["version"]),
        digest=Digest(_hex(fields["digest"])),
        changes=tuple(_change(item) for item in _list(fields["changes"])),
        packs=tuple(_pack(item) for item in _list(fields["packs"])),
        author_id=_text(author[0]),
        author=_text(author[1]),
        time=_count(fields["time"]),
        listing=None if fields["listing"] is None else _text(fields["listing"]),
    )


def _change_fields(change: Change) -> list[object]:
    return [change.path] if change.object is None else list(change)


def _pack_fields(pack: PackTable) -> list[object]:
    return [pack.name, pack.size, [_frame_fields(frame) for frame in pack.frames]]


def _frame_fields(frame: FrameAt) -> list[object]:
    table = [[slot.object, slot.length] for slot in frame.table]  # offsets follow: the table tiles
    return [frame.id, frame.offset, frame.length, frame.part, frame.parts, table]


def _json(encoded: bytes) -> Any:
    try:
        size = content_size(encoded)
        if size > MAX_RECORD_BYTES:
            _refuse(f"it is over {MAX_RECORD_BYTES:,} bytes")
        decompressor = zstd.ZstdDecompressor()
        text = decompressor.decompress(encoded, max_length=size + 1)
        if len(text) != size or not decompressor.eof or decompressor.unused_data:
            _refuse("it is not exactly one zstd frame")
        fields = json.loads(text)
        if _canonical(fields) != text:
            _refuse("its JSON is not canonical")
        return fields
    except (FrameRefused, zstd.ZstdError, ValueError, RecursionError) as error:
        raise RecordRefused("the commit record does not decode") from error


def _compressed(fields: dict[str, object]) -> bytes:
    """``_canonical`` in one zstd frame; lists that come as ``map`` are never there as a whole."""
    pieces = [piece for name in sorted(fields) for piece in _pieces(name, fields[name])]
    pieces[0] = b"{" + pieces[0][1:]
    pieces.append(b"}")
    compressor = zstd.ZstdCompressor()
    compressor.set_pledged_input_size(sum(map(len, pieces)))
    return b"".join([*map(compressor.compress, pieces), compressor.flush()])


def _pieces(name: str, value: object) -> Iterator[bytes]:
    """A field of an object, with a comma before it."""
    yield b"," + _canonical(name) + b":"
    if not isinstance(value, map):
        yield _canonical(value)
        return
    before, at_once = b"[", 1 if name == "packs" else _AT_ONCE  # a pack has a row for each of its objects
    while some := list(islice(value, at_once)):
        yield before + _canonical(some)[1:-1]
        before = b","
    yield b"[]" if before == b"[" else b"]"


def _canonical(fields: object) -> bytes:
    """The one encoding of ``fields``: what is read back may differ from it in no byte, so no key can stand twice."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _change(item: object) -> Change:
    if type(item) is list and len(item) == len(Change._fields):  # one look for all that is right: there may be 100,000
        path, mode, name, size, kind, title = item
        if mode in MODES and type(size) is int and size >= 0 and type(path) is type(kind) is type(title) is str:
            _hex(name)
            return Change._make(item)
    fields = _list(item)
    if len(fields) == 1:
        return Change(_text(fields[0]), None, None)
    path, mode, name, size, kind, title = _list(fields, 6)
    if mode not in MODES:
        _refuse("a mode is unknown")
    return Change(_text(path), mode, ObjectId(_hex(name)), _count(size), _text(kind), _text(title))


def _pack(item: object) -> PackTable:
    name, size, listed = _list(item, 3)
    frames = tuple(_frame(frame) for frame in _list(listed))
    at = 0
    for frame in frames:
        if frame.offset != at:
            _refuse("the frames of a pack do not tile it")
        at += frame.length
    if at != _count(size):
        _refuse("the frames of a pack do not tile it")
    return PackTable(_text(name), size, frames)


def _frame(item: object) -> FrameAt:
    name, offset, length, part, parts, table = _list(item, 6)
    rows = _list(table)
    lengths = [_count(_list(row, 2)[1]) for row in rows]
    starts = accumulate(lengths, initial=0)
    slots = tuple(map(Slot._make, zip([_hex(row[0]) for row in rows], starts, lengths, strict=False)))
    try:
        check_table(slots, _count(part), _count(parts))
    except FrameRefused as error:
        raise RecordRefused(f"a frame of the commit record is refused: {error.message}") from error
    return FrameAt(FrameId(_hex(name)), _count(offset), _count(length), part, parts, slots)


def _list(value: object, length: int | None = None) -> list[Any]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        _refuse("a list is malformed")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("a text is malformed")
    return value


def _hex(value: object) -> str:
    if not isinstance(value, str) or not is_hex_id(value):
        _refuse("a hash is malformed")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:  # bool is an int too
        _refuse("a number is malformed")
    return value


def _refuse(why: str) -> NoReturn:
    raise RecordRefused(f"the commit record is refused: {why}")
