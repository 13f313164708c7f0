"""What a push says and brings, told from what is to become of the cloud's tree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from satchel.objects.ids import Digest, ObjectId
from satchel.objects.listing import Entry, Tree
from satchel.sync.peer import Head
from satchel.sync.pull import Cloud
from satchel.sync.push import Content, FileMoved, Outgoing, body
from satchel.sync.report import SyncReport
from satchel.sync.session import Steps
from satchel.sync.wire import Parent, Sent
from satchel.worktree.former import Former
from satchel.worktree.walk import Scan


def outgoing_of(
    push: Mapping[str, Entry | None],
    theirs: Tree,
    after: Digest,
    head: Head,
    sizes: Mapping[str, int],
    resend: AbstractSet[ObjectId],
    moves: Mapping[str, str],
) -> Outgoing:
    """The commit that brings ``theirs`` to ``after``. What the cloud has is not sent, but for ``resend``."""
    there = {entry.object for entry in theirs.values()} - resend
    contents: dict[ObjectId, Content] = {}
    changes: list[Sent] = []
    for path, entry in sorted(push.items()):  # the same commit is the same stream, whatever it was planned from
        if entry is None:
            changes.append(Sent(path, None, 0))
            continue
        changes.append(Sent(path, entry, sizes[path]))
        if entry.object not in there:
            before = theirs.get(path) or theirs.get(moves.get(path, path))
            base = before.object if before is not None else None
            contents.setdefault(entry.object, Content(entry.object, path, sizes[path], base))
    return Outgoing(Parent(*head), after, changes, list(contents.values()))


def bases_of(outgoing: Outgoing) -> set[ObjectId]:
    """What its contents could be told as differences from."""
    return {content.base for content in outgoing.contents if content.base is not None}


def counted(stream: Iterable[bytes], report: SyncReport) -> Iterable[bytes]:
    """The same stream, adding to the report what was taken from it; a list stays one, to be sent twice."""
    if isinstance(stream, list):
        report.sent_bytes += sum(map(len, stream))
        return stream

    def counting() -> Iterator[bytes]:
        for piece in stream:
            report.sent_bytes += len(piece)
            yield piece

    return counting()


def expected(steps: Steps, cloud: Cloud, scan: Scan) -> dict[ObjectId, int]:
    """Bytes of what a dry run would write here, as far as they are known: 0 where they are not."""
    sizes = {entry.object: 0 for entry in steps.pull.values() if entry is not None}
    for tree, known in ((cloud.tree, cloud.sizes), (scan.tree, scan.sizes)):
        sizes |= {e.object: known[path] for path, e in tree.items() if e.object in sizes and path in known}
    return sizes


def weigh(report: SyncReport, outgoing: Outgoing, root: Path, steps: Steps, cloud: Cloud) -> None:
    """Tell of a dry run what would travel. Content that no file holds yet, and what is not known, is left out."""
    paths = {entry.object for entry in steps.pull.values() if entry is not None} - steps.contents.keys()
    sizes = {entry.object: cloud.sizes.get(path, 0) for path, entry in cloud.tree.items() if entry.object in paths}
    report.pulled_bytes = sum(sizes.values())
    if not steps.push:
        return
    made = steps.contents
    contents = [each for each in outgoing.contents if each.object not in made and each.path not in steps.moves]
    outgoing = replace(outgoing, contents=contents)
    former = Former(root)
    bases = former.read(bases_of(outgoing)) if former.taken(cloud.head.lineage) else {}
    report.requests, report.raw_bytes = 1, outgoing.raw_bytes
    with suppress(FileMoved):  # it is just being edited
        report.sent_bytes = sum(map(len, body(outgoing, root, former=bases).stream))
