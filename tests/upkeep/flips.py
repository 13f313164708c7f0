"""One byte of one file that a server wrote is changed, anywhere: is it found, and is it named?

    python -m tests.upkeep.flips [COUNT] [SEED]

Fills an installation that holds every kind of file, then changes one random byte at a time, checks the whole with
``verify --full`` in a freshly opened installation, and puts the byte back. Prints a line for each kind of file:
``name: got / of``. Changes of the catalog's file that alter no row are harmless and told beside; nothing else is.
"""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from satchel.catalog import inspection, tenants
from satchel.errors import SatchelError
from satchel.objects.frame import MAX_FRAME_RAW
from satchel.objects.ids import ObjectId, ProjectId, TenantId
from satchel.objects.record import Purge
from satchel.upkeep.about import refresh_about
from satchel.upkeep.contents import table_of
from satchel.upkeep.estate import open_estate
from satchel.upkeep.findings import VerifyReport
from satchel.upkeep.verify import verify
from tests.upkeep.house import Clock, House, open_house

FOUND, MISSED, HARMLESS = "found", "missed", "harmless"


@dataclass
class Flips:
    """What became of the changes, by kind of file; ``missed`` says where each was that was not found."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)

    def add(self, kind: str, outcome: str, where: str) -> None:
        self.counts[kind, outcome] += 1
        if outcome == MISSED:
            self.missed.append(where)

    def lines(self) -> Iterable[str]:
        """``name: got / of`` for each kind."""
        for kind in sorted({kind for kind, _ in self.counts}):
            found, missed = self.counts[kind, FOUND], self.counts[kind, MISSED]
            harmless = self.counts[kind, HARMLESS]
            beside = f" ({harmless} more changed no row)" if harmless else ""
            yield f"flipped bytes of {kind} found and named{beside}: {found} / {found + missed}"


class Target:
    """An installation on disk, and what is known of each of its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[str, set[str]] = {}
        """For each pack, the paths whose content lies in it."""
        self.catalog = b""
        self.rows: object = None

    async def fill(self) -> None:
        async with open_house(self.folder, Clock()) as house:
            tenant = await house.tenant()
            project = await house.project(tenant)
            await _work(house, tenant, project)
            await refresh_about(house.estate, tenant)
            gone = await house.tenant("gone")
            await house.estate.keyring.shred(gone)
            async with house.estate.catalog.directory(write=True) as d:
                await tenants.erase(d, gone)
            await self._learn(house, tenant, project)
        self.catalog = (self.folder / "catalog.db").read_bytes()
        self.rows = logical(self.folder / "catalog.db")

    async def _learn(self, house: House, tenant: TenantId, project: ProjectId) -> None:
        async with house.estate.catalog.read(tenant) as s:
            for pack in await inspection.packs_after(s, project):
                rows = await inspection.places_in(s, project, pack.name)
                objects = [row.object for row in rows]
                self.paths[pack.name] = {where.path for where in (await inspection.holders(s, project, objects))[0]}

    def files(self) -> dict[str, list[Path]]:
        """The files by kind."""
        store = self.folder / "store"
        kinds: dict[str, list[Path]] = {"catalog": [self.folder / "catalog.db"], "root key": [self.folder / "root.key"]}
        for path in sorted(path for path in store.rglob("*") if path.is_file() and ".tmp" not in path.parts):
            parts = path.relative_to(store).parts
            last = {"about": "about", "shredded": "tombstones"}.get(path.name)
            kind = last or next(part for part in reversed(parts[:-1]) if part.isalpha())
            kinds.setdefault(kind, []).append(path)
        return kinds

    async def look(self) -> VerifyReport:
        """What a fresh process says."""
        url, key = f"sqlite:///{self.folder / 'catalog.db'}", self.folder / "root.key"
        async with open_estate(url, (self.folder / "store").as_uri(), key, clock=Clock()) as estate:
            return await verify(estate, full=True)

    async def judge(self, kind: str, path: Path) -> str:
        """Whether the change that was just made to ``path`` is found."""
        try:
            report = await self.look()
        except SatchelError:
            return FOUND if kind in ("catalog", "root key", "installation") else MISSED
        if kind == "catalog":
            if report.problems:
                return FOUND
            return HARMLESS if logical(path) == self.rows else MISSED
        name = path.relative_to(self.folder / "store").as_posix()
        for problem in report.problems:
            if name.startswith(problem.name):
                named = kind != "packs" or {where.path for where in problem.places} <= self.paths[path.name]
                placed = problem.project == "notes" if "/projects/" in name else True
                content = kind != "packs" or bool(problem.places) == bool(self.paths[path.name])
                return FOUND if named and placed and content else MISSED
        return MISSED

    def restore(self) -> None:
        """The catalog as it was, whatever a look at a damaged one left."""
        gc.collect()  # a statement that failed in the middle keeps its connection, and that the files, until then
        for suffix in ("-wal", "-shm"):
            (self.folder / f"catalog.db{suffix}").unlink(missing_ok=True)
        (self.folder / "catalog.db").write_bytes(self.catalog)


