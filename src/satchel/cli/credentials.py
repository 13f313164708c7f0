"""One credential for each server signed in to: in the keyring of the system where there is one (`oskeyring`), else in
``credentials.json`` in the person's configuration folder, mode 0600. The file says which of them it is.

A credential is an API key, or the two tokens of a person's session. Refresh tokens rotate: whoever renews does so
under a lock on the file and looks first whether another command was faster, since an old refresh token used twice ends
the session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from satchel.cli.oskeyring import Keeper, KeyringFails
from satchel.errors import ConfigInvalid
from satchel.remote.values import text
from satchel.worktree import durable
from satchel.worktree.lock import file_lock

_FORMAT = 1


class Credential(NamedTuple):
    """What to show a server. ``key`` alone, or ``access`` and ``refresh``."""

    key: str | None = None
    access: str | None = None
    refresh: str | None = None
    insecure: bool = False
    """The person accepted to send it over http:// to another machine."""
    login: dict[str, str] | None = None
    """Of an MCP server that the bridge logged in at: what it is known by there (`satchel.cli.bridge`)."""


_IN_KEYRING = "keyring"


class Credentials:
    """The file, and what it says is in the keyring.

    Raises ``ConfigInvalid`` where the file does not parse, which is never overwritten then, or the keyring does not
    give what it was given.
    """

    def __init__(self, path: Path, find_keyring: Callable[[], Keeper | None] = lambda: None) -> None:
        self.path, self._find_keyring = path, find_keyring

    def urls(self) -> list[str]:
        """The servers signed in to; not what the bridge logged in at."""
        return sorted(url for url in self._load() if url.startswith("http"))

    def get(self, url: str) -> Credential | None:
        row = self._load().get(url)
        if row is None:
            return None
        kept = self._from_keyring(url) if row.get("kept") == _IN_KEYRING else row
        insecure = bool(row.get("insecure"))
        return Credential(kept.get("key"), kept.get("access"), kept.get("refresh"), insecure, kept.get("login"))

    def put(self, url: str, credential: Credential) -> str:
        """Keep a credential, instead of the one there was for that server; returns where it is kept, in words."""
        with self.lock():
            return self._put(url, credential, self._find_keyring())

    def forget(self, url: str) -> bool:
        """Whether there was one."""
        with self.lock():
            servers = self._load()
            row = servers.pop(url, None)
            if row is not None:
                self._save(servers)
                self._drop(url, row)
            return row is not None

    def lock(self) -> Any:
        """Held while a session is renewed."""
        self._make_folder()
        return file_lock(self.path.with_suffix(".lock"), wait=True)

    def renewed(self, url: str, credential: Credential) -> None:
        """Keep new tokens where the old ones are. The caller holds the lock."""
        in_keyring = self._load().get(url, {}).get("kept") == _IN_KEYRING
        self._put(url, credential, self._find_keyring() if in_keyring else None)

    def _put(self, url: str, credential: Credential, keyring: Keeper | None) -> str:
        servers = self._load()
        before = servers.get(url, {})
        values = {name: value for name, value in credential._asdict().items() if value}
        if keyring is not None:
            shown = {"kept": _IN_KEYRING, **({"insecure": True} if credential.insecure else {})}
            with suppress(KeyringFails):  # then the file takes it
                keyring.put(url, json.dumps(values))
                servers[url] = shown
                self._save(servers)
                return "your system's keyring"
        servers[url] = values
        self._save(servers)
        self._drop(url, before)
        return str(self.path)

    def _from_keyring(self, url: str) -> dict[str, Any]:
        keyring = self._find_keyring()
        try:
            text = None if keyring is None else keyring.get(url)
            kept = json.loads(text or "")
        except (KeyringFails, ValueError):
            kept = None
        if not isinstance(kept, dict):
            raise ConfigInvalid(
                f"the credential for {url} is in your system's keyring, which does not give it",
                hint=f"Unlock the keyring, or sign in again:  satchel login {url}",
            )
        return kept

    def _drop(self, url: str, row: dict[str, Any]) -> None:
        """Take what is kept for a server out of the keyring."""
        keyring = self._find_keyring() if row.get("kept") == _IN_KEYRING else None
        if keyring is not None:
            with suppress(KeyringFails):
                keyring.forget(url)

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
                document = json.loads(file.read())
            servers = document["servers"]
            if not all(isinstance(row, dict) for row in servers.values()):
                raise TypeError
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigInvalid(
                f"{self.path} is damaged", hint="Move it aside and sign in again with `satchel login URL`."
            ) from error
        return dict(servers)

    def _save(self, servers: dict[str, dict[str, Any]]) -> None:
        self._make_folder()
        document = {"format": _FORMAT, "servers": servers}
        durable.replace(self.path, (json.dumps(document, indent=2) + "\n").encode(), permissions=0o600)

    def _make_folder(self) -> None:
        """For its owner alone: who may write the folder could put another file in this one's place."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise durable.refused(error, str(self.path.parent)) from error


class Session:
    """The tokens of one server as ``satchel.remote`` asks for them."""

    def __init__(self, credentials: Credentials, url: str, credential: Credential) -> None:
        self._credentials = credentials
        self._url = url
        self._now = credential

    def token(self) -> str | None:
        return self._now.key or self._now.access

    def renew(self, refused: str | None, exchange: Callable[[str], dict[str, Any]]) -> str | None:
        """Trade the refresh token for new ones, unless another command has done so meanwhile."""
        if self._now.key is not None:
            return None
        with self._credentials.lock():
            stored = self._credentials.get(self._url) or self._now
            if stored.access == refused and stored.refresh is not None:
                answer = exchange(stored.refresh)
                access, refresh = text(answer["accessToken"]), text(answer.get("refreshToken", stored.refresh))
                stored = stored._replace(access=access, refresh=refresh)
                self._credentials.renewed(self._url, stored)
            self._now = stored
        return stored.access if stored.access != refused else None
