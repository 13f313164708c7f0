"""What a folder was last in step with: two alternating fsynced files, so that one good generation always remains.

``.satchel/base-0`` and ``base-1`` hold the line ``satchel-base 1``, a line of JSON about the whole (generation,
lineage, version, digest, numbers of lines, SHA-256 of all after it), then a JSON array per path of the cloud's tree
``["path","mode","object",version,"author",time,"author kind"]`` and per path held back ``["path","mode","object"]`` or
``["path"]``.
Writing replaces the older of the two; reading takes the newest that is whole. Losing both loses no file: the folder is
then compared with an empty base, which never deletes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from satchel.objects.ids import Digest, Lineage, ObjectId, is_hex_id
from satchel.objects.listing import Entry, tree_of
from satchel.worktree import beneath, durable
from satchel.worktree.find import local_dir

_HEADER = b"satchel-base 1\n"
_SLOTS = ("base-0", "base-1")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_BOTH_LOST = (
    "Both records of the last sync are damaged. Nothing will be deleted on either side, "
    "but files deleted since the last sync may return."
)


class CloudEntry(NamedTuple):
    """A path as the hosted project had it at the base's version."""

    mode: str
    object: ObjectId
    version: int
    """The version that last changed it."""
    author: str
    time_ms: int
    author_kind: str | None = None
    """``person``, ``key`` or ``operator``; ``None`` where the server did not say, and in records of before."""


# Made without a call in Python, of the row of a path and of the rest of it: there is one for each file.
_PATH, _REST, _NAMED = itemgetter(0), itemgetter(slice(1, None)), itemgetter(0, 1)
_AT_ONCE = 2_000
"""Rows that are encoded together."""
_CLOUD_ENTRY: Callable[[list[Any]], CloudEntry] = partial(tuple.__new__, CloudEntry)


@dataclass(frozen=True, slots=True)
class Base:
    lineage: Lineage
    version: int
    digest: Digest
    """Of the hosted project at that version."""
    cloud: Mapping[str, CloudEntry]
    held: Mapping[str, Entry | None]
    """Paths in conflict, with the entry both sides came from: they wait for ``satchel resolve`` and are not in step."""
    lines: Sequence[bytes] = field(default=(), compare=False, repr=False)
    """Of ``cloud``, in its order, as they stood where it was read."""

    @property
    def tree(self) -> dict[str, Entry]:
        """What to compare both sides with: the cloud's tree, but for held paths what they were before the conflict."""
        tree = entries_of(self.cloud)
        for path, entry in self.held.items():
            if entry is None:
                tree.pop(path, None)
            else:
                tree[path] = entry
        return tree


def entries_of(cloud: Mapping[str, CloudEntry]) -> dict[str, Entry]:
    """The tree of what the cloud has."""
    return tree_of(cloud, map(_NAMED, cloud.values()))


class _Whole(NamedTuple):
    """A base file that is complete: its line about the whole, and the lines after it."""

    about: dict[str, Any]
    body: bytes


def load_base(root: Path) -> tuple[Base | None, list[str]]:
    """The newest whole base, and what a person should be told. ``None`` before any sync and when both are lost.

    Raises ``FolderUnreadable`` where one is there and the disk does not give it: it may be the newest, and with the one
    before it a sync would take what it did itself for what somebody did since.
    """
    return History(root).load()


