"""Named points between two durable writes, where a test may stop the process dead.

``reach`` does nothing unless a test armed the point in this process (``arm``); nothing outside can arm one. The order
of writes of a sync is drawn in ``docs/spec/sync.md``, that of upkeep in ``docs/spec/catalog.md``.
"""

from __future__ import annotations

from collections.abc import Callable

NAMES = (
    "merge.after_record",
    "merge.after_write",
    "merge.after_base",
    "pull.after_path",
    "pull.before_base",
    "pull.after_base",
    "pull.before_old_name",
    "resolve.after_write",
    "resolve.after_base",
    "undo.after_hold",
    "undo.after_restore",
    "push.before_send",
    "push.before_base",
    "push.after_base",
    "receive.before_packs",
    "receive.after_packs",
    "receive.after_record",
    "receive.before_commit",
    "receive.after_commit",
    "receive.after_head",
    "rotate.after_next",
    "rotate.after_installation",
    "rotate.after_keyring",
    "rotate.after_copy",
    "reseal.after_object",
    "reseal.after_switch",
    "reseal.before_retire",
    "collect.after_floor",
    "collect.after_entries",
    "collect.after_abandoned",
    "collect.after_dying",
    "repack.after_packs",
    "repack.after_tables",
    "repack.after_switch",
    "collect.after_bytes",
    "collect.after_rows",
    "sweep.after_tables",
    "sweep.after_head",
    "sweep.after_record",
    "purge.after_commit",
    "purge.after_note",
    "purge.after_switch",
    "purge.after_checkpoints",
    "purge.after_bytes",
    "checkpoint.after_head",
    "departure.after_keys",
    "departure.after_rows",
    "departure.after_objects",
)

_armed: dict[str, Callable[[], None]] = {}


def reach(name: str) -> None:
    """Pass the point ``name``: nothing happens, or what a test armed there."""
    if _armed and name in _armed:
        _armed[name]()


def arm(name: str, action: Callable[[], None]) -> None:
    """Have ``action`` happen whenever ``name`` is reached. Raises ``ValueError`` for a point that does not exist."""
    if name not in NAMES:
        raise ValueError(f"there is no fail point {name}")
    _armed[name] = action


def disarm() -> None:
    """Disarm every point."""
    _armed.clear()
