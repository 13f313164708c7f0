"""For the words of ``satchel admin``: the installation on this machine, opened from the server's settings."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from satchel.config.server import ServerSettings, server_settings
from satchel.errors import StartRefused

if TYPE_CHECKING:
    from satchel.upkeep.estate import Estate

T = TypeVar("T")

data_option = click.option("--data", metavar="FOLDER", help="The server's data, as given to serve (./satchel-data).")


def settings_for(data: str | None) -> ServerSettings:
    """The server's settings as ``serve`` in the same place would have them."""
    return server_settings({"data": data})


def with_estate(settings: ServerSettings, work: Callable[[Estate], Awaitable[T]]) -> T:
    """What ``work`` makes of the installation. A running server does not mind.

    Raises ``StartRefused`` where the server's packages are not installed or there is no installation, and as
    ``open_estate`` does.
    """
    upkeep = server_part("satchel.upkeep.estate")
    if not settings.data.exists() and not settings.root_key_path.exists():
        raise StartRefused(
            f"there is no installation in {settings.data}",
            hint="Name the server's data directory with --data or SATCHEL_DATA, as `satchel serve` has it.",
        )

    async def run() -> T:
        async with upkeep.open_estate(settings.catalog, settings.store, settings.root_key_path) as estate:
            return await work(estate)

    return asyncio.run(run())


def server_part(name: str) -> Any:
    """A module that comes with the extra ``server``, which the local tool does without."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise StartRefused(
            f"the server's packages are not installed ({error.name})",
            hint="Install them:  pip install 'satchel[server]'",
        ) from error
