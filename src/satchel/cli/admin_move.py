"""``satchel admin move-catalog``: take the catalog from its file to PostgreSQL, or back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from satchel.cli.estate import data_option, server_part, settings_for
from satchel.cli.face import Face, plural, shown_path
from satchel.cli.progress import Progress
from satchel.cli.verb import verb
from satchel.config.server import ServerSettings
from satchel.errors import AlreadyExists, ConfigInvalid, NoSuchThing
from satchel.worktree.durable import sync_folder


@verb(
    "move-catalog",
    examples=[
        ("satchel admin move-catalog", "From catalog.db in the data directory to SATCHEL_DATABASE_URL."),
        ("satchel admin move-catalog --back catalog.db", "From SATCHEL_DATABASE_URL to a file, to be embedded again."),
    ],
    gives="`from`, `to`, `rows`, `tables` (rows of each), `kept` (where the old file is now, or null).",
    statuses=(0, 1, 2, 5, 6),
)
@click.option("--from", "source", metavar="FILE", help="The catalog's file, if not catalog.db in the data directory.")
@click.option("--back", metavar="FILE", help="The other way: into this file, which must not be there.")
@data_option
def command(face: Face, source: str | None, back: str | None, data: str | None) -> None:
    """Take the catalog from its file to PostgreSQL, or back.

    Stop the servers first: it refuses to run beside one. The database must have been migrated (satchel admin migrate)
    and never used. Every row is read back and compared before anything counts; stopped in the middle, it has changed
    nothing. The old file stays, under another name; a PostgreSQL database that was moved from stays as it is.
    """
    if source is not None and back is not None:
        raise click.UsageError("--from and --back do not go together")
    settings = settings_for(data)
    if not settings.database_url.startswith("postgres"):
        raise ConfigInvalid(
            "SATCHEL_DATABASE_URL does not name a PostgreSQL database",
            hint="Set it as the servers will have it: postgresql://role:password@host/database",
        )
    with closing(Progress(face)) as bar:

        def told(done: int, total: int) -> None:
            bar("tenants", done, total)

        answer = _back(settings, Path(back), told) if back else _forth(settings, source, told)
    rows, tables = answer["rows"], len(answer["tables"])

    def show() -> None:
        face.line(f"Moved {plural(rows, 'row')} of {plural(tables, 'table')} to {answer['to']}, and compared each.")
        if answer["kept"]:
            face.line(f"The old catalog is kept as {shown_path(Path(answer['kept']), face.cwd)}.")
        face.note("Start the servers with SATCHEL_DATABASE_URL unset." if back else "Now start the servers.")

    face.answer(answer, show)


def _forth(settings: ServerSettings, source: str | None, told: Callable[[int, int], None]) -> dict[str, Any]:
    file = Path(source) if source else settings.data / "catalog.db"
    if not file.is_file():
        raise NoSuchThing(f"there is no catalog {file}", hint="Name it with --from, or the data directory with --data.")
    kept = file.with_name(file.name + ".moved")  # of that name it is not taken for the catalog any more
    if kept.exists():
        raise AlreadyExists(f"{kept} is there from an earlier move", hint="Look at it, and move it elsewhere.")
    counts = _move(_file_url(file), settings.database_url, told)
    os.replace(file, kept)
    sync_folder(file.absolute().parent)
    return _answer(str(file), "PostgreSQL", counts, str(kept.absolute()))


def _back(settings: ServerSettings, file: Path, told: Callable[[int, int], None]) -> dict[str, Any]:
    if file.exists():
        raise AlreadyExists(f"{file} is there already", hint="Name a file that is not.")
    making = file.with_name(f".{file.name}.moving")
    making.unlink(missing_ok=True)
    try:
        asyncio.run(server_part("satchel.catalog.scope").Catalog.migrate(_file_url(making)))
        counts = _move(settings.database_url, _file_url(making), told)
        os.replace(making, file)
        sync_folder(file.absolute().parent)
    finally:
        for left in (making, *(making.with_name(making.name + end) for end in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)
    return _answer("PostgreSQL", str(file), counts, None)


def _move(source: str, target: str, told: Callable[[int, int], None]) -> dict[str, tuple[int, int]]:
    counts: dict[str, tuple[int, int]] = asyncio.run(
        server_part("satchel.catalog.scope").Catalog.move(source, target, progress=told)
    )
    return counts


def _file_url(file: Path) -> str:
    return f"sqlite:///{file.absolute()}"


def _answer(source: str, target: str, counts: dict[str, tuple[int, int]], kept: str | None) -> dict[str, Any]:
    tables = {name: rows for name, (rows, _) in sorted(counts.items())}
    return {"from": source, "to": target, "rows": sum(tables.values()), "tables": tables, "kept": kept}
