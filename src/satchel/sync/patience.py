"""Waiting for a server that is away for a while: bounded, told to whoever watches, and only where waiting may help.

An error is waited out if it says when to try again (fact ``retry_after``): the server answered so, it is restarting,
the connection broke, or others were faster each time. A quota that is reached, a refusal, a name that does not resolve
or a certificate that does not count carry no such fact, and are raised at once. What is repeated has to be harmless to
repeat.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from satchel.errors import SatchelError, StoreUnavailable, SyncTooSoon

MOST_SECONDS = 10.0
"""The pause grows up to this, unless the server asks for a longer one."""
T = TypeVar("T")


class Patience:
    """How long one command waits, from the first failure on."""

    def __init__(
        self,
        seconds: float,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``say`` is told what is waited for, before each pause; ``chance`` (0 to 1) keeps clients from returning
        all at once."""
        self._seconds, self._say = seconds, say
        self._clock, self._sleep, self._chance = clock, sleep, chance
        self._until: float | None = None
        self._pauses = 0

    def through(self, work: Callable[[], T]) -> T:
        """The result of ``work``, done again while it fails with what may pass. Raises the last error in the end."""
        while True:
            try:
                return work()
            except SatchelError as error:
                said = error.facts.get("retry_after")
                if said is None:
                    raise
                pause = self._pause(said)
                if pause is None or (isinstance(error, SyncTooSoon) and pause < _seconds(said)):
                    raise  # when a push may go is known to the second: a look before tells nothing
                what = "the server's storage does not answer" if isinstance(error, StoreUnavailable) else error.message
                self._say(f"{what}; trying again in {pause:.0f} s (Ctrl-C stops, nothing is lost)")
                self._sleep(pause)

    def _pause(self, said: object) -> float | None:
        """How long to wait now; ``None`` when the time is over."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        left = self._until - now
        if left <= 0:
            return None
        grown: float = min(2.0**self._pauses, MOST_SECONDS)
        self._pauses += 1
        wanted = max(grown, _seconds(said)) * (1 + self._chance() / 5)
        # What is left decides when the server asks for more: one last look is worth it.
        return min(wanted, left)


def _seconds(said: object) -> float:
    """A Retry-After as far as it is a number of seconds; its other form, a date, depends on two clocks."""
    text = str(said)
    return float(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0.0
