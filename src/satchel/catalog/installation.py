"""Which installation a catalog belongs to: one row, so that a catalog and a store are never mixed up."""

from __future__ import annotations

from sqlalchemy import insert, select

from satchel.catalog.schema import installation
from satchel.catalog.scope import Directory
from satchel.errors import StartRefused

_FIND = select(installation.c.installation_id)
_INSERT = insert(installation)


async def find(d: Directory) -> str | None:
    """The installation of this catalog, ``None`` if it was never opened with a store."""
    row = await d.row(_FIND)
    return None if row is None else str(row.installation_id)


async def bind(d: Directory, id: str) -> None:  # noqa: A002
    """Say that this catalog belongs to the installation ``id``. Raises ``StartRefused`` if it belongs to another."""
    known = await find(d)
    if known is None:
        await d.execute(_INSERT, {"installation_id": id})
    elif known != id:
        raise StartRefused(
            f"the catalog is of the installation {known}, and the store of {id}",
            hint="Name the store that belongs to this catalog, or the catalog that belongs to this store.",
        )
