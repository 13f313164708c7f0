"""Packs are opened in several processes: Python runs in one core of each, and there is much of it for each object.

A process beside this one is asked through a pipe. It gets a pack's sealed bytes, its rows and the keys it is sealed
with, opens it as this process would (``upkeep.opened``), answers, and writes nothing anywhere. Where one cannot be
started, or ends early, this process opens the packs itself: nothing is found otherwise, only later.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from satchel.errors import Damaged
from satchel.objects.seal import EPOCH_BYTES, Binding
from satchel.upkeep.beside import LENGTH, LENGTHS, exactly
from satchel.upkeep.opened import Examined, FrameRow, KeyOf, Opened, Whole, examine_pack

MAX_PROCESSES = 4
"""Most packs opened at once: each process holds a pack and a frame of content, some 20 MiB."""
WORTH_A_PROCESS_BYTES = 12 << 20
"""Sealed bytes for each process: starting one takes 0.1 s, in which another opens about as many."""
_PIPE_BYTES = 1 << 20  # where the system lets us: fewer turns between the two than with 64 KiB
_MAX_ANSWER_BYTES = 64 << 20
_PROGRAM = "from satchel.upkeep.beside import serve; serve()"  # a module that loads little: 50 ms less


class Openers:
    """Opens packs, several at once. An asynchronous context: its processes end with it, whatever they are doing."""

    def __init__(self, stored: int) -> None:
        """For about ``stored`` bytes of packs in all."""
        self.at_once = max(min(_cores(), MAX_PROCESSES, stored // WORTH_A_PROCESS_BYTES), 1)
        self._lanes = asyncio.Semaphore(self.at_once)
        self._started: list[subprocess.Popen[bytes]] = []
        self._idle: list[subprocess.Popen[bytes]] = []

    async def __aenter__(self) -> Self:
        # As many as cores: what is left for this process, rows and records, is for one core as much work again.
        for _ in range(self.at_once if self.at_once > 1 else 0):
            try:
                process = _start()  # a millisecond: nothing can come between, and leave one behind
            except OSError:
                break
            self._started.append(process)
            self._idle.append(process)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            process.kill()
        for process in self._started:
            with suppress(OSError):  # what could not be written to it
                process.__exit__(kind, error, trace)

    async def examine(
        self, pack: Whole, rows: Sequence[FrameRow], data: bytes, key_of: KeyOf, binding: Binding
    ) -> Examined | None:
        """As ``opened.examine_pack``."""
        async with self._lanes:
            if self._idle:
                process = self._idle.pop()
                asked = asyncio.create_task(asyncio.to_thread(_ask, process, pack, rows, data, key_of, binding))
                try:
                    await asyncio.wait({asked})
                finally:
                    if not asked.done():  # nobody wants the answer; the pipes are not closed while they are in use
                        process.kill()
                        await asyncio.wait({asked})
                    refused = asked.exception()
                if refused is None:
                    self._idle.append(process)
                    return asked.result()
                if not isinstance(refused, OSError | EOFError | ValueError):  # else it is gone, or talks otherwise
                    raise refused
            return await asyncio.to_thread(examine_pack, pack, rows, data, key_of, binding)


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pipesize=_PIPE_BYTES,
    )


def _ask(
    process: subprocess.Popen[bytes],
    pack: Whole,
    rows: Sequence[FrameRow],
    data: bytes,
    key_of: KeyOf,
    binding: Binding,
) -> Examined | None:
    """Let another process examine a pack. Raises ``EOFError``, ``OSError``, ``ValueError`` if it gives no answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    question = json.dumps([pack, rows, _keys(rows, data, key_of), binding], default=repr).encode()
    process.stdin.write(LENGTHS.pack(len(question), len(data)))
    process.stdin.write(question)
    process.stdin.write(data)
    process.stdin.flush()
    (length,) = LENGTH.unpack(exactly(process.stdout, LENGTH.size))
    if length > _MAX_ANSWER_BYTES:
        raise ValueError("not an answer")
    answer = json.loads(exactly(process.stdout, length))
    if answer is None:
        return None
    broken, objects, size, long, scattered = answer
    return Examined(Opened(dict(broken), objects, size), [(name, whole) for name, whole in long], scattered)


def _keys(rows: Sequence[FrameRow], data: bytes, key_of: KeyOf) -> list[tuple[int, str, str]]:
    """Every epoch that the frames say they were sealed in: with its key, or with why there is none."""
    found = []
    starts = [row[1] for row in rows if type(row[1]) is int]  # a damaged row may hold something else
    for epoch in {int.from_bytes(data[at : at + EPOCH_BYTES][8:], "big") for at in starts}:
        try:
            found.append((epoch, key_of(epoch).hex(), ""))
        except Damaged as error:
            found.append((epoch, "", error.message))
    return found
