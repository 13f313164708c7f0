"""Which version is meant by a number or a date."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from satchel.cli.versions import version_at
from satchel.errors import InvalidInput, NoSuchVersion, ServerLied
from satchel.remote import Remote


class Versions:
    """A server with three versions, on two pages."""

    times = ("2026-02-01T00:30:00.000Z", "2026-01-31T23:59:59.999Z", "2026-01-31T08:00:00.000Z")

    def history(self, _project: str, *, cursor: str | None, limit: int) -> dict[str, Any]:
        rows = [{"version": 3 - at, "time": made} for at, made in enumerate(self.times)]
        return {"items": rows[2:], "next": None} if cursor else {"items": rows[:2], "next": "more"}


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/New_York"])
def remote(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield cast("Remote", Versions())
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("at", "version"),
    [
        ("12", 12),
        ("2026-02", 3),
        ("9999-12-31", 3),
        ("2026-01-31", 2),  # of the day that a search means, wherever one sits
        ("2026-01-31T08:00", 1),
        ("2026-01-31T17:00:00+09:00", 1),
    ],
)
def test_a_date_means_what_it_means_to_a_search(remote: Remote, at: str, version: int) -> None:
    assert version_at(remote, "acme", at) == version


@pytest.mark.parametrize("at", ["2026-01-30", "2026-01-31T07:59", "0001-01-01"])
def test_a_time_before_the_first_version_has_none(remote: Remote, at: str) -> None:
    with pytest.raises(NoSuchVersion):
        version_at(remote, "acme", at)


@pytest.mark.parametrize("at", ["never", "9" * 5_000, "-1", "2026-02-30"])
def test_what_is_neither_is_refused(remote: Remote, at: str) -> None:
    with pytest.raises(InvalidInput, match="neither a version nor a date"):
        version_at(remote, "acme", at)


def test_a_time_that_a_server_makes_up_is_its_own(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Versions, "times", ("yesterday",) * 3)
    with pytest.raises(ServerLied):
        version_at(remote, "acme", "2026-01-31")
