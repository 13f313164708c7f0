from __future__ import annotations

import pytest

from satchel.errors import DiskFull, QuotaReached, SatchelError, ServerAway, StoreUnavailable, SyncTooSoon
from satchel.sync.patience import Patience


class Watch:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.said: list[str] = []
        self.patience = Patience(
            seconds, self.said.append, clock=lambda: self.now, sleep=self.sleep, chance=lambda: 0.0
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def _failing(times: int, error: SatchelError) -> tuple[list[int], object]:
    tried: list[int] = []

    def work() -> str:
        tried.append(1)
        if len(tried) <= times:
            raise error
        return "done"

    return tried, work


def test_it_is_tried_again_until_it_succeeds_and_every_wait_is_told() -> None:
    watch = Watch(60)
    tried, work = _failing(3, StoreUnavailable("the storage does not answer", retry_after=5))
    assert watch.patience.through(work) == "done"  # type: ignore[arg-type]
    assert len(tried) == 4
    assert watch.slept == [5, 5, 5]
    assert watch.said[0] == (
        "the server's storage does not answer; trying again in 5 s (Ctrl-C stops, nothing is lost)"
    )


def test_pauses_grow_where_the_server_names_none_and_end_with_the_time_given() -> None:
    watch = Watch(30)
    away = ServerAway("https://c.example.org cannot be reached", retry_after=1)
    tried, work = _failing(1_000, away)
    with pytest.raises(ServerAway):
        watch.patience.through(work)  # type: ignore[arg-type]
    assert watch.slept == [1, 2, 4, 8, 10, 5]
    assert watch.now == 30
    assert len(tried) == 7


@pytest.mark.parametrize(
    "error",
    [QuotaReached("storage is used up"), DiskFull("the storage is full"), ServerAway("no trusted connection")],
)
def test_what_waiting_cannot_cure_is_raised_at_once(error: SatchelError) -> None:
    watch = Watch(60)
    with pytest.raises(type(error)):
        watch.patience.through(_failing(1, error)[1])  # type: ignore[arg-type]
    assert watch.slept == []
    assert watch.said == []


@pytest.mark.parametrize("said", ["Wed, 21 Oct 2026 07:28:00 GMT", "99999999999", "-3", "²", None.__class__])
def test_a_retry_after_that_is_no_number_is_not_believed(said: object) -> None:
    watch = Watch(60)
    assert watch.patience.through(_failing(1, ServerAway("away", retry_after=said))[1]) == "done"  # type: ignore[arg-type]
    assert watch.slept == [1]


def test_a_server_cannot_make_it_wait_longer_than_it_was_told_to() -> None:
    watch = Watch(20)
    with pytest.raises(ServerAway):
        watch.patience.through(_failing(9, ServerAway("away", retry_after="900000"))[1])  # type: ignore[arg-type]
    assert watch.slept == [20]


def test_without_time_nothing_is_waited_for() -> None:
    watch = Watch(0)
    with pytest.raises(ServerAway):
        watch.patience.through(_failing(1, ServerAway("away", retry_after=1))[1])  # type: ignore[arg-type]
    assert watch.slept == []


def test_a_push_that_comes_too_soon_waits_for_its_time_and_not_at_all_where_that_is_too_far_away() -> None:
    watch = Watch(60)
    tried, work = _failing(1, SyncTooSoon("pushed less than 30 s ago", retry_after="30"))
    assert watch.patience.through(work) == "done"  # type: ignore[arg-type]
    assert watch.slept == [30]
    watch = Watch(60)
    tried, work = _failing(1, SyncTooSoon("pushed less than 300 s ago", retry_after="290"))
    with pytest.raises(SyncTooSoon):
        watch.patience.through(work)  # type: ignore[arg-type]
    assert (len(tried), watch.slept) == (1, [])
