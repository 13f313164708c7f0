"""For the words of ``satchel admin``: the installation on this machine, opened from the server's settings."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from satchel.config.server import ServerSettings, server_settings
from satchel.errors import StartRefused

if TYPE_CHECKING:
    from satchel.upkeep.estate import Estate

T = TypeVar("T")

_LOST = (
    "Name the installation's own: is SATCHEL_DATABASE_URL set as its servers have it? If it was lost: "
    "satchel admin restore, or satchel admin rebuild-catalog."
)

data_option = click.option("--data", metavar="FOLDER", help="The server's data, as given to serve (./satchel-data).")


def settings_for(data: str | None) -> ServerSettings:
    """The server's settings as ``serve`` in the same place would have them."""
    return server_settings({"data": data})


def with_estate(settings: ServerSettings, work: Callable[[Estate], Awaitable[T]]) -> T:
    """What ``work`` makes of the installation. A running server does not mind.

    Raises ``StartRefused`` where the server's packages are not installed, there is no installation or nothing is in its
    catalog, and as ``open_estate`` does.
    """
    upkeep = server_part("satchel.upkeep.estate")
    if not settings.data.exists() and not settings.root_key_path.exists():
        raise StartRefused(
            f"there is no installation in {settings.data}",
            hint="Name the server's data directory with --data or SATCHEL_DATA, as `satchel serve` has it.",
        )
    if not settings.database_url and not (settings.data / "catalog.db").exists():  # opening it would make it
        raise StartRefused(f"there is no catalog in {settings.data}", hint=_LOST)

    # What was loaded stays, and what is read now are rows in their thousands: looking through them again and again for
    # garbage would take a quarter of the time.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)

    async def run() -> T:
        async with upkeep.open_estate(settings.catalog, settings.store, settings.root_key_path) as estate:
            if not await estate.tenants():  # else an empty backup would pass for one, and nothing at all for sound
                raise StartRefused("the catalog is empty", hint=_LOST)
            return await work(estate)

    return asyncio.run(run())


async def note_operator(estate: Estate, action: str, target: str) -> None:
    """Write into the audit of the tenant that operates the server what was just done."""
    await server_part("satchel.upkeep.operated").record_operator(estate, action, target)


def server_part(name: str) -> Any:
    """A module that comes with the extra ``server``, which the local tool does without."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise StartRefused(
            f"the server's packages are not installed ({error.name})",
            hint="Install them:  pip install 'satchel[server]'",
        ) from error
