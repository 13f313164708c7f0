"""Is what clients saw one line of history? A history of requests and answers, and the checker that judges it.

Everybody commits to one project whose tree is one file, and names a parent each time; others read the head meanwhile.
Times are of one clock on the machine that asks. The project is one register that only moves by compare-and-set, so it
is linearizable exactly if these hold (Herlihy and Wing 1990, for this one object):

- the versions accepted are 1, 2, 3 ... N, each once, and each was built on the one before it;
- what ended before something else began has the lower version;
- a read gives a version that was accepted, with its digest: none older than any seen or accepted before the read began,
  none that was proposed only after the read ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import NamedTuple

from satchel.objects.frame import make_frames
from satchel.objects.ids import Digest, Lineage, object_id
from satchel.objects.listing import Entry, digest
from satchel.objects.pack import encode_frame, encode_pack_end, encode_pack_start
from satchel.sync.wire import MEDIA_TYPE, Parent, Sent, encode_preamble
from tests.server.running import Answer, Client

PATH = "line.md"


class Event(NamedTuple):
    """One request that was answered. ``parent`` is None for a read."""

    began: float
    ended: float
    parent: int | None
    version: int
    digest: str


class History:
    """What many threads asked and heard."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refused = 0
        """Commits told that the head had moved."""
        self.failed = 0
        """Commits answered otherwise: nobody knows what became of them."""
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)

    def fail(self, *, refused: bool) -> None:
        with self._lock:
            self.refused += refused
            self.failed += not refused

    @property
    def commits(self) -> list[Event]:
        return sorted((event for event in self.events if event.parent is not None), key=lambda event: event.version)


def problems(history: Sequence[Event]) -> list[str]:
    """What shows that there was more than one line; nothing if there was one."""
    commits = [event for event in history if event.parent is not None]
    return [*_chain(commits), *_order(commits), *_reads(history, commits)]


def _chain(commits: Sequence[Event]) -> Iterator[str]:
    versions = sorted(event.version for event in commits)
    if versions != list(range(1, len(commits) + 1)):
        twice = sorted({version for version in versions if versions.count(version) > 1})
        missing = sorted(set(range(1, (versions or [0])[-1] + 1)) - set(versions))
        yield f"versions accepted twice: {twice[:5]}, never: {missing[:5]}"
    for event in commits:
        if event.parent != event.version - 1:
            yield f"version {event.version} was built on {event.parent}"


def _order(commits: Sequence[Event]) -> Iterator[str]:
    """By time of ending, whatever begins later has to be higher than all that ended."""
    for event, seen in _with_past(commits, commits):
        if event.version <= seen:
            yield f"version {event.version} was accepted after {seen} had been"


def _reads(history: Sequence[Event], commits: Sequence[Event]) -> Iterator[str]:
    of = {event.version: event for event in commits}
    reads = [event for event in history if event.parent is None]
    for event, seen in _with_past(reads, history):
        made = of.get(event.version)
        if event.version < seen:
            yield f"version {event.version} was read after {seen} had been seen"
        if made is not None and made.digest != event.digest:
            yield f"version {event.version} was read with another digest than it was committed with"
        if made is not None and made.began > event.ended:
            yield f"version {event.version} was read before anybody proposed it"
        if made is None and event.version:
            yield f"version {event.version} was read and never accepted"


def _with_past(events: Sequence[Event], past: Sequence[Event]) -> Iterator[tuple[Event, int]]:
    """Each event with the highest version of what had ended before it began; -1 for none."""
    ended = sorted(past, key=lambda event: event.ended)
    at, highest = 0, -1
    for event in sorted(events, key=lambda event: event.began):
        while at < len(ended) and ended[at].ended < event.began:
            highest = max(highest, ended[at].version)
            at += 1
        yield event, highest


def drive(project: str, askers: Sequence[Client], *, commits: int, writers: int, readers: int) -> History:
    """Let threads commit until so many were accepted, each going from client to client, while others read."""
    history, turns = History(), count()
    done = threading.Event()
    stop = threading.Semaphore(commits)

    def next_client() -> Client:
        return askers[next(turns) % len(askers)]

    def write(number: int) -> None:
        for serial in count():
            if not stop.acquire(blocking=False):
                return
            text = f"# Line\n\nWriter {number}, text {serial}\n".encode()
            while not _commit(next_client, project, text, history):
                assert history.failed <= commits, "the server fails on and on"

    def read(_: int) -> None:
        while not done.is_set():
            began = time.monotonic()
            found = next_client().get(f"/projects/{project}").ok()
            history.note(Event(began, time.monotonic(), None, found["version"], found["digest"]))

    with ThreadPoolExecutor(writers + readers) as pool:
        reading = [pool.submit(read, number) for number in range(readers)]
        for writing in [pool.submit(write, number) for number in range(writers)]:
            try:
                writing.result()
            except BaseException:
                done.set()
                raise
        done.set()
        for each in reading:
            each.result()
    return history


def _commit(next_client: Callable[[], Client], project: str, text: bytes, history: History) -> bool:
    """Commit on top of the head as read; False if it was not accepted."""
    began = time.monotonic()
    found = next_client().get(f"/projects/{project}").ok()
    history.note(Event(began, time.monotonic(), None, found["version"], found["digest"]))
    parent = Parent(Lineage(found["lineage"]), found["version"], Digest(found["digest"]))
    began = time.monotonic()
    answer, after = commit(next_client(), project, parent, text)
    ended = time.monotonic()
    if answer.status != 200:
        history.fail(refused=answer.code == "sync.head_moved")
        return False
    history.note(Event(began, ended, parent.version, answer.ok()["version"], after))
    return True


def commit(client: Client, project: str, parent: Parent, text: bytes) -> tuple[Answer, str]:
    """One whole sync of one file; the answer, and the digest it leads to."""
    entry = Entry("100644", object_id(text))
    after = digest({PATH: entry})
    body = b"".join([*encode_preamble(parent, after, [Sent(PATH, entry, len(text))]), *pack(text)])
    return client.send("POST", f"/projects/{project}/sync", body, declared(body)), after


def pack(text: bytes) -> Iterator[bytes]:
    """A pack with one object, in pieces."""
    frames = list(make_frames([(object_id(text), text)]))
    yield encode_pack_start()
    yield from (encode_frame(frame) for frame in frames)
    yield encode_pack_end(len(frames))


def declared(body: bytes) -> dict[str, str]:
    """The headers of a stream of content."""
    return {"content-type": MEDIA_TYPE, "satchel-declared-bytes": str(len(body))}