def save_base(root: Path, base: Base, before: Base | None = None) -> None:
    """Make it the newest generation, durably; the old one stays where it cannot be written.

    What it has of ``before``, as that was loaded, is not encoded again.
    Raises ``DiskFull``, ``FolderUnwritable`` and, as ``load_base`` does, ``FolderUnreadable``.
    """
    found = _read_both(root)
    newest = _newest(found)
    slot = 1 - found.index(newest) if newest is not None else 0
    generation = newest.about["generation"] + 1 if newest is not None else 1
    body = _encode(base, before)
    about = {
        "generation": generation,
        "lineage": base.lineage,
        "version": base.version,
        "digest": base.digest,
        "paths": len(base.cloud),
        "held": len(base.held),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    head = json.dumps(about, separators=(",", ":")).encode() + b"\n"
    durable.replace(local_dir(root) / _SLOTS[slot], _HEADER + head + body)


def forget_base(root: Path) -> None:
    """Remove both generations, as going back to local-only does. Raises ``FolderUnwritable``."""
    try:
        for slot in _SLOTS:
            (local_dir(root) / slot).unlink(missing_ok=True)
        durable.sync_folder(local_dir(root))
    except OSError as error:
        raise durable.refused(error, str(local_dir(root))) from error


class History:
    """Who last changed a path, as the last sync knew it, without decoding the whole base: for the hits of a search."""

    def __init__(self, root: Path) -> None:
        self._root, self._trouble = root, None
        try:
            self._found = _read_both(root)
        except durable.FolderUnreadable as error:
            self._found, self._trouble = ["damaged"], error
        self._whole = _newest(self._found)
        self.plain = self._whole is not None and "damaged" not in self._found and not self._whole.about["held"]
        """Whether there is a base, nothing of it is damaged, and nothing is held."""

    def load(self) -> tuple[Base | None, list[str]]:
        """The whole base as it was read, as ``load_base`` gives it."""
        if self._trouble is not None:
            raise self._trouble
        if self._whole is None:
            return None, [_BOTH_LOST] if "damaged" in self._found else []
        notices = [
            f"{local_dir(self._root) / slot} is damaged: the other generation is used."
            for slot, whole in zip(_SLOTS, self._found, strict=True)
            if whole == "damaged"
        ]
        try:
            return _decode(self._whole), notices
        except (ValueError, TypeError, IndexError, RecursionError):  # whole, and yet none of ours
            return None, [_BOTH_LOST]

    @property
    def head(self) -> tuple[Lineage, int, Digest] | None:
        """The version of the hosted project it tells of."""
        about = self._whole.about if self._whole else None
        return (Lineage(about["lineage"]), int(about["version"]), Digest(about["digest"])) if about else None

    @property
    def lineage(self) -> Lineage | None:
        return Lineage(self._whole.about["lineage"]) if self._whole else None

    @property
    def version(self) -> int | None:
        return int(self._whole.about["version"]) if self._whole else None

    @property
    def digest(self) -> Digest | None:
        return Digest(self._whole.about["digest"]) if self._whole else None

    def objects(self) -> frozenset[str]:
        """The objects it names, at least, without decoding it."""
        found = re.findall(rb'"([0-9a-f]{64})"', self._whole.body) if self._whole else []
        return frozenset(name.decode() for name in found)

    def of(self, paths: Iterable[str]) -> dict[str, CloudEntry]:
        """The entries of those paths the cloud has. A file changed since has another object: compare before use."""
        found: dict[str, CloudEntry] = {}
        if self._whole is None:
            return found
        body = self._whole.body
        for path in paths:
            key = _dump([path])[:-1] + b","
            at = 0 if body.startswith(key) else body.find(b"\n" + key) + 1
            if at or body.startswith(key):
                row = json.loads(body[at : body.index(b"\n", at)])
                if len(row) in (6, 7):
                    found[path] = CloudEntry(*row[1:])
        return found


def history_of(root: Path, paths: Iterable[str]) -> dict[str, CloudEntry]:
    """``History(root).of(paths)``, for one question only."""
    return History(root).of(paths)


def _read_both(root: Path) -> list[_Whole | str | None]:
    """Per slot: whole, ``"damaged"``, or ``None`` where there is no file. Raises ``FolderUnreadable``."""
    found: list[_Whole | str | None] = []
    for slot in _SLOTS:
        try:
            data = beneath.read_own(local_dir(root) / slot)
        except FileNotFoundError:
            found.append(None)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.EINVAL):  # no file stands there, and the next sync writes one
                found.append("damaged")
                continue
            raise durable.unreadable(error, str(local_dir(root) / slot)) from error
        else:
            found.append(_open(data) or "damaged")
    return found


def _newest(found: list[_Whole | str | None]) -> _Whole | None:
    return max((whole for whole in found if isinstance(whole, _Whole)), key=_generation, default=None)


def _generation(whole: _Whole) -> int:
    generation: int = whole.about["generation"]
    return generation


def _open(data: bytes) -> _Whole | None:
    if not data.startswith(_HEADER):
        return None
    end = data.find(b"\n", len(_HEADER))
    body = data[end + 1 :]
    try:
        about = json.loads(data[len(_HEADER) : end])
        numbers = all(type(about[key]) is int for key in ("generation", "version", "paths", "held"))
        names = isinstance(about["lineage"], str) and is_hex_id(about["digest"])
        whole = about["sha256"] == hashlib.sha256(body).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if end < 0 or not (numbers and names and whole) or body.count(b"\n") != about["paths"] + about["held"]:
        return None
    return _Whole(about, body)


def _encode(base: Base, before: Base | None) -> bytes:
    had = before.cloud if before is not None else {}
    known = dict(zip(had, before.lines, strict=True)) if before is not None and before.lines else {}
    rows = sorted(base.cloud.items())
    fresh = iter(_dump_rows([[path, *entry] for path, entry in rows if path not in known or had[path] is not entry]))
    lines = [known[path] if path in known and had[path] is entry else next(fresh) for path, entry in rows]
    lines += _dump_rows([[path, *(entry or ())] for path, entry in sorted(base.held.items())])
    lines.append(b"")
    return b"\n".join(lines)


def _dump_rows(rows: list[list[Any]]) -> list[bytes]:
    lines: list[bytes] = []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        # All at once takes half as long as one after another; what parts them may be in a path too, and then it does
        # not. Some thousands, since each step holds all of it once more.
        whole = _dump(some)[1:-1]
        parted = whole.count(b"],[") == len(some) - 1
        lines += whole.replace(b"],[", b"]\n[").split(b"\n") if parted else [_dump(row) for row in some]
    return lines


def _decode(whole: _Whole) -> Base:
    about = whole.about
    lines = whole.body.splitlines()
    rows: list[list[Any]] = json.loads(b"[" + b",".join(lines) + b"]")
    told, held_rows = rows[: about["paths"]], rows[about["paths"] :]
    if all(len(row) == 1 + len(CloudEntry._fields) for row in told):
        cloud = dict(zip(map(_PATH, told), map(_CLOUD_ENTRY, map(_REST, told)), strict=True))
    else:  # of before authors had kinds
        cloud = {row[0]: CloudEntry(*row[1:]) for row in told}
    if not all(type(row[0]) is type(row[1]) is type(row[2]) is str for row in rows if len(row) > 1):
        raise ValueError("a path of the base is malformed")
    held = {row[0]: Entry._make(row[1:]) if len(row) > 1 else None for row in held_rows}
    known = lines[: len(told)] if len(cloud) == len(told) else ()
    return Base(Lineage(about["lineage"]), about["version"], Digest(about["digest"]), cloud, held, known)


def _dump(row: list[Any]) -> bytes:
    return _JSON.encode(row).encode()
