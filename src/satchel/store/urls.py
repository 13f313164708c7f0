"""Which object store a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from satchel.errors import ConfigInvalid
from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import MemoryStore, ObjectStore


def open_store(url: str) -> ObjectStore:
    """The store a URL names: ``file:///directory`` (made if absent) or ``memory://``.

    Raises ``ConfigInvalid`` for any other, ``StoreUnavailable`` or ``DiskFull`` if the directory cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory" and not parts.netloc and parts.path in {"", "/"}:
        return MemoryStore()
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return LocalStore(Path(unquote(parts.path)))
    raise ConfigInvalid(
        f"the object store {parts.scheme or url!r} is not supported here",
        hint="Use file:///absolute/path, or memory:// for a server that forgets.",
    )
