"""Files that look as if they held a credential, held back before anything of them is sent. The rest goes.

Only content that the cloud does not have is looked at, so a sync that sends nothing looks at nothing. What was found is
kept by object beside the base: a file that waits is not read again each time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from satchel.errors import InvalidInput, SatchelError
from satchel.objects.ids import ObjectId, is_hex_id
from satchel.objects.listing import Entry, Tree
from satchel.sync.push import read_object
from satchel.sync.reading import TOGETHER_BYTES, Findings, findings
from satchel.worktree import durable
from satchel.worktree.beneath import Beneath, read_own
from satchel.worktree.find import local_dir
from satchel.worktree.policy import Governing

MAX_ALLOWED = 50
"""Most files that one sync sends although they look so: each is named in the audit."""
MAX_ALLOWED_BYTES = 7_000
"""Of the header that names them to a server: proxies commonly take 8 KiB of one, and refuse more without a word."""
_MAX_KEPT = 10_000
_NAME = "secrets.json"


class SecretFound(NamedTuple):
    """Where something looks like a credential; never what it is."""

    path: str
    line: int
    kind: str


class Judged(NamedTuple):
    """What came of looking."""

    found: list[SecretFound]
    """In files that are held back."""
    allowed: tuple[str, ...]
    """Files that go all the same, because somebody said so."""


def judge(
    root: Path,
    push: Mapping[str, Entry | None],
    cloud: Tree,
    governing: Governing,
    contents: Mapping[ObjectId, bytes] | None = None,
    moves: Mapping[str, str] | None = None,
    looked: Findings | None = None,
) -> Judged:
    """Look into what is to be sent; ``contents`` is what of it is no file yet, ``moves`` has names files still go by.

    ``looked`` is what was found where somebody looked already.

    Raises ``InvalidInput`` where too many files at once are allowed all the same, and ``FileMoved`` for one that is not
    what it was any more: what would be judged in its place, and what would be sent, may be two things.
    """
    there = {entry.object for entry in cloud.values()}
    fresh = {path: entry.object for path, entry in push.items() if entry is not None and entry.object not in there}
    if not fresh:
        return Judged([], ())
    from satchel.sync.secrets import VERSION  # for a sync that sends something

    known, looked = _load(root, VERSION), looked or {}
    kept = {name: rows for name in fresh.values() if (rows := known.get(name) or looked.get(name))}
    unread = {path: name for path, name in fresh.items() if name not in known and name not in looked}
    for batch in _batches(root, unread, contents, moves):
        kept |= {name: rows for name, rows in findings(batch).items() if rows}
    found: list[SecretFound] = []
    allowed: list[str] = []
    for path, name in fresh.items() if kept else ():
        if name in kept and governing.allows_secrets(path):
            allowed.append(path)
        elif name in kept:
            found += [SecretFound(path, *finding) for finding in kept[name]]
    if kept != known:
        _save(root, VERSION, kept)
    if len(allowed) > MAX_ALLOWED or len(in_header(allowed)) > MAX_ALLOWED_BYTES:
        raise InvalidInput(
            f"{len(allowed):,} files look as if they held a credential and are allowed all the same; at most "
            f"{MAX_ALLOWED} can be at once, with {MAX_ALLOWED_BYTES:,} characters of paths in all",
            hint="Allow some of them and sync, then allow the others.",
        )
    return Judged(found, tuple(allowed))


def in_header(allowed: Sequence[str]) -> str:
    """Paths as ``Satchel-Secrets-Allowed`` names them."""
    return ",".join(quote(path, safe="/") for path in allowed)


def _batches(
    root: Path,
    wanted: Mapping[str, ObjectId],
    contents: Mapping[ObjectId, bytes] | None,
    moves: Mapping[str, str] | None,
) -> Iterator[list[tuple[ObjectId, bytes]]]:
    """What is to be looked at, some of it at a time."""
    batch: list[tuple[ObjectId, bytes]] = []
    held = 0
    with Beneath(root) as beneath:
        for path, name in wanted.items():
            data = (contents or {}).get(name) or read_object(beneath, (moves or {}).get(path, path), name)
            batch.append((name, data))
            held += len(data)
            if held >= TOGETHER_BYTES:
                yield batch
                batch, held = [], 0
    if batch:
        yield batch


def _load(root: Path, version: int) -> dict[ObjectId, list[tuple[int, str]]]:
    """What was found before; nothing where that cannot be read, or was found by other rules."""
    try:
        told = json.loads(read_own(local_dir(root) / _NAME))
        if told["version"] != version:
            return {}
        rows = [(name, [(int(line), str(kind)) for line, kind in found]) for name, found in told["objects"].items()]
        return {ObjectId(name): found for name, found in rows if is_hex_id(name) and found}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _save(root: Path, version: int, kept: Mapping[ObjectId, list[tuple[int, str]]]) -> None:
    rows = dict(list(kept.items())[:_MAX_KEPT])
    try:
        data = json.dumps({"version": version, "objects": rows}).encode()
        durable.replace(local_dir(root) / _NAME, data, permissions=0o600)
    except SatchelError:
        pass  # derived: it is found again
