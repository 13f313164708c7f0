"""Defects of durability, planted in a process of its own to see that the tests of crashes find them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from satchel.catalog import sqlite
from satchel.objects.listing import Entry
from satchel.store import durable_local
from satchel.sync import pull, push
from satchel.sync.push import Outgoing
from satchel.worktree import durable, materialise, undo
from satchel.worktree.base import Base, save_base
from satchel.worktree.materialise import Materialiser, Staged
from tests.faults.scenes import Acking

_patch = pytest.MonkeyPatch()


class _Forgetful:
    """``os`` for a module that is not to sync anything."""

    def __getattr__(self, name: str) -> Any:
        return (lambda _fd: None) if name == "fsync" else getattr(os, name)


def without_sync(module: object) -> Callable[[], None]:
    return lambda: _patch.setattr(module, "os", _Forgetful())


def folders_not_synced() -> None:
    _patch.setattr(Materialiser, "finish", lambda _self: None)


def edits_not_synced() -> None:
    """What a person saved and a sync sent is in the base, and perhaps not on the disk."""
    _patch.setattr("satchel.sync.attempts.flush_news", lambda *_given: None)


def catalog_not_synced() -> None:
    _patch.setattr(sqlite, "_BOTH", ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF"))


def written_in_place() -> None:
    """A file under its name, half first."""

    def place(self: Materialiser, path: str, content: Staged, expect: Entry | None) -> None:
        self._check(path, expect)
        target, half = self._root / path, len(content.data) // 2
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb", buffering=0) as file:
            file.write(content.data[:half])
            file.write(content.data[half:])

    _patch.setattr(Materialiser, "place", place)


def named_before_written() -> None:
    """An object of the store has its name before its bytes."""

    def put(self: durable_local.LocalStore, name: str, data: bytes, create: bool) -> None:
        target = self._root / name
        self._make_durable(target.parent)
        durable_local.write_durably(target, b"")
        with target.open("r+b", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        durable_local.sync_directory(target.parent)

    _patch.setattr(durable_local.LocalStore, "_put", put)


def not_kept_for_undo() -> None:
    _patch.setattr(undo.UndoStore, "keep", lambda *_given: None)


def base_before_files() -> None:
    """The folder is noted to be in step before it is."""
    write = pull.write

    def early(
        root: Path, peer: Any, project: str, steps: Any, local: Any, cloud: pull.Cloud, *given: Any, **named: Any
    ) -> Any:
        save_base(root, Base(*cloud.head, cloud.entries, {}))
        return write(root, peer, project, steps, local, cloud, *given, **named)

    _patch.setattr(pull, "write", early)


def acknowledged_before_the_commit() -> None:
    """Who sends hears that all is well as soon as it is sent."""
    told: list[Outgoing] = []
    body, sync = push.body, Acking.sync

    def noted(outgoing: Outgoing, *given: Any, **named: Any) -> Any:
        told.append(outgoing)
        return body(outgoing, *given, **named)

    def early(self: Acking, *given: Any, **named: Any) -> Any:
        with self.acks.open("a") as file:
            file.write(f"{told[-1].parent.version + 1} {told[-1].digest}\n")
        return sync(self, *given, **named)

    _patch.setattr("satchel.sync.attempts.body", noted)
    _patch.setattr(Acking, "sync", early)


DEFECTS: dict[str, Callable[[], None]] = {
    "pulled bytes not synced": without_sync(materialise),
    "undo store not synced": without_sync(undo),
    "base and records not synced": without_sync(durable),
    "objects not synced": without_sync(durable_local),
    "folders not synced": folders_not_synced,
    "edits not synced": edits_not_synced,
    "catalog not synced": catalog_not_synced,
    "written in place": written_in_place,
    "named before written": named_before_written,
    "not kept for undo": not_kept_for_undo,
    "base before files": base_before_files,
    "acknowledged before the commit": acknowledged_before_the_commit,
}


def plant(name: str) -> None:
    DEFECTS[name]()
