"""Random sequences over REST, MCP, sync and search of two tenants with the same names in everything leak nothing (P5,
P10); and each of five leaks that are planted is found by the same sequences.

The driver is the one that ``satchel admin prove-isolation`` takes to any server.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BindParameter, true
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BinaryExpression

from satchel.auth.roles import Role
from satchel.catalog import idempotency, projects
from satchel.catalog.schema import METADATA, SCOPE_TENANT
from satchel.catalog.scope import Scope
from satchel.context.part import Part
from satchel.remote.raw import RawServer, Reply
from satchel.server.hosted import HostedReader
from satchel.server.indexes import IndexCache, Ref, _Slot
from satchel.server.isolation.asking import Asking
from satchel.server.isolation.folders import Folders
from satchel.server.isolation.requests import Request
from satchel.server.isolation.sequences import Leak, Sequences
from satchel.server.isolation.world import found_tenant, random_words
from satchel.server.mcpgate import McpGate
from satchel.server.readers import Readers
from tests.isolation.canaries import sightings
from tests.isolation.conftest import SETTINGS
from tests.isolation.doors import AppDoor
from tests.journeys.conftest import Server
from tests.postgres import Postgres
from tests.server.running import Running, serving, serving_with_a_defect

pytestmark = [pytest.mark.promise("P5"), pytest.mark.timeout(600)]
FEW = 20
"""Sequences in the suite."""
MANY = 1_000
"""Sequences of each engine when asked to prove: 2,000 together."""
PATIENCE = 80
"""A planted leak shows within as many."""


@contextmanager
def two(server: Running, *, syncs: bool = True) -> Iterator[Sequences]:
    """Sequences of two fresh tenants of a server of this process."""
    asking, word = Asking(AppDoor(server)), random_words(os.urandom)
    assert server.admin.key is not None
    a, b = (found_tenant(asking, server.admin.key, word, name) for name in "ab")
    with closing(Folders(server.url)) as folders:
        yield Sequences(asking, a, b, word, seed=1, folders=folders if syncs else None)


def hunted(server: Running) -> list[Leak]:
    """What leaks, as soon as something does."""
    with two(server, syncs=False) as sequences:
        for number in range(PATIENCE):
            sequences.run(number, 1)
            if sequences.leaks:
                break
        return sequences.leaks


class Host(Server):
    """A server process that keeps its temporary files where they can be looked at, and says in its log what it can."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        temporary = place / "tmp"
        temporary.mkdir()
        self.env |= {
            "TMPDIR": str(temporary), "SQLITE_TMPDIR": str(temporary), "SATCHEL_LOG_LEVEL": "debug",
            "SATCHEL_TENANT_CONCURRENCY": "1000",
        }  # fmt: skip

    def files(self) -> list[Path]:
        return [Path(folder, name) for folder, _, names in os.walk(self.data.parent) for name in names]


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path)
    if request.param == "PostgreSQL":
        database: Postgres = request.getfixturevalue("postgres")
        one.env["SATCHEL_DATABASE_URL"] = database.url
    one.start()
    yield one
    one.close()


@pytest.mark.system
@pytest.mark.promise("P10")
def test_nothing_leaks_between_two_tenants_whatever_they_do(host: Host) -> None:
    """Over HTTP, with the real client; then the log, every file of the server and its store are looked through."""
    word = random_words(os.urandom)
    with closing(RawServer(host.url)) as door, closing(Folders(host.url)) as folders:
        asking = Asking(door)
        a, b = (found_tenant(asking, host.admin, word, name) for name in "ab")
        sequences = Sequences(asking, a, b, word, seed=7, folders=folders)
        sequences.run(0, MANY if os.environ.get("PROVE") else FEW)
    assert (sequences.leaks, sequences.failed) == ([], [])
    secrets = [secret for side in sequences.sides for secret in side.secrets.values()]
    marks = [mark for side in sequences.sides for mark in side.marks.values()]
    assert sightings(host.files(), secrets) == []
    places = {sighting.file.name.removesuffix("-wal") for sighting in sightings(host.files(), marks)}
    assert places <= {"catalog.db"}
    # Indexes and caches lie apart, each below its tenant.
    folders_of_indexes = {path.parts[-3] for path in (host.data / "cache/index").rglob("*.db")}
    assert folders_of_indexes == {a.id, b.id}


# What is planted -----------------------------------------------------------------------------------------------------


