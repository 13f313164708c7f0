"""The records of conflicts and merges on disk, in ``.satchel/conflicts``: made durable before the folder is touched.

A record is written as ``<name>.new`` and renamed to ``<name>`` once its file stands in the folder; ``<name>`` is the
SHA-256 of the path. Deleting a record loses no file: the next sync then merges afresh.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from satchel.errors import SatchelError
from satchel.objects.listing import Tree
from satchel.sync.record import NO_SIDES, Record, Remembered, Sides, decode, encode, judge
from satchel.worktree import beneath, durable
from satchel.worktree.find import local_dir

_NEW = ".new"


class Found(NamedTuple):
    """All records: of files that stand in the folder, and of files that a run began to write."""

    placed: dict[str, Record]
    begun: dict[str, Record]

    def judged(self, base: Tree | None, local: Tree) -> Remembered:
        return judge(self.placed, self.begun, base, local)


class ConflictStore:
    """One writer at a time: it holds the folder's lock. Writing raises ``DiskFull`` or ``FolderUnwritable``."""

    def __init__(self, root: Path) -> None:
        self._folder = local_dir(root) / "conflicts"

    def load(self) -> Found:
        """Every whole record."""
        found = Found({}, {})
        try:
            names = sorted(os.listdir(self._folder)) if not self._folder.is_symlink() else []
        except OSError:
            return found
        for name in names:
            read = self._read(self._folder / name)
            if read is not None and name.removesuffix(_NEW) == _name(read[0].path):
                (found.begun if name.endswith(_NEW) else found.placed)[read[0].path] = read[0]
        return found

    def sides(self, path: str, record: Record | None = None) -> Sides:
        """The contents that met in a conflict, as far as they are kept: in the one that ``record`` tells of, if given.

        A run that was cut off after it wrote the file left its record as one that was begun.
        """
        for name in (_name(path), _name(path) + _NEW):
            read = self._read(self._folder / name)
            if read is not None and record in (None, read[0]):
                return read[1]
        return Sides()

    def begin(self, record: Record, sides: Sides = NO_SIDES) -> None:
        """Remember what is about to be written."""
        if self._folder.is_symlink():  # it may have come with the folder
            raise durable.FolderUnwritable(f"{self._folder} is a symbolic link", hint="Remove the link, and try again.")
        durable.replace(self._folder / (_name(record.path) + _NEW), encode(record, sides), permissions=0o600)

    def placed(self, paths: Iterable[str]) -> None:
        """Their files stand in the folder."""
        self._change([(_name(path) + _NEW, _name(path)) for path in paths])

    def drop(self, paths: Iterable[str]) -> None:
        """Forget them."""
        self._change([(_name(path) + end, None) for path in paths for end in ("", _NEW)])

    def _change(self, names: Iterable[tuple[str, str | None]]) -> None:
        changed = False
        try:
            for old, new in names:
                try:
                    if new is None:
                        (self._folder / old).unlink()
                    else:
                        (self._folder / old).rename(self._folder / new)
                    changed = True
                except FileNotFoundError:
                    continue
            if changed:
                durable.sync_folder(self._folder)
        except OSError as error:
            raise durable.refused(error, str(self._folder)) from error

    def _read(self, path: Path) -> tuple[Record, Sides] | None:
        try:
            return decode(beneath.read_own(path))
        except (OSError, SatchelError):
            return None


def _name(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()
