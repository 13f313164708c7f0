from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import (
    Busy,
    ConfigInvalid,
    CredentialInvalid,
    DiskFull,
    HeadMoved,
    QuotaReached,
    SatchelError,
    ServerAway,
    ServerLied,
    TooManyRequests,
)
from satchel.remote.events import MAX_LINE_BYTES, told_in
from satchel.sync import watch as watching
from satchel.sync.choices import Direction
from satchel.sync.lastlook import ManyDeletions
from satchel.sync.report import SyncReport
from satchel.sync.watch import Signal, Told, Waiting, Watch, backoff, hear_cloud, hear_folder, passes


class Clock:
    """A monotonic clock and a wall clock; each time somebody looks it is a little later."""

    def __init__(self) -> None:
        self.now, self.ahead = 1_000.0, 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    def wall(self) -> float:
        return self.now + self.ahead


def watch_of(syncs: list[SatchelError | None], clock: Clock | None = None) -> tuple[Watch, list[Any]]:
    """A watch whose syncs come to these, and then stop it; what it said."""
    said: list[Any] = []
    clock = clock or Clock()

    def sync() -> SyncReport:
        result = syncs.pop(0)
        if not syncs:
            one.signal(Signal.STOP)
        if result is not None:
            raise result
        return SyncReport(Direction.BOTH, version=7, digest="d")

    one = Watch(
        sync, synced=said.append, waiting=said.append, monotonic=clock.monotonic, wall=clock.wall, chance=lambda: 0.5
    )
    return one, said


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "QUIET_SECONDS", 0.02)
    monkeypatch.setattr(watching, "SLICE_SECONDS", 0.005)
    monkeypatch.setattr(watching, "FIRST_PAUSE_SECONDS", 0.02)


def test_a_burst_of_changes_is_one_sync() -> None:
    one, said = watch_of([None, None])
    for _ in range(50):
        one.signal(Signal.LOCAL)
    one.run()
    assert len(said) == 2
    assert one.head == (7, "d")


@pytest.mark.parametrize(
    "error", [ServerAway("a"), DiskFull("d"), QuotaReached("q"), HeadMoved("h"), Busy("b"), TooManyRequests("t")]
)
def test_what_may_pass_is_waited_for(error: SatchelError) -> None:
    one, said = watch_of([error, error, None])
    one.run()
    assert [item.error for item in said[:2]] == [error, error]
    assert isinstance(said[2], SyncReport)


@pytest.mark.parametrize("error", [CredentialInvalid("c"), ServerLied("l"), ConfigInvalid("c")])
def test_what_only_a_person_can_mend_ends_it(error: SatchelError) -> None:
    assert not passes(error)
    one, _ = watch_of([None, error])
    one.signal(Signal.REMOTE)
    with pytest.raises(type(error)):
        one.run()


def test_pauses_grow_and_are_never_the_same_for_two_and_the_server_may_ask_for_longer() -> None:
    assert [backoff(n, 0.5) for n in (1, 2, 3)] == [0.02, 0.04, 0.08]
    assert backoff(1, 0.0) != backoff(1, 0.9)
    assert backoff(1_000_000, 1.0) <= 1.5 * watching.LONGEST_PAUSE_SECONDS
    one, _ = watch_of([None])
    assert one.pause(TooManyRequests("t", retry_after="300")) == 300
    assert one.pause(TooManyRequests("t", retry_after="soon")) < 1


def test_a_change_does_not_hurry_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_PAUSE_SECONDS", 0.05)
    clock = Clock()
    one, said = watch_of([ServerAway("away"), None], clock)
    began = clock.now
    one.signal(Signal.LOCAL)
    one.run()
    assert clock.now - began >= 0.05
    assert isinstance(said[0], Waiting)


def test_files_that_are_back_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_PAUSE_SECONDS", 1_000.0)
    monkeypatch.setattr(watching, "LONGEST_PAUSE_SECONDS", 1_000.0)
    clock = Clock()
    one, said = watch_of([ManyDeletions.counted(31, 40), None], clock)
    began = clock.now
    one.signal(Signal.LOCAL)
    one.run()
    assert clock.now - began < 500
    assert isinstance(said[0], Waiting)


def test_a_machine_that_slept_syncs_at_once() -> None:
    clock = Clock()
    one, said = watch_of([None, None], clock)
    timer = threading.Timer(0.05, lambda: setattr(clock, "ahead", 86_400.0))
    timer.start()
    one.run()
    timer.join()
    assert len(said) == 2


