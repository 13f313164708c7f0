"""What may happen to a path in a sync, beyond belonging to the project: the lists of ``[sync]`` in ``config.toml``.

A path is governed by the first list that matches it or a folder around it: ``local_only``, ``pull_only``,
``push_only``. ``allow_secrets`` names files that go although they look like they hold a credential.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from satchel.worktree.ignore import Patterns


class Policies(NamedTuple):
    """Lists of patterns as in ``.gitignore``."""

    local_only: tuple[str, ...] = ()
    """Neither sent nor fetched; searched here like any other file."""
    pull_only: tuple[str, ...] = ()
    """Fetched and never sent: what is changed here stays here."""
    push_only: tuple[str, ...] = ()
    """Sent and never fetched: what others change stays in the cloud."""
    allow_secrets: tuple[str, ...] = ()


NO_POLICIES = Policies()


class Governing:
    """The lists, ready to be asked. Patterns are translated when the first path is asked about."""

    def __init__(self, policies: Policies = NO_POLICIES, allowed: tuple[str, ...] = ()) -> None:
        """``allowed``: paths that go this once although they look like they hold a credential."""
        self._policies, self._allowed = policies, frozenset(allowed)

    def of(self, path: str) -> str | None:
        """``local-only``, ``pull-only`` or ``push-only``, or ``None`` for a path that goes both ways."""
        names = ("local_only", "pull_only", "push_only")
        return next((name.replace("_", "-") for name in names if self._matches(name, path)), None)

    def allows_secrets(self, path: str) -> bool:
        """Whether somebody decided that this file goes whatever it looks like."""
        return path in self._allowed or self._matches("allow_secrets", path)

    def _matches(self, name: str, path: str) -> bool:
        if not getattr(self._policies, name):
            return False
        patterns = self._compiled[name]
        while path:
            verdict = patterns.verdict(path)
            if verdict is not None:
                return verdict
            above = path.rstrip("/").rpartition("/")[0]
            path = above + "/" if above else ""
        return False

    @cached_property
    def _compiled(self) -> dict[str, Patterns]:
        from satchel.worktree.ignore import Patterns

        return {name: Patterns(lines) for name, lines in self._policies._asdict().items() if lines}