async def _work(house: House, tenant: TenantId, project: ProjectId) -> None:
    """Every kind of file of a project, and rows in most tables."""
    for number in range(6):
        await house.put(tenant, project, f"docs/{number}.md", f"# Page {number}\n\n{'word ' * number}".encode())
    await house.put(tenant, project, "docs/1.md", b"# Another\n")
    await house.put(tenant, project, "docs/2.md", None)
    await house.put(tenant, project, "large.txt", b"0123456789abcdef" * (MAX_FRAME_RAW // 16) + b"more")
    async with house.estate.catalog.read(tenant) as s:
        pack = (await inspection.packs_after(s, project))[0]
        table = table_of(pack, await inspection.places_in(s, project, pack.name))
    await house.estate.vault.put_tables(tenant, project, [table])
    await house.checkpoint(tenant, project)
    await house.estate.vault.put_purge(tenant, project, Purge((ObjectId("0" * 64),), ("secret.md",), 1))


def logical(path: Path) -> object:
    """Every row and every definition of the catalog; an error where they cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
            names = [name for kind, name, _, _ in made if kind == "table"]
            return made, {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in names}
    except sqlite3.Error as error:
        return error


async def flip(target: Target, count: int, seed: int, only: str | None = None) -> Flips:
    """Change ``count`` bytes, each kind of file as often as any other, and see what is found of them."""
    chance, result = random.Random(seed), Flips()
    kinds = [(kind, paths) for kind, paths in sorted(target.files().items()) if only in (None, kind)]
    for number in range(count):
        kind, paths = kinds[number % len(kinds)]
        path = chance.choice(paths)
        data = path.read_bytes()
        # Most of a small catalog is room for rows to come, which is zero; where a byte stands, there is something.
        places = range(len(data)) if kind != "catalog" else [at for at, byte in enumerate(data) if byte]
        at, by = chance.choice(places), chance.randrange(1, 256)
        path.write_bytes(data[:at] + bytes([data[at] ^ by]) + data[at + 1 :])
        where = f"{path.relative_to(target.folder)} byte {at} ^ {by}"
        try:
            result.add(kind, await target.judge(kind, path), where)
        except Exception as error:
            error.add_note(where)
            raise
        finally:
            path.write_bytes(data)
            if kind == "catalog":
                target.restore()
    return result


async def main(count: int, seed: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="satchel-flips-"))
    try:
        target = Target(folder)
        await target.fill()
        assert (await target.look()).problems == []
        target.restore()
        # The catalog is the one file that nothing seals: it gets as many as all others together.
        stored = await flip(target, count, seed)
        catalog = await flip(target, count, seed + 1, "catalog")
        for result in (stored, catalog):
            print("\n".join(result.lines()), flush=True)
            print("\n".join(f"  missed: {where}" for where in result.missed), file=sys.stderr)
        return 1 if stored.missed or catalog.missed else 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    sys.exit(asyncio.run(main(*[*numbers, *(1_000, 1)[len(numbers) :]])))
