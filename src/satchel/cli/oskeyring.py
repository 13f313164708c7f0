"""The keyring of the operating system, for credentials, where there is one and the package ``keyring`` is installed.

Nothing of Satchel needs that package: it comes with the extra ``keyring``, or with something else. It is loaded when a
credential is kept, or read that was kept there, and by no local verb.
"""

from __future__ import annotations

import importlib
from typing import Any, Protocol

SERVICE = "satchel"
"""Under which name the keyring shows what it keeps; the user's name is the address of the server."""


class KeyringFails(Exception):
    """The keyring is locked, away, or does not take or give what it is asked."""


class Keeper(Protocol):
    """What keeps one text for each server. Every method may raise ``KeyringFails``."""

    def get(self, url: str) -> str | None: ...

    def put(self, url: str, text: str) -> None: ...

    def forget(self, url: str) -> None: ...


class OsKeyring:
    """A backend of the package ``keyring``."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def get(self, url: str) -> str | None:
        found = self._asked("get_password", url)
        return None if found is None else str(found)

    def put(self, url: str, text: str) -> None:
        self._asked("set_password", url, text)

    def forget(self, url: str) -> None:
        self._asked("delete_password", url)

    def _asked(self, what: str, *words: str) -> Any:
        try:
            return getattr(self._backend, what)(SERVICE, *words)
        except Exception as error:  # noqa: BLE001 -- a backend raises whatever its service's library does
            raise KeyringFails(type(error).__name__) from None  # not its text, which may hold what was asked


def find() -> Keeper | None:
    """The keyring of this machine; None where there is none, or somebody chose that there be none
    (``PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring``)."""
    try:
        backend = importlib.import_module("keyring").get_keyring()
        usable = backend.priority > 0
    except Exception:  # noqa: BLE001 -- not installed, or one of its backends cannot even be looked at
        return None
    return OsKeyring(backend) if usable else None
