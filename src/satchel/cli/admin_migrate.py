"""``satchel admin migrate``: bring the catalog's tables to this version of Satchel."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import click

from satchel.cli.estate import data_option, server_part, settings_for
from satchel.cli.face import Face
from satchel.cli.verb import verb
from satchel.errors import ConfigInvalid, StartRefused


@verb(
    "migrate",
    examples=[
        ("satchel admin migrate", "Before the new version serves; an embedded catalog is migrated by `serve` itself."),
        ("satchel admin migrate --check", "Say whether there is something to do; status 1 if so."),
    ],
    gives="`engine`, `before` (null for an empty database), `revision`, `current`.",
    statuses=(0, 1, 2, 5, 6),
)
@click.option("--check", is_flag=True, help="Change nothing.")
@data_option
def command(face: Face, check: bool, data: str | None) -> int:
    """Bring the catalog's tables to this version of Satchel.

    On PostgreSQL it connects as the role that owns the tables (SATCHEL_DATABASE_OWNER_URL), makes or changes them in
    one transaction, puts each behind row-level security, and lets the role of SATCHEL_DATABASE_URL use them. Servers
    may go on serving. Two that run at once wait for each other; running it again changes nothing.
    """
    settings = settings_for(data)
    catalog = server_part("satchel.catalog.scope").Catalog
    postgres = settings.database_url.startswith("postgres")
    serving = urlsplit(settings.database_url).username if postgres else None
    url = settings.database_owner_url if postgres else settings.catalog
    if not postgres and settings.database_owner_url:
        raise ConfigInvalid(
            "SATCHEL_DATABASE_OWNER_URL is set, and SATCHEL_DATABASE_URL names no PostgreSQL database",
            hint="Set SATCHEL_DATABASE_URL to the serving role's address: migrate lets that role use the tables.",
        )
    if not settings.database_url and not (settings.data / "catalog.db").exists():
        raise StartRefused(
            f"there is no catalog in {settings.data}",
            hint="Name the server's data directory with --data or SATCHEL_DATA, or a database in SATCHEL_DATABASE_URL.",
        )
    if postgres and not url and not check:
        raise ConfigInvalid(
            "SATCHEL_DATABASE_OWNER_URL is not set: the tables are made by the role that owns them",
            hint="Set it to the address of the same database with the owner's name and password.",
        )
    if postgres and not serving:
        raise ConfigInvalid("SATCHEL_DATABASE_URL does not name the role that serves: postgresql://ROLE:...@host/db")

    async def work() -> tuple[str | None, str]:
        before = await catalog.revision(url or settings.database_url)
        server_part("satchel.catalog.revision").refuse_newer(before)
        if not check:
            await catalog.migrate(url, serving=serving)
        return before, catalog.newest

    before, newest = asyncio.run(work())
    done = before == newest
    told = {
        "engine": "PostgreSQL" if postgres else "SQLite",
        "before": before,
        "revision": newest,
        "current": done or not check,
    }
    face.answer(told, lambda: face.line(_said(before, newest, check=check)))
    return 1 if check and not done else 0


def _said(before: str | None, newest: str, *, check: bool) -> str:
    if before == newest:
        return f"The catalog is at {newest}, as this version needs it."
    if check:
        return f"The catalog {'is empty' if before is None else f'is at {before}'}; this version needs {newest}."
    return f"Migrated to {newest} ({'it was empty' if before is None else f'from {before}'})."
