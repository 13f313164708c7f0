"""What has to be remembered of a merge: a conflict that waits for a person, or a merge being written. Pure.

One file each (``docs/spec/sync.md``): the line ``satchel-conflict 1``, a line of JSON, then the contents of base,
folder and cloud as they were, one after another, as far as they are kept. It is made before the folder is touched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from satchel.objects.ids import is_hex_id
from satchel.objects.listing import MODES, Entry
from satchel.objects.paths import path_problem
from satchel.sync.plan import NEITHER

HEADER = b"satchel-conflict 1\n"
MAX_LINE_BYTES = 32 * 1024
"""The line of JSON: more than a handful of paths of 1,024 bytes can take."""
KINDS = ("lines", "beside", "merged")


class Sides(NamedTuple):
    """Three contents; ``None`` where there is none, or it is not kept."""

    base: bytes | None = None
    local: bytes | None = None
    cloud: bytes | None = None


class Record(NamedTuple):
    path: str
    kind: str
    """``lines``: shown between markers in the file; ``beside``: the cloud's file stands beside it; ``merged``: no
    conflict, but the base does not know of it yet."""
    base: Entry | None
    local: Entry | None
    cloud: Entry | None
    result: Entry
    """What was written: the file with markers, the file beside, or the merged file."""
    beside: str | None = None
    was: Mapping[str, Entry | None] = {}
    """Of a merge: what the base holds as long as it does not know of it, and ..."""
    then: Mapping[str, Entry | None] = {}
    """... what these paths have in common since ``result`` stands at ``path``."""
    reason: str = ""


class Remembered(NamedTuple):
    """The records of a folder, judged."""

    open: Mapping[str, Record]
    """Conflicts between markers: nothing is done about them until ``resolve``."""
    beside: Mapping[str, Record]
    """Files of the cloud that stand beside ours, by our path."""
    base: Mapping[str, Entry | None]
    """What the base is taken to hold instead: merges that a crash kept it from learning."""


NOTHING = Remembered({}, {}, {})
NO_SIDES = Sides()


def judge(
    placed: Mapping[str, Record],
    begun: Mapping[str, Record],
    base: Mapping[str, Entry] | None,
    local: Mapping[str, Entry],
) -> Remembered:
    """Which records still say something. ``begun`` ones were made by a run that may not have written its file.

    ``base`` is the saved one; ``None`` where it is lost.
    """
    waiting: dict[str, Record] = {}
    beside: dict[str, Record] = {}
    instead: dict[str, Entry | None] = {}
    for record, stands in [(one, True) for one in placed.values()] + [(one, False) for one in begun.values()]:
        path, mine = record.path, local.get(record.path)
        undone = base is not None and base.get(path) == NEITHER
        if record.kind == "merged":
            if mine == record.result and base is not None and all(base.get(p) == e for p, e in record.was.items()):
                instead |= record.then
        elif base is not None and base.get(path) != record.base and not undone:
            continue  # decided since
        elif record.kind == "beside":
            if stands or local.get(record.beside or "") == record.result:
                beside[path] = record
        elif stands or mine == record.result:
            waiting[path] = record  # else the markers were perhaps never written: merge afresh
    return Remembered(waiting, beside, instead)


def encode(record: Record, sides: Sides = NO_SIDES) -> bytes:
    """The bytes of its file."""
    contents = b"".join(side or b"" for side in sides)
    about = {
        "path": record.path,
        "kind": record.kind,
        "base": record.base,
        "local": record.local,
        "cloud": record.cloud,
        "result": record.result,
        "beside": record.beside,
        "was": record.was,
        "then": record.then,
        "reason": record.reason,
        "sizes": [None if side is None else len(side) for side in sides],
        "sha256": hashlib.sha256(contents).hexdigest(),
    }
    return HEADER + json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" + contents


def decode(data: bytes) -> tuple[Record, Sides] | None:
    """``None`` for what is not whole. It may have come with a folder of somebody else's: nothing in it is believed."""
    line, _, contents = data.removeprefix(HEADER).partition(b"\n")
    try:
        about = json.loads(line) if data.startswith(HEADER) else {}
        if about["kind"] not in KINDS or about["sha256"] != hashlib.sha256(contents).hexdigest():
            return None
        result = _entry(about["result"])
        if result is None:
            return None
        record = Record(
            _path(about["path"]),
            about["kind"],
            _entry(about["base"]),
            _entry(about["local"]),
            _entry(about["cloud"]),
            result,
            None if about["beside"] is None else _path(about["beside"]),
            {_path(path): _entry(row) for path, row in about["was"].items()},
            {_path(path): _entry(row) for path, row in about["then"].items()},
            str(about["reason"])[:200],
        )
        return record, _sides(about["sizes"], contents)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _sides(sizes: Any, contents: bytes) -> Sides:
    found: list[bytes | None] = []
    at = 0
    for size in sizes:
        if size is not None and (type(size) is not int or size < 0):
            raise ValueError("no size")
        found.append(None if size is None else contents[at : at + size])
        at += size or 0
    if at != len(contents):
        raise ValueError("not whole")
    return Sides(*found)


def _path(value: Any) -> str:
    if not isinstance(value, str) or path_problem(value) is not None:
        raise ValueError("no path")
    return value


def _entry(row: Any) -> Entry | None:
    if row is None:
        return None
    mode, name = row
    if mode not in MODES or not is_hex_id(name):
        raise ValueError("no entry")
    return Entry(mode, name)
