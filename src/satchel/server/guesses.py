"""How often somebody may guess wrong: a few misses, then a pause. Kept in this process alone, in bounded memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

MOST = 5
WINDOW_MS = 10 * 60 * 1000
MAX_NAMES = 10_000


class Guesses:
    """One for a process; for tasks of one event loop."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """``clock`` gives milliseconds."""
        self._clock = clock
        self._misses: OrderedDict[str, deque[int]] = OrderedDict()

    def wait(self, name: str) -> int:
        """Seconds until somebody may guess again; 0 for now."""
        times, now = self._misses.get(name), self._clock()
        if times is None or len(times) < MOST or times[0] <= now - WINDOW_MS:
            return 0
        return max(1, -(-(times[0] + WINDOW_MS - now) // 1000))

    def miss(self, name: str) -> None:
        """Note that somebody guessed wrong."""
        times = self._misses.setdefault(name, deque(maxlen=MOST))
        times.append(self._clock())
        self._misses.move_to_end(name)
        while len(self._misses) > MAX_NAMES:
            self._misses.popitem(last=False)
