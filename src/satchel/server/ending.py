"""The last resort of a process that was told to stop, has answered everybody, and does not end.

Something that never comes back, a thread in a library or a task that cannot be cancelled, would hold it until it is
killed. By promise P6 a kill loses nothing, so it ends itself, and first writes down what held it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from types import FrameType
from typing import Any

from satchel.server.logs import log, place

DEPTH = 8
"""How many lines of code of each thread and task are told, innermost last."""


def cut_off_after(seconds: float) -> None:
    """End this process with status 0 so many seconds from now, unless it has ended. Called on its event loop."""
    timer = threading.Timer(seconds, _cut_off, [asyncio.get_running_loop()])
    timer.daemon = True
    timer.start()


def _cut_off(loop: asyncio.AbstractEventLoop) -> None:
    try:
        frames = sys._current_frames()
        threads = {
            each.name: _places(_called(frames[each.ident]))
            for each in threading.enumerate()
            if each.ident in frames and each is not threading.current_thread()
        }
        tasks = {each.get_name(): _places(_awaited(each.get_coro())) for each in asyncio.all_tasks(loop)}
        log.error("cut off at the end", threads=threads, tasks=tasks)
    finally:
        os._exit(0)


def _called(frame: FrameType | None) -> list[FrameType]:
    """The frames of a thread, outermost first."""
    found: list[FrameType] = []
    while frame is not None:
        found.insert(0, frame)
        frame = frame.f_back
    return found


def _awaited(waits: Any) -> list[FrameType]:
    """The frames of a coroutine and of those it waits for, outermost first."""
    found = []
    while (frame := getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)) is not None:
        found.append(frame)
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return found


def _places(frames: list[FrameType]) -> list[str]:
    return [place(frame.f_code.co_filename, frame.f_lineno) for frame in frames[-DEPTH:]]
