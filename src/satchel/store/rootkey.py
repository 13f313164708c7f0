"""The root key: 32 bytes in a file of the server's machine, on which everything at rest hangs.

While the root key is being changed its successor lies beside it (``root.key.next``); whoever meets something that the
key in memory does not open reads both files again.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from satchel.errors import AlreadyExists, SatchelError, StartRefused, WrongKey
from satchel.objects.seal import KEY_BYTES, derive
from satchel.store.durable_local import sync_directory, write_durably


@dataclass(frozen=True, slots=True)
class RootKey:
    """The key, and where it was read from. ``warnings`` says what is wrong with how the file is kept."""

    _secret: bytes = field(repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    path: Path | None = field(default=None, compare=False)

    @classmethod
    def load(cls, path: Path) -> RootKey:
        """Read a key file of exactly 32 bytes.

        Raises ``StartRefused`` when it is absent, unreadable or writable by everyone, ``WrongKey`` when it is not a
        key.
        """
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                secret = file.read(KEY_BYTES + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            hint = "Put the root key of this data there; without it nothing can be read."
            raise StartRefused(f"the root key {path} cannot be read: {reason}", hint=hint) from error
        if mode & stat.S_IWOTH:
            raise StartRefused(f"everyone may write the root key {path}", hint=f"Run: chmod 600 {path}")
        if len(secret) != KEY_BYTES:
            raise WrongKey(f"{path} is not a root key: it must hold exactly {KEY_BYTES} bytes")
        exposed = mode & (stat.S_IRWXG | stat.S_IRWXO)
        warning = f"the root key {path} is open to others (mode {mode:04o}); run: chmod 600 {path}"
        return cls(secret, (warning,) if exposed else (), path)

    @classmethod
    def create(cls, path: Path, random: Callable[[int], bytes] = os.urandom) -> RootKey:
        """Write a new random key (0600), whole or not at all. Raises ``AlreadyExists``, ``OSError``."""
        secret = random(KEY_BYTES)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        write_durably(temporary, secret)
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            raise AlreadyExists(f"there is a file {path} already", hint="Use it, or name another path.") from error
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
        return cls(secret, path=path)

    @property
    def id(self) -> str:
        """Tells root keys apart without telling anything about them: 16 hex digits."""
        return derive(self._secret, b"", "satchel root key id", length=8).hex()

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, such as ``keyring``; the same one each time."""
        return derive(self._secret, b"", "satchel root", purpose)

    def successors(self) -> list[RootKey]:
        """The keys that lie in this key's file and beside it now, other than this one. Reads files."""
        if self.path is None:
            return []
        found: list[RootKey] = []
        for path in (next_path(self.path), self.path):
            try:
                read = RootKey.load(path)
            except SatchelError:
                continue  # absent, as it nearly always is, or not to be trusted
            if read != self and read not in found:
                # Known by the main file: that is where the next change of keys will show.
                found.append(RootKey(read._secret, read.warnings, self.path))
        return found


def next_path(path: Path) -> Path:
    """Where the successor of the root key in ``path`` lies until everything is wrapped by it."""
    return path.with_name(f"{path.name}.next")
