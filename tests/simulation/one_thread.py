"""One thread for clients and server, and processes in it that may die at any durable step.

Whatever would go to another thread is done at once in this one. ``os.fsync`` costs nothing and, like every named fail
point, is a place where the process at work may be stopped dead.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import aiosqlite
import pytest

from satchel.sync import attempts, failpoints, pull, push, receive, resume
from satchel.worktree import ignore

T = TypeVar("T")


class Killed(BaseException):
    """The process at work is no more. No ``except Exception`` of its own can keep it alive."""


@dataclass
class Process:
    """A client's command, or one request at the server."""

    name: str
    steps: int | None = None
    """After how many durable steps it is killed; ``None``: it lives."""
    on_death: Callable[[], None] = lambda: None


@dataclass
class Processes:
    """Who is at work: the last one started, while those before it wait for an answer."""

    tell: Callable[[str], None] = lambda _line: None
    stack: list[Process] = field(default_factory=list)

    @contextmanager
    def at_work(self, process: Process) -> Iterator[None]:
        self.stack.append(process)
        try:
            yield
        finally:
            self.stack.pop()

    def step(self, place: str) -> None:
        if not self.stack or self.stack[-1].steps is None:
            return
        process = self.stack[-1]
        assert process.steps is not None
        process.steps -= 1
        if process.steps < 0:
            process.steps = None
            self.tell(f"{process.name} is killed at {place}")
            process.on_death()
            raise Killed(process.name)


class _AtOnce:
    """In place of a pool of threads."""

    def __init__(self, *_given: object, **_named: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        return [work(item) for item in items]

    def submit(self, work: Callable[..., Any], *given: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(work(*given))
        return future


async def _to_thread(work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    return work(*given, **named)


async def _execute(_self: aiosqlite.Connection, work: Callable[..., Any], *given: Any, **named: Any) -> Any:
    return work(*given, **named)


def all_at_once(patch: pytest.MonkeyPatch) -> None:
    """From now on nothing is given to another thread."""
    patch.setattr(asyncio, "to_thread", _to_thread)
    patch.setattr(aiosqlite.Connection, "_execute", _execute)
    patch.setattr(concurrent.futures, "ThreadPoolExecutor", _AtOnce)


@contextmanager
def one_thread(processes: Processes) -> Iterator[None]:
    """Nothing below runs in another thread, or waits for a disk."""

    def fsync(_fd: int) -> None:
        processes.step("fsync")

    def reach(name: str) -> Callable[[], None]:
        return lambda: processes.step(name)

    with pytest.MonkeyPatch.context() as patch:
        all_at_once(patch)
        patch.setattr(os, "fsync", fsync)
        patch.setattr(ignore, "_translate", functools.cache(ignore._translate))  # pure, and a fifth of the time
        for module, name in _SIZES:
            patch.setattr(
                module, name, getattr(module, name)
            )  # put back in the end, whatever `transfers_are_large` did
        for name in failpoints.NAMES:
            failpoints.arm(name, reach(name))
        try:
            yield
        finally:
            failpoints.disarm()


_SIZES = {
    (attempts, "LARGE_BYTES"): 0,
    (resume, "LARGE_BYTES"): 0,
    (receive, "SALVAGE_BYTES"): 0,
    (push, "MAX_FRAME_RAW"): 100,
    (pull, "MANY_OBJECTS"): 0,
}
_REAL_SIZES = {place: getattr(*place) for place in _SIZES}


def transfers_are_large(large: bool) -> None:
    """Whether every push is one that is gone on with where it broke off, and has a frame for each file; and whether
    a folder that wants nearly all of a version asks for its files."""
    for (module, name), size in (_SIZES if large else _REAL_SIZES).items():
        setattr(module, name, size)


class Loop(asyncio.SelectorEventLoop):
    """Runs one request to its end. There is hardly ever anything to wait for: no file is asked whether it is ready."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _run_once: Callable[[], None]
    _asyncgen_firstiter_hook: Callable[[AsyncGenerator[Any, Any]], None]
    _asyncgen_finalizer_hook: Callable[[AsyncGenerator[Any, Any]], None]

    def complete(self, work: Coroutine[Any, Any, T]) -> T:
        task = self.create_task(work)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                if not self._ready:
                    self._run_once()  # a thread that opens the database for a check, say
                for _ in range(len(self._ready)):
                    handle = self._ready.popleft()
                    if not handle._cancelled:
                        handle._run()
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
            self._scheduled.clear()  # deadlines of what is over
        return task.result()
