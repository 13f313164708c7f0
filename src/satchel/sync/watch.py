"""Keeping a folder in step: a sync whenever something changes here or in the cloud, until somebody stops it.

Two threads tell of changes, one of this folder's and one of the cloud's, and the loop decides when to sync: after a
moment of quiet, so that a burst of saves is one sync; at once when the machine woke up; and now and then in any case,
since a network drive or an overflowing queue may tell of nothing. What may pass (a server that restarts, no network, a
full disk) is waited for, longer each time and never at the same moment as everybody else; what only a person can mend
ends the watch.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple, Protocol

from satchel.errors import (
    Busy,
    Conflict,
    LimitReached,
    SatchelError,
    ServerFailed,
    Unavailable,
)
from satchel.sync.lastlook import ManyDeletions
from satchel.sync.report import SyncReport
from satchel.worktree.ignore import NEVER

QUIET_SECONDS = 0.3
"""Without another change: an editor writes a file in several steps."""
MOST_SECONDS = 5.0
"""Longest wait for that, while somebody writes on and on."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
"""After a failure, and after many."""
LOOK_SECONDS, DEAF_SECONDS = 300.0, 30.0
"""A sync comes this often whatever is heard; the second while nothing can be heard of one side."""
SLICE_SECONDS = 2.0
"""How often the clocks are compared, to notice that the machine slept."""
SLEPT_SECONDS = 10.0


class Signal(Enum):
    """Why there may be something to do."""

    LOCAL = "local"
    REMOTE = "remote"
    WOKE = "woke"
    STOP = "stop"


class Told(NamedTuple):
    """What a hosted project tells whoever listens: ``head`` with a version, or ``end`` with a reason."""

    event: str
    version: int
    digest: str
    reason: str


class Listening(Protocol):
    """Where the cloud's events come from."""

    def events(self, project: str) -> Iterator[Told]:
        """What is told, as it comes. Raises ``ServerAway`` when the connection is gone, and what the server says."""
        ...


class Waiting(NamedTuple):
    """A failure that may pass, and when it is tried again."""

    error: SatchelError
    seconds: float


