"""The system calls of a scene that change something on its disk, in their order: where it can be killed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CHANGING = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "ftruncate",
    "openat",
)
READING = ("read", "pread64", "getdents64")
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+|\?)")


class Call(NamedTuple):
    """The ``nth`` call of that name, and what it is about."""

    name: str
    nth: int
    about: str
    server: bool

    def __str__(self) -> str:
        return f"{self.name}-{self.nth}"


def changing(log: Path, where: Path) -> list[Call]:
    """Those that changed something below ``where``: killed at one of them, a process leaves what all before it did."""
    return _thinned(
        call
        for call in _calls(log, where)
        if call.name not in READING and (call.name != "openat" or "O_CREAT" in call.about)
    )


def touching(log: Path, where: Path) -> list[Call]:
    """All those that had to do with something below ``where``."""
    return _thinned(_calls(log, where))


def _calls(log: Path, where: Path) -> Iterator[Call]:
    count: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, about, result = match.groups()
        count[name] += 1
        ours = any(own in about for own in (f"{where}/acks", f"{where}/hits"))  # what the scene itself writes
        if not result.startswith(("-", "?")) and str(where) in about and "-shm" not in about and not ours:
            yield Call(name, count[name], about, f"{where}/cloud" in about)


def _thinned(calls: Iterable[Call]) -> list[Call]:
    """Without all but the first and the last of reads or writes in a row of one file."""
    found: list[Call] = []
    for call in calls:
        if len(found) > 1 and all(_alike(call, before) for before in found[-2:]):
            found[-1] = call
        else:
            found.append(call)
    return found


def _alike(one: Call, other: Call) -> bool:
    same = (one.name, one.about.partition(">")[0]) == (other.name, other.about.partition(">")[0])
    return same and one.name in ("write", "pwrite64", "read", "pread64")
