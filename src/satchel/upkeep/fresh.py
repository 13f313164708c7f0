"""A catalog made aside and put in its place when it is whole: one that was cut off leaves a file that nobody reads."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from satchel.catalog import recover
from satchel.errors import Refused
from satchel.store.durable_local import make_directory, sync_directory

_COMPANIONS = ("", "-wal", "-shm")


class CatalogInTheWay(Refused):
    code = "restore.in_the_way"
    default_hint = "Name an empty data directory, or set the old catalog aside with --replace once its server stopped."


@asynccontextmanager
async def fresh_catalog(target: Path, *, replace: bool) -> AsyncIterator[Path]:
    """Give a path to make a catalog at; when the block ends well and the catalog is closed, it becomes ``target``.

    With ``replace`` a catalog that is there is kept beside it, as ``catalog.db.replaced-1``, ``-2``... Raises
    ``CatalogInTheWay`` if there is one without ``replace``, or a process has it open.
    """
    check_way(target, replace=replace)
    make_directory(target.parent)
    making = target.with_name(f"{target.name}.making")
    _remove(making)
    try:
        yield making
        recover.in_use(making)  # ends its write-ahead log: the file alone is the catalog now
        _sync(making)
    except BaseException:
        _remove(making)
        raise
    check_way(target, replace=replace)
    if target.exists():  # noqa: ASYNC240
        _set_aside(target)
    os.replace(making, target)
    sync_directory(target.parent)


def check_way(target: Path, *, replace: bool) -> None:
    """Make sure that a catalog may be put at ``target``. Raises ``CatalogInTheWay``."""
    if not target.exists() or target.stat().st_size == 0:
        return
    if not replace:
        raise CatalogInTheWay(f"there is a catalog already: {target}")
    if recover.in_use(target):
        raise CatalogInTheWay(f"a server has the catalog {target} open", hint="Stop the server first.")


def _set_aside(target: Path) -> None:
    number = 1
    while (beside := target.with_name(f"{target.name}.replaced-{number}")).exists():
        number += 1
    for end in _COMPANIONS:
        part = target.with_name(target.name + end)
        if part.exists():
            os.replace(part, beside.with_name(beside.name + end))
    sync_directory(target.parent)  # kept before its name is given away


def _remove(catalog: Path) -> None:
    for end in _COMPANIONS:
        catalog.with_name(catalog.name + end).unlink(missing_ok=True)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
