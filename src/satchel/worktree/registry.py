"""The machine's list of projects, and the places of folders that were never made one.

A JSON file in the XDG state directory. It is a convenience: entries whose folder is gone or is another project by now
are not listed, and a damaged file is set aside and begun anew (``satchel init`` in a folder enters it again). One that
cannot be read at the moment stays as it is.
"""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from satchel.errors import SatchelError
from satchel.worktree import durable
from satchel.worktree.find import read_project_config
from satchel.worktree.lock import file_lock

_FORMAT = 1


class Registered(NamedTuple):
    id: str
    slug: str
    root: Path


@dataclass(frozen=True, slots=True)
class Registry:
    """``path`` is the file, such as ``~/.local/state/satchel/projects.json``."""

    path: Path

    def registered(self) -> list[Registered]:
        """All projects whose folder still is that project, by slug. The slug is the one its ``config.toml`` has now."""
        found = (_present(entry) for entry in self._entries())
        return sorted((entry for entry in found if entry), key=lambda entry: (entry.slug, entry.root))

    def gone(self) -> list[Registered]:
        """Entries whose folder is not that project any more, under the slug they were entered with."""
        return [entry for entry in self._entries() if _present(entry) is None]

    def register(self, root: Path, project_id: str, slug: str, *, remote: str | None = None) -> None:
        """Enter a project. A copied folder may have the same id: both are listed.

        ``remote`` is a server that the person chose for it here; see ``accepts``.
        """
        with file_lock(self.path.with_suffix(".lock"), wait=True):
            state = self._load(to_change=True)
            before = state["projects"].get(str(root), {})
            chosen = remote or (before.get("remote") if before.get("id") == project_id else None)
            entry = {"id": project_id, "slug": slug}
            state["projects"][str(root)] = entry | {"remote": chosen} if chosen else entry
            self._save(state)

    def accepts(self, root: Path, project_id: str, remote: str) -> bool:
        """Whether the person chose this server for this project, in this folder or in one that became this folder.

        The address in ``config.toml`` does not say so: it may have come with the folder.
        """
        return any(
            entry["id"] == project_id
            and entry.get("remote") == remote
            and (Path(place) == root or _present(Registered(entry["id"], entry["slug"], Path(place))) is None)
            for place, entry in self._load()["projects"].items()
        )

    def forget(self, root: Path) -> bool:
        """Take a folder off the list; whether it was on it. The folder itself is not touched."""
        with file_lock(self.path.with_suffix(".lock"), wait=True):
            state = self._load(to_change=True)
            known = state["projects"].pop(str(root), None) is not None
            if state["current"] == str(root):
                state["current"] = None
            if known:
                self._save(state)
            return known

    def set_current(self, root: Path | None) -> None:
        """Choose the project that commands outside of any project mean."""
        with file_lock(self.path.with_suffix(".lock"), wait=True):
            state = self._load(to_change=True)
            state["current"] = None if root is None else str(root)
            self._save(state)

    def current(self) -> Registered | None:
        """The chosen project, if there is one and it still exists."""
        chosen = self._load()["current"]
        return next((project for project in self.registered() if str(project.root) == chosen), None) if chosen else None

    def _entries(self) -> list[Registered]:
        entries = self._load()["projects"].items()
        return [Registered(entry["id"], entry["slug"], Path(root)) for root, entry in entries]

    def _load(self, *, to_change: bool = False) -> dict[str, Any]:
        empty: dict[str, Any] = {"format": _FORMAT, "projects": {}, "current": None}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return empty
        except OSError as error:
            # Of what cannot be read nothing is known: it is not to be replaced by a new list.
            if to_change or error.errno in (errno.EMFILE, errno.ENFILE, errno.EIO):
                raise durable.unreadable(error, str(self.path)) from error
            return empty  # somebody else's home: a project works without the list
        try:
            state = json.loads(data)
        except (ValueError, RecursionError):
            return self._set_aside(empty)
        if not isinstance(state, dict) or not _is_state(state):
            return self._set_aside(empty)
        return state

    def _set_aside(self, empty: dict[str, Any]) -> dict[str, Any]:
        try:
            self.path.rename(self.path.with_suffix(".damaged"))
        except OSError:
            pass
        return empty

    def _save(self, state: dict[str, Any]) -> None:
        durable.replace(self.path, (json.dumps(state, indent=2) + "\n").encode(), permissions=0o600)


def _present(entry: Registered) -> Registered | None:
    """The entry as its folder has it now."""
    try:
        config = read_project_config(entry.root)
    except SatchelError:
        return None
    return Registered(config.id, config.name, entry.root) if config.id == entry.id else None


def _is_state(state: dict[str, Any]) -> bool:
    projects, current = state.get("projects"), state.get("current")
    return (
        isinstance(projects, dict)
        and all(
            isinstance(entry, dict) and isinstance(entry.get("id"), str) and isinstance(entry.get("slug"), str)
            for entry in projects.values()
        )
        and (current is None or isinstance(current, str))
    )


class Scratch(NamedTuple):
    state_path: Path
    index_path: Path


def scratch_dirs(root: Path, cache_home: Path) -> Scratch:
    """Where ``state.db`` and ``index.db`` of a folder without ``.satchel/`` live: both derived, both in the cache."""
    name = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return Scratch(cache_home / name / "state.db", cache_home / name / "index.db")
