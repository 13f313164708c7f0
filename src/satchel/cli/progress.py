"""A progress bar on stderr: only where a terminal watches, and only for work that lasts."""

from __future__ import annotations

import time

from satchel.cli.face import Face, size

PATIENCE_SECONDS = 0.5
"""Shorter work shows no bar: it would only flicker."""
REDRAW_SECONDS = 0.1
BAR_WIDTH = 24


class Progress:
    """Called as ``progress(phase, done, total, bytes)`` by whatever takes long; ``close`` clears the line."""

    def __init__(self, face: Face) -> None:
        self._face = face
        self._shown = face.watched and not (face.quiet or face.json)
        self._begun = self._drawn = time.monotonic()
        self._visible = False

    def __call__(self, phase: str, done: int, total: int, count: int = 0) -> None:
        now = time.monotonic()
        if not self._shown or now - self._begun < PATIENCE_SECONDS or now - self._drawn < REDRAW_SECONDS:
            return
        self._drawn, self._visible = now, True
        filled = BAR_WIDTH * done // total if total else 0
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        rate = f"  {size(count)}" if count else ""
        self._face.erase_line(f"{bar}  {done:,}/{total:,}  {phase}{rate}"[: self._face.columns - 1])

    def close(self) -> None:
        if self._visible:
            self._face.erase_line("")
            self._visible = False