class Watch:
    """One folder and its hosted twin. ``run`` in one thread; ``signal`` from any."""

    def __init__(
        self,
        sync: Callable[[], SyncReport],
        *,
        synced: Callable[[SyncReport], None],
        waiting: Callable[[Waiting], None],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``sync`` does one; ``synced`` and ``waiting`` are told of what came of it. ``chance`` is from 0 to 1."""
        self._sync, self._synced, self._waiting = sync, synced, waiting
        self._monotonic, self._wall, self._chance = monotonic, wall, chance
        self._signals: queue.SimpleQueue[Signal] = queue.SimpleQueue()
        self._failures = 0
        self._mended_here = False
        self.head: tuple[int, str] = (-1, "")
        """Version and digest after the last sync: what is heard of it is no news."""
        self.deaf: set[str] = set()
        """Sides that nothing is heard of at the moment."""

    def signal(self, signal: Signal) -> None:
        """Say that there may be something to do, or that it is time to stop."""
        self._signals.put(signal)

    @property
    def failing(self) -> bool:
        """Whether the last sync came to nothing, and is to be tried again."""
        return self._failures > 0

    def run(self) -> None:
        """Sync until stopped. Raises what only a person can mend."""
        while True:
            pause = self._once()
            signal = self._wait(pause)
            if signal is Signal.LOCAL:
                signal = self._settle()
            if signal is Signal.STOP:
                return

    def _once(self) -> float:
        """One sync; how long to wait at most before the next."""
        try:
            report = self._sync()
        except SatchelError as error:
            if not passes(error):
                raise
            self._failures += 1
            self._mended_here = isinstance(error, ManyDeletions)
            seconds = self.pause(error)
            self._waiting(Waiting(error, seconds))
            return seconds
        self._failures = 0
        self.head = (report.version, report.digest)
        self._synced(report)
        if report.unsettled:
            return FIRST_PAUSE_SECONDS
        return (DEAF_SECONDS if self.deaf else LOOK_SECONDS) * (0.8 + self._chance() * 0.4)

    def pause(self, error: SatchelError) -> float:
        """How long to wait after a failure; as long as the server asks for, if that is longer."""
        if isinstance(error, Busy):
            return FIRST_PAUSE_SECONDS
        grown = backoff(self._failures, self._chance())
        said = str(error.facts.get("retry_after", ""))
        return max(grown, float(said)) if said.isascii() and said.isdecimal() and len(said) <= 5 else grown

    def _wait(self, seconds: float) -> Signal | None:
        """The next signal, or ``None`` when the time is over."""
        until = self._monotonic() + seconds
        while (left := until - self._monotonic()) > 0:
            before = self._wall() - self._monotonic()
            try:
                signal = self._signals.get(timeout=min(left, SLICE_SECONDS))
            except queue.Empty:
                signal = None
            if signal is not Signal.STOP and abs(self._wall() - self._monotonic() - before) > SLEPT_SECONDS:
                return Signal.WOKE
            # A failure is not hurried by what changes here, unless that is its cause, but by hearing the server again.
            idle = self.failing and signal is Signal.LOCAL and not self._mended_here
            if signal is not None and not idle:
                return signal
        return None

    def _settle(self) -> Signal:
        """Wait for quiet after a change here."""
        until = self._monotonic() + MOST_SECONDS
        while (left := until - self._monotonic()) > 0:
            try:
                if self._signals.get(timeout=min(left, QUIET_SECONDS)) is Signal.STOP:
                    return Signal.STOP
            except queue.Empty:
                break
        return Signal.LOCAL


def passes(error: SatchelError) -> bool:
    """Whether trying again later may help, without anybody doing anything."""
    return isinstance(error, (Unavailable, LimitReached, Conflict, ServerFailed))


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after that many failures in a row: doubled each time, and never the same for two clients."""
    grown: float = FIRST_PAUSE_SECONDS * 2.0 ** min(max(failures - 1, 0), 10)
    return min(grown, LONGEST_PAUSE_SECONDS) * (0.5 + chance)


# What tells of changes ---------------------------------------------------------------------------------------------


def hear_cloud(
    watch: Watch, server: Listening, project: str, stopped: threading.Event, chance: Callable[[], float] = random.random
) -> None:
    """Tell ``watch`` of new versions, connecting again and again until stopped."""
    failures = 0
    while not stopped.is_set():
        watch.deaf.add("cloud")
        try:
            for told in server.events(project):
                failures = 0
                watch.deaf.discard("cloud")
                if told.event == "head" and (watch.failing or (told.version, told.digest) != watch.head):
                    watch.signal(Signal.REMOTE)
                elif told.event == "end":
                    break
        except SatchelError:
            pass  # the next sync says what is wrong
        failures += 1
        stopped.wait(backoff(failures, chance()))


def hear_folder(watch: Watch, root: Path, stopped: threading.Event) -> None:
    """Tell ``watch`` of changes below ``root``; where the system cannot, syncs come more often instead.

    Another folder that is put in its place, from a copy say, is listened to instead: the system goes on telling of the
    one that was moved away.
    """
    try:
        while True:
            heard, first = _which(root), True
            for changes in _changes(root, stopped):
                if changes or first:  # what changed before anybody listened, too
                    watch.signal(Signal.LOCAL)
                first = False
                if _which(root) != heard:
                    break
            else:
                return
    except (OSError, RuntimeError):  # too many folders to be watched, or a filesystem that tells nothing
        watch.deaf.add("folder")


def _which(folder: Path) -> tuple[int, int]:
    """Tells this folder from another in its place."""
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _changes(root: Path, stopped: threading.Event) -> Iterable[Collection[object]]:
    from watchfiles import watch  # takes asyncio along, which a single sync does without

    start = len(str(root)) + 1

    def counts(_change: object, path: str) -> bool:
        return path[start:].split("/", 1)[0] not in NEVER

    return watch(
        root,
        watch_filter=counts,
        stop_event=stopped,
        debounce=50,
        step=20,
        rust_timeout=1_000,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )
