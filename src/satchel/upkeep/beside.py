"""The process beside one that verifies: opens the packs it is given through standard input (``upkeep.openers``).

A question is two lengths, JSON of what the catalog says of a pack and of the keys, and the pack; an answer is a length
and JSON of what was found. Keys and content are in memory alone.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from contextlib import suppress
from typing import IO, Any

from satchel.errors import SealBroken
from satchel.objects.seal import Binding
from satchel.upkeep.opened import Whole, examine_pack

LENGTHS = struct.Struct(">QQ")  # of the JSON of a question, and of the sealed bytes after it
LENGTH = struct.Struct(">Q")


def serve() -> None:
    """Answer ``openers`` until standard input ends: the program of a process beside."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it concerns the process that asks, which then ends this one
    asked, answered = sys.stdin.buffer, sys.stdout.buffer
    with suppress(EOFError):
        while True:
            length, size = LENGTHS.unpack(exactly(asked, LENGTHS.size))
            question = json.loads(exactly(asked, length))
            answer = json.dumps(_answer(question, exactly(asked, size))).encode()
            answered.write(LENGTH.pack(len(answer)) + answer)
            answered.flush()


def _answer(question: Any, data: bytes) -> list[object] | None:
    pack, rows, keys, binding = question
    known = {epoch: (bytes.fromhex(key), why) for epoch, key, why in keys}

    def key_of(epoch: int) -> bytes:
        key, why = known[epoch]
        if why:
            raise SealBroken(why)
        return key

    found = examine_pack(Whole(*pack), rows, data, key_of, Binding(*binding))
    return (
        None if found is None else [list(found.opened.broken.items()), *found.opened[1:], found.long, found.scattered]
    )


def exactly(pipe: IO[bytes], length: int) -> bytes:
    """So many bytes of a pipe. Raises ``EOFError`` if it ends before."""
    data = pipe.read(length)
    if len(data) != length:
        raise EOFError
    return data
