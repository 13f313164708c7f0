"""What time it is, asked of the store: before anything is deleted because of its age.

Versions expire by days, backups and the keys in them after a while, dying packs after the backup window, and an epoch's
key half an hour after its successor began. All of that goes by this machine's clock, and cannot be taken back.
"""

from __future__ import annotations

from collections.abc import Callable

from satchel.errors import Refused
from satchel.store.objectstore import ObjectStore

MAX_OFF_MS = 60 * 60 * 1000
"""How far this machine's clock and a store's may be apart."""


class ClockOff(Refused):
    code = "clock.off"
    default_hint = "Set the clock of this machine right (and of the storage, if it is yours), and run it again."


async def store_time(store: ObjectStore, random: Callable[[int], bytes]) -> int | None:
    """The store's clock in milliseconds UTC, as it dates an object written now; ``None`` if its listing lags."""
    name = f"store-check/{random(16).hex()}"
    await store.put(name, b"satchel")
    try:
        async for stored in store.list(name):
            if stored.name == name:
                return stored.modified
    finally:
        await store.delete(name)
    return None


async def check_clock(clock: Callable[[], int], store: ObjectStore, random: Callable[[int], bytes]) -> None:
    """Make sure that ``clock`` and the store's agree. A directory on this machine has no clock of its own.

    Raises ``ClockOff``, and what the store raises.
    """
    before = clock()
    told = await store_time(store, random)
    if told is None:
        return
    off = max(before - told, told - clock())
    if off > MAX_OFF_MS:
        which = "ahead of" if before > told else "behind"
        minutes = f"{off // 60_000:,} minutes"
        raise ClockOff(f"this machine's clock is {minutes} {which} the storage's: nothing was deleted")
