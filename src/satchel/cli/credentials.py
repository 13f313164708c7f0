"""``credentials.json`` in the person's configuration folder: one credential for each server signed in to, mode 0600.

A credential is an API key, or the two tokens of a person's session. Refresh tokens rotate: whoever renews does so
under a lock on the file and looks first whether another command was faster, since an old refresh token used twice ends
the session.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from satchel.errors import ConfigInvalid
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


class Credentials:
    """The file. Raises ``ConfigInvalid`` where it does not parse: it is never overwritten then."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def urls(self) -> list[str]:
        """The servers signed in to."""
        return sorted(self._load())

    def get(self, url: str) -> Credential | None:
        row = self._load().get(url)
        if row is None:
            return None
        return Credential(row.get("key"), row.get("access"), row.get("refresh"), bool(row.get("insecure")))

    def put(self, url: str, credential: Credential) -> None:
        with self.lock():
            self._put(url, credential)

    def forget(self, url: str) -> bool:
        """Whether there was one."""
        with self.lock():
            servers = self._load()
            known = servers.pop(url, None) is not None
            if known:
                self._save(servers)
            return known

    def lock(self) -> Any:
        """Held while a session is renewed."""
        self._make_folder()
        return file_lock(self.path.with_suffix(".lock"), wait=True)

    def _put(self, url: str, credential: Credential) -> None:
        servers = self._load()
        servers[url] = {name: value for name, value in credential._asdict().items() if value}
        self._save(servers)

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
                stored = stored._replace(
                    access=answer["accessToken"], refresh=answer.get("refreshToken", stored.refresh)
                )
                self._credentials._put(self._url, stored)
            self._now = stored
        return stored.access if stored.access != refused else None
