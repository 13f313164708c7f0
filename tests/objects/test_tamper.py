"""Altered, cut, misplaced and badly made bytes are refused with the exact error, and nothing of them is handed out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.objects.tampering import AT_REST, PURE, AtRestCheck


@pytest.mark.promise("P3")
@pytest.mark.parametrize("check", PURE, ids=lambda check: check.__name__)
def test_what_was_altered_is_refused(check: Callable[[], None]) -> None:
    check()


@pytest.mark.promise("P5")
@pytest.mark.parametrize("check", AT_REST, ids=lambda check: check.__name__)
def test_what_was_altered_at_rest_is_refused_and_gives_no_bytes(check: AtRestCheck) -> None:
    asyncio.run(check())