def without_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question of a scope loses its condition on the tenant, and its guard with it."""
    run = Scope._run

    def opened(element: Any, **_: object) -> Any:
        mine = isinstance(element, BinaryExpression) and isinstance(element.right, BindParameter)
        return true() if mine and element.right.key == SCOPE_TENANT else None

    async def unfiltered(self: Scope, statement: Any, params: Any) -> Any:
        if not statement.is_select:
            return await run(self, statement, params)
        given = {**(params or {}), SCOPE_TENANT: self.tenant}
        await self._inside()
        return await self._connection.execute(visitors.replacement_traverse(statement, {}, opened), given)

    monkeypatch.setattr(Scope, "_run", unfiltered)


def row_level_security(database: Postgres, how: str) -> None:
    database.run(*(f"ALTER TABLE {table.name} {how} ROW LEVEL SECURITY" for table in METADATA.sorted_tables))


def test_questions_without_their_filter_leak_nothing_behind_row_level_security(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(tmp_path / "data", database_url=postgres.url, **SETTINGS) as server,
        two(server, syncs=False) as sequences,
    ):
        without_the_filter(monkeypatch)
        sequences.run(0, FEW)
        assert (sequences.leaks, sequences.failed) == ([], [])
        row_level_security(postgres, "DISABLE")
        sequences.run(FEW, FEW)
        assert sequences.leaks != []


class _ByProject(OrderedDict[Any, Any]):
    """The slots of indexes under keys that have lost their tenant."""

    def get(self, ref: Any, default: Any = None) -> Any:
        return super().get(ref.project, default)

    def __getitem__(self, ref: Any) -> Any:
        return super().__getitem__(ref.project)

    def __setitem__(self, ref: Any, value: Any) -> None:
        super().__setitem__(ref.project, value)

    def move_to_end(self, ref: Any, last: bool = True) -> None:
        super().move_to_end(ref.project, last)

    def pop(self, ref: Any, default: Any = None) -> Any:
        return super().pop(ref.project, default)


def cache_key_without_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of projects are remembered by what they are asked by alone."""
    get, kept = projects.get, dict[str, projects.ProjectRow]()

    async def remembered(s: Scope, ref: str) -> projects.ProjectRow | None:
        if ref not in kept:
            row = await get(s, ref)
            if row is None:
                return None
            kept[ref] = row
        return kept[ref]

    monkeypatch.setattr(projects, "get", remembered)


def index_path_without_tenant(monkeypatch: pytest.MonkeyPatch, *, believed: bool = True) -> None:
    """Index files are found by project alone, and (``believed``) held against its version in place of the digest."""
    made = IndexCache.__init__

    def init(self: IndexCache, root: Path, *args: Any, **kwargs: Any) -> None:
        made(self, root, *args, **kwargs)
        self._slots = _ByProject()

    def slot(self: IndexCache, ref: Ref) -> _Slot:
        found: _Slot | None = self._slots.get(ref)
        if found is None:
            file_id = self._random(16)
            found = self._slots[ref] = _Slot(file_id, self._root / ref.project / f"{file_id.hex()}.db", 0)
        return found

    brought: dict[str, int] = {}

    def part(self: HostedReader, borrowed: Any, row: Any, *, past: bool = False) -> Part | None:
        if brought.get(row.id) != row.version:
            brought[row.id] = row.version
            return None
        ref = self._ref(row)
        index = borrowed.enter_context(self._shelf.indexes.borrow(ref, lambda name: self._shelf.key(ref, name)))
        return Part(row.slug, index, index.digest or row.digest, row.version, self._history(row))

    monkeypatch.setattr(IndexCache, "__init__", init)
    monkeypatch.setattr(IndexCache, "_slot", slot)
    if believed:
        monkeypatch.setattr(HostedReader, "_part", part)


def shared_idempotency_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are kept by route and key, whoever sent them."""
    kept: dict[tuple[str, str], str] = {}

    async def find(s: Scope, who: str, route: str, key: str, *rest: object) -> str | None:
        return kept.get((route, key))

    async def save(s: Scope, who: str, route: str, key: str, hashed: str, result: str, now: int) -> None:
        kept[route, key] = result

    monkeypatch.setattr(idempotency, "find", find)
    monkeypatch.setattr(idempotency, "save", save)


def mcp_without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """At /mcp everybody reads every project of the tenant, as REST would not let them."""
    at_mcp: ContextVar[bool] = ContextVar("at_mcp", default=False)
    ask, gate = Readers.ask, McpGate.__call__

    async def asked(self: Readers, who: Any, *rest: Any, **more: Any) -> Any:
        return await ask(self, replace(who, all_projects=Role.READ) if at_mcp.get() else who, *rest, **more)

    async def entered(self: McpGate, *args: Any) -> None:
        at_mcp.set(True)
        await gate(self, *args)

    monkeypatch.setattr(Readers, "ask", asked)
    monkeypatch.setattr(McpGate, "__call__", entered)


DEFECTS = {
    "a cache key without its tenant": cache_key_without_tenant,
    "an index path without its tenant": index_path_without_tenant,
    "an idempotency key shared by all": shared_idempotency_key,
    "MCP without the check of REST": mcp_without_the_check,
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_leak_is_found(defect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DEFECTS[defect](monkeypatch)
    with serving_with_a_defect(tmp_path / "data", **SETTINGS) as server:
        assert hunted(server) != []


def test_an_index_path_without_its_tenant_leaks_nothing_while_digests_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_path_without_tenant(monkeypatch, believed=False)
    with serving_with_a_defect(tmp_path / "data", **SETTINGS) as server, two(server, syncs=False) as sequences:
        sequences.run(0, FEW)
        assert sequences.leaks == []


def test_a_server_without_a_defect_is_found_to_have_none(server: Running) -> None:
    with two(server) as sequences:
        sequences.run(0, FEW)
    assert (sequences.leaks, sequences.failed) == ([], [])
    assert sequences.steps > 100


def test_a_sequence_is_repeated_by_its_number(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    send, did = Asking.send, list[str]()

    def noted(self: Asking, request: Request, key: str | None) -> Reply:
        did.append(f"{request.method} {request.path}")
        return send(self, request, key)

    monkeypatch.setattr(Asking, "send", noted)
    told = []
    for _ in range(2):
        with two(server, syncs=False) as sequences:
            did.clear()
            sequences.run(3, 2)
            told.append([line.partition("?")[0] for line in did])
    assert told[0] == told[1]
