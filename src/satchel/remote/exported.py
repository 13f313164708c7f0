"""Checks a tenant's export while it passes by: is it whole, and is it what the server meant to send?

The tar is walked header by header, with nothing kept but the manifest at its end. That has the SHA-256 of all bytes
before it, and what the server had to leave out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from satchel.errors import ServerLied

FORMAT = "satchel-export 1"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 32 << 20
_BLOCK = 512
_NAME, _SIZE, _TYPE = slice(0, 100), slice(124, 136), 156
_FILE = ord("0")


@dataclass(frozen=True, slots=True)
class Exported:
    """What a whole export has."""

    bytes: int
    files: int
    projects: int
    left_out: int
    """Contents that the server could not give; ``missing`` names them."""
    missing: tuple[tuple[str, str, str], ...]
    """Project, path and the code of the reason."""


class ExportCheck:
    """Give it every piece of the stream in order, then ask for the result."""

    def __init__(self) -> None:
        self.files = 0
        """Files of projects seen so far, and ``bytes`` of the stream."""
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._held = bytearray()
        self._skip = 0
        self._manifest: bytearray | None = None
        self._wanted = 0
        self._before = ""
        self._bytes_before = 0
        self._ended = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece. Raises ``ServerLied`` for what is no such export."""
        self.bytes += len(piece)
        self._held += piece
        while self._step():
            pass

    def result(self) -> Exported:
        """What the export has. Raises ``ServerLied`` if it is not whole, or not what its manifest says."""
        if not self._ended or self._manifest is None or len(self._manifest) != self._wanted:
            raise ServerLied("the export is not whole: its end is missing", hint="Run the command again.")
        try:
            told: dict[str, Any] = json.loads(self._manifest)
            missing = tuple((str(row["project"]), str(row["path"]), str(row["reason"])) for row in told["missing"])
            whole = (told["format"], told["sha256Before"], told["bytesBefore"])
            left_out, projects = int(told["leftOut"]), len(told["projects"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServerLied("the manifest of the export cannot be read") from error
        if whole != (FORMAT, self._before, self._bytes_before):
            raise ServerLied("the export is not the one its manifest tells of", hint="Run the command again.")
        return Exported(self.bytes, self.files, projects, left_out, missing)

    def _step(self) -> bool:
        """Take one block, or what there is of a member's content; False where more has to come first."""
        if not self._held:
            return False
        if self._ended:
            if any(self._held):
                raise ServerLied("something follows the end of the export")
            self._held.clear()
            return False
        if self._skip:
            self._content(bytes(self._held[: self._skip]))
            return True
        if len(self._held) < _BLOCK:
            return False
        block = bytes(self._held[:_BLOCK])
        del self._held[:_BLOCK]
        if not any(block):
            self._ended = True
            return True
        self._header(block)
        return True

    def _content(self, some: bytes) -> None:
        del self._held[: len(some)]
        self._skip -= len(some)
        if self._manifest is None:
            self._hash.update(some)
            self._bytes_before += len(some)
        else:
            self._manifest += some[: self._wanted - len(self._manifest)]

    def _header(self, block: bytes) -> None:
        digits = block[_SIZE].rstrip(b"\0 ")
        if digits.translate(None, b"01234567"):  # a size below zero, above all, would never be over
            raise ServerLied("the export is not a tar")
        size = int(digits or b"0", 8)
        name, plain = block[_NAME].rstrip(b"\0"), block[_TYPE] == _FILE
        if self._manifest is not None:
            raise ServerLied("something follows the manifest of the export")
        self._skip = -(-size // _BLOCK) * _BLOCK
        if plain and name == MANIFEST.encode():
            if size > MAX_MANIFEST_BYTES:
                raise ServerLied("the manifest of the export is too large")
            self._manifest, self._wanted, self._before = bytearray(), size, self._hash.hexdigest()
            return
        self._hash.update(block)
        self._bytes_before += len(block)
        if plain and name.startswith(b"projects/") and name.count(b"/") > 1:  # else it is the sums of a project
            self.files += 1