def test_a_word_to_stop_counts_on_a_machine_that_just_woke_up() -> None:
    clock, ahead = Clock(), iter([0.0])
    clock.wall = lambda: clock.now + next(ahead, 86_400.0)  # type: ignore[method-assign]
    one, said = watch_of([None], clock)
    one.run()
    assert len(said) == 1


class Cloud:
    """Tells what it is given, connection by connection, and then stops whoever listens."""

    def __init__(self, *connections: list[Told | SatchelError]) -> None:
        self.connections, self.stopped = list(connections), threading.Event()

    def events(self, project: str) -> Iterator[Told]:
        for told in self.connections.pop(0):
            if isinstance(told, SatchelError):
                raise told
            yield told
        if not self.connections:
            self.stopped.set()


def head(version: int) -> Told:
    return Told("head", version, "d", "")


@pytest.mark.parametrize(
    ("connections", "heard"),
    [
        ([[head(7)]], 0),
        ([[head(8)]], 1),
        ([[head(7), head(8), head(9)]], 2),
        ([[head(7), Told("end", 0, "", "stopping")], [ServerAway("gone")], [head(8)]], 1),
    ],
)
def test_news_of_the_cloud_is_a_signal_and_a_lost_connection_is_made_again(
    connections: list[list[Told | SatchelError]], heard: int
) -> None:
    one, _ = watch_of([None])
    one.head = (7, "d")
    cloud = Cloud(*connections)
    hear_cloud(one, cloud, "p", cloud.stopped, lambda: 0.0)
    assert one._signals.qsize() == heard


def test_changes_of_the_folder_are_signals_and_those_of_satchel_and_git_are_not(tmp_path: Path) -> None:
    (tmp_path / ".satchel").mkdir()
    (tmp_path / ".git").mkdir()
    one, _ = watch_of([None])
    stopped = threading.Event()
    thread = threading.Thread(target=hear_folder, args=(one, tmp_path, stopped))
    thread.start()
    try:
        assert one._signals.get(timeout=20) is Signal.LOCAL  # it listens now
        (tmp_path / ".satchel/state.db").write_text("x")
        (tmp_path / ".git/index").write_text("x")
        (tmp_path / "a.md").write_text("x")
        assert one._signals.get(timeout=20) is Signal.LOCAL
    finally:
        stopped.set()
        thread.join(20)


def test_another_folder_in_its_place_is_listened_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, listened = tmp_path / "project", list[int]()
    root.mkdir()

    def changes(*_: object) -> Iterator[set[object]]:
        listened.append(root.stat().st_ino)
        yield set()
        if len(listened) == 1:
            root.rename(tmp_path / "away")
            root.mkdir()
            yield set()
            raise AssertionError("the one that was moved away is still listened to")

    monkeypatch.setattr(watching, "_changes", changes)
    one, _ = watch_of([None])
    hear_folder(one, root, threading.Event())
    assert listened == [(tmp_path / "away").stat().st_ino, root.stat().st_ino]
    assert [one._signals.get_nowait() for _ in listened] == [Signal.LOCAL] * 2
    assert not one.deaf


def test_a_folder_that_cannot_be_watched_is_looked_at_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Iterator[set[object]]:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(watching, "_changes", full)
    one, _ = watch_of([None])
    hear_folder(one, tmp_path, threading.Event())
    assert one.deaf == {"folder"}
    assert one._once() <= watching.DEAF_SECONDS * 1.2


def test_events_are_read_however_they_are_cut() -> None:
    stream = b': hello\n\nevent: head\ndata: {"version": 3, "digest": "d", "more": 1}\n\nevent: news\ndata: x\n\n'
    stream += b'event: end\r\ndata: {"reason": "over"}\r\n\r\n'
    for size in (1, 7, 1_000):
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert list(told_in(chunks)) == [Told("head", 3, "d", ""), Told("end", 0, "", "over")]


@pytest.mark.parametrize(
    "stream",
    [
        lambda: [b"event: head\ndata: []\n\n"],
        lambda: [b"event: head\ndata: {\n\n"],
        lambda: [b'event: head\ndata: {"version": "3"}\n\n'],
        lambda: [b'event: head\ndata: {"version": true}\n\n'],
        lambda: [b"x" * 1_000] * (MAX_LINE_BYTES // 1_000 + 2),
    ],
)
def test_events_that_are_none_are_a_lie(stream: Callable[[], list[bytes]]) -> None:
    with pytest.raises(ServerLied):
        list(told_in(stream()))
