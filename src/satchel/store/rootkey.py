"""The root key: 32 bytes on which everything at rest hangs, in a file of the server's machine.

The file holds the bytes, or JSON with the bytes wrapped by a key service (see ``kms``), which unwraps them at the
start. While the root key is being changed its successor lies beside it (``root.key.next``); whoever meets something
that the key in memory does not open reads both files again.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from satchel.errors import AlreadyExists, StartRefused, WrongKey
from satchel.objects.ids import is_random_id
from satchel.objects.seal import KEY_BYTES, derive
from satchel.store.durable_local import sync_directory, write_durably
from satchel.store.kms import KmsPlace, open_kms

_FORMAT = "satchel-root 1"
_MAX_FILE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class RootKey:
    """The key, and where it was read from."""

    _secret: bytes = field(repr=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What is wrong with how the file is kept."""
    path: Path | None = field(default=None, compare=False)
    kms: KmsPlace | None = field(default=None, compare=False)
    """Who wraps it; ``None`` where the file holds the key itself."""
    installation: str = field(default="", compare=False)
    """The installation it was wrapped for."""

    @classmethod
    def load(cls, path: Path) -> RootKey:
        """Read a key file: exactly 32 bytes, or what a key service wrapped, which is asked.

        Raises ``StartRefused`` when it is absent, unreadable or writable by everyone, or when the service refuses,
        ``WrongKey`` when it is not a key, ``StoreUnavailable`` when the service does not answer.
        """
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                mode, owner = stat.S_IMODE(found.st_mode), found.st_uid
                content = file.read(_MAX_FILE_BYTES)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            hint = "Put this data's root key there, or name it in SATCHEL_ROOT_KEY: without it nothing can be read."
            raise StartRefused(f"the root key {path} cannot be read: {reason}", hint=hint) from error
        if mode & stat.S_IWOTH:
            raise StartRefused(f"everyone may write the root key {path}", hint=f"Run: chmod 600 {path}")
        if len(content) != KEY_BYTES:
            return _wrapped(path, content)
        exposed = mode & (stat.S_IRWXG | stat.S_IRWXO)
        # Of another user's file, as Compose hands it to a container, this process would see nothing after a chmod.
        cure = f"run: chmod 600 {path}" if owner == os.geteuid() else "let nobody else into its folder"
        warning = f"the root key {path} is open to others (mode {mode:04o}); {cure}"
        return cls(content, (warning,) if exposed else (), path)

    @classmethod
    def create(
        cls,
        path: Path,
        random: Callable[[int], bytes] = os.urandom,
        *,
        kms: KmsPlace | None = None,
        installation: str = "",
    ) -> RootKey:
        """Write a new random key (0600), whole or not at all; with ``kms`` wrapped by it for ``installation``.

        Raises ``AlreadyExists``, ``OSError``, and with ``kms`` what the service does.
        """
        secret = random(KEY_BYTES)
        content = secret if kms is None else _wrap(secret, kms, installation)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        write_durably(temporary, content)
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            raise AlreadyExists(f"there is a file {path} already", hint="Use it, or name another path.") from error
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
        return cls(secret, (), path, kms, installation)

    @property
    def id(self) -> str:
        """Tells root keys apart without telling anything about them: 16 hex digits."""
        return derive(self._secret, b"", "satchel root key id", length=8).hex()

    @property
    def kept(self) -> str:
        """Where it is, for people."""
        return f"wrapped by {self.kms}" if self.kms else "in the file itself"

    def derive(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, such as ``keyring``; the same one each time."""
        return derive(self._secret, b"", "satchel root", purpose)


class KeyFiles:
    """The root key's file and that of its successor, read again when they have changed."""

    def __init__(self, path: Path | None) -> None:
        """``None``: the key did not come from a file, and there is nothing to read again."""
        self._paths = () if path is None else (next_path(path), path)
        self._read: dict[Path, tuple[tuple[int, int, int], RootKey | None]] = {}

    def read(self) -> list[RootKey]:
        """The keys that lie there now, the successor first; a file that is no key, or that cannot be opened now, counts
        as absent.

        Blocks. Raises ``StoreUnavailable`` when a key service does not answer.
        """
        found = []
        for path in self._paths:
            try:
                about = path.stat()
                state = (about.st_ino, about.st_mtime_ns, about.st_size)
                known = self._read.get(path)
            except OSError:
                continue
            if known is None or known[0] != state:
                try:
                    known = self._read[path] = (state, _loaded(path))
                except StartRefused:  # which may end without the file being changed: the key service refuses
                    continue
            if known[1] is not None:
                found.append(known[1])
        return found


def _loaded(path: Path) -> RootKey | None:
    try:
        return RootKey.load(path)
    except WrongKey:
        return None


def next_path(path: Path) -> Path:
    """Where the successor of the root key in ``path`` lies until everything is wrapped by it."""
    return path.with_name(f"{path.name}.next")


def _wrap(secret: bytes, kms: KmsPlace, installation: str) -> bytes:
    wrapped = base64.b64encode(open_kms(kms).wrap(secret, installation)).decode()
    fields = {
        "format": _FORMAT,
        "kms": kms.service,
        "key": kms.key,
        "region": kms.region,
        "installation": installation,
        "ciphertext": wrapped,
    }
    return json.dumps(fields, indent=1).encode() + b"\n"


def _wrapped(path: Path, content: bytes) -> RootKey:
    try:
        fields: dict[str, Any] = json.loads(content)
        place = KmsPlace(str(fields["kms"]), str(fields["key"]), str(fields["region"]))
        wrapped = base64.b64decode(fields["ciphertext"], validate=True)
        installation = str(fields["installation"])
        if fields["format"] != _FORMAT or place.service != "aws-kms" or not is_random_id(installation, "ins"):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise WrongKey(
            f"{path} is not a root key: it must hold exactly {KEY_BYTES} bytes, or what a key service wrapped"
        ) from error
    secret = open_kms(place).unwrap(wrapped, installation)
    if len(secret) != KEY_BYTES:
        raise WrongKey(f"what {place} unwraps from {path} is not a root key")
    return RootKey(secret, (), path, place, installation)
