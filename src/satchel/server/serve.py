"""One process that serves: what has to be true before it starts, its first start, and its clean end.

``prepare`` makes or checks data directory, port, root key, store, catalog and first tenant, and refuses with the reason
and the cure. ``run`` serves until SIGTERM or SIGINT, lets running requests finish, and returns. Printing is the command
line's.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from satchel.catalog import bootstrap, tenants
from satchel.catalog import installation as catalog_installation
from satchel.catalog.quotas import Limits
from satchel.catalog.scope import Catalog
from satchel.config.server import ServerSettings
from satchel.errors import StartRefused, StoreMissing, WrongKey
from satchel.objects.ids import new_id
from satchel.server.app import application
from satchel.server.arenas import share_arenas
from satchel.server.cloud import now_ms
from satchel.server.contradictions import refuse_contradictions
from satchel.server.ending import cut_off_after
from satchel.server.heads import bounded
from satchel.server.housekeeping import keep_house
from satchel.server.logs import configure, log
from satchel.server.standby import awaited
from satchel.store.durable_local import make_directory
from satchel.store.generations import Generations
from satchel.store.keyring import INSTALLATION, Installation, Keyring
from satchel.store.kms import kms_place
from satchel.store.objectstore import ObjectStore
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store
from satchel.upkeep.about import Notices

BACKLOG = 2_048
END_SECONDS = 5.0
"""Longest wait, when the last request has ended, for all that stands behind requests to close."""
LAST_SECONDS = 2.0
"""Longest wait for requests that were cut off to give back what they hold."""


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What the first start made, to be told once."""

    tenant: str
    """Slug of the first tenant."""
    key: str
    """API key of its owner, who also operates the server. Shown once, stored nowhere."""
    root_key: Path


@dataclass(frozen=True, slots=True)
class Prepared:
    """A server that can start."""

    settings: ServerSettings
    """With the port really taken, where 0 was asked."""
    first: FirstStart | None
    """``None`` when this is a restart."""
    root_kept: str
    """Where the root key is: in its file, or wrapped by which key service."""
    warnings: tuple[str, ...]
    listener: socket.socket
    metrics: socket.socket | None = None
    """Where metrics are answered, if they are."""

    def close(self) -> None:
        """Let go of the addresses."""
        self.listener.close()
        if self.metrics is not None:
            self.metrics.close()


def prepare(settings: ServerSettings, *, wait: bool = False) -> Prepared:
    """Everything before serving. With ``wait`` what is away is waited for, and the address answered meanwhile.

    Raises ``ConfigInvalid`` or ``StartRefused``; without ``wait`` also ``StoreUnavailable``, ``CatalogUnavailable``
    or ``DiskFull``.
    """
    share_arenas()
    refuse_contradictions(settings)
    make_data(settings.data)
    with ExitStack() as opened:
        listener = opened.enter_context(closing(listen(settings.host, settings.port)))
        metrics = None
        if settings.metrics_port:
            metrics = opened.enter_context(closing(listen(settings.metrics_host, settings.metrics_port, metrics=True)))
        settings = replace(settings, port=listener.getsockname()[1])
        if wait:
            configure(settings)
            serves = partial(uvicorn_config, settings=settings)
            first, root = asyncio.run(awaited(partial(_founded, settings), listener, serves))
        else:
            first, root = asyncio.run(_founded(settings))
        opened.pop_all()
    return Prepared(settings, first, root.kept, (*root.warnings, *_kms_warning(settings, root)), listener, metrics)


def _kms_warning(settings: ServerSettings, root: RootKey) -> tuple[str, ...]:
    if not settings.root_kms or root.kms is not None:
        return ()
    move = f"satchel admin key rotate-root --kms {settings.root_kms}"
    return (f"SATCHEL_ROOT_KMS is set, and the root key lies in its file; to move it, run: {move}",)


def run(prepared: Prepared) -> None:
    """Serve until SIGTERM or SIGINT. Requests under way get ``shutdown_seconds`` to finish."""
    configure(prepared.settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(prepared))


async def _serve(prepared: Prepared) -> None:
    settings = prepared.settings
    async with application(settings) as (app, cloud):
        house = asyncio.create_task(keep_house(cloud))
        beside = AsyncExitStack()
        if prepared.metrics is not None:
            # By name: what writes metrics is loaded where they are asked for.
            module = importlib.import_module("satchel.server.metrics")
            await beside.enter_async_context(module.metrics_served(cloud, prepared.metrics))
        log.info("serving", url=settings.url, data=str(settings.data))
        # A sync makes 100,000 objects that live until it ends. The default thresholds look through all of them, and
        # through every module, dozens of times: a fifth of the time of a first sync of 8,000 files.
        # The youngest are looked through often, since everybody waits meanwhile: 50,000 take a tenth of a second. The
        # oldest are after a million new ones, some quarter of an hour's: a circle that got there is not kept for days.
        gc.freeze()
        gc.set_threshold(2_000, 25, 20)
        # A thread that searches would keep the others waiting for ten times as long otherwise, the loop among them.
        sys.setswitchinterval(0.0005)

        def stopping() -> None:
            cut_off_after(settings.shutdown_seconds + LAST_SECONDS + END_SECONDS)
            cloud.listeners.close()

        try:
            server = Serving(uvicorn_config(app, settings), stopping, cloud.ending, settings.drain_seconds)
            await server.serve(sockets=[prepared.listener])
        finally:
            await beside.aclose()
            house.cancel()
            await asyncio.gather(house, return_exceptions=True)
    log.info("stopped")


def uvicorn_config(app: ASGIApp, settings: ServerSettings) -> uvicorn.Config:
    """How the application is served; log, lifespan, bounds of heads and deadlines of bodies are our own."""
    return uvicorn.Config(
        app,
        http=bounded(settings.connections),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


class Serving(uvicorn.Server):
    """uvicorn's, which lets go those who listen before it waits for the requests under way.

    Told to stop, it says so to those who ask whether it is ready (``ending``), and goes on for ``drain`` seconds, in
    which whoever sends it requests can hear of that. A second signal ends the wait.
    """

    def __init__(
        self, config: uvicorn.Config, stopping: Callable[[], None], ending: asyncio.Event, drain: float = 0
    ) -> None:
        super().__init__(config)
        self._stopping, self._ending, self._drain = stopping, ending, drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        again = self._ending.is_set()
        self._ending.set()
        if again or not self._drain:
            super().handle_exit(sig, frame)
        else:
            asyncio.get_running_loop().call_later(self._drain, super().handle_exit, sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        # Who connected and was not taken yet would be cut off with the listener, the request being sent already.
        late = [connection for listener in sockets or [] for connection in waiting(listener)]
        taking = [asyncio.create_task(self._take(connection)) for connection in late]
        await super().shutdown(sockets)
        await asyncio.gather(*taking, return_exceptions=True)
        await self._end_the_rest()

    async def _end_the_rest(self) -> None:
        """Let requests that did not end in time end before anything is closed.

        What they hold, a transaction or a place, has to be given back to something that still takes it: the process
        would wait for them for ever otherwise.
        """
        left = set(self.server_state.tasks)
        for task in left:
            if not task.cancelling():
                task.cancel()
        if left:
            await asyncio.wait(left, timeout=LAST_SECONDS)

    async def _take(self, connection: socket.socket) -> None:
        def protocol() -> Any:
            kind: Any = self.config.http_protocol_class
            return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        _, taken = await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        taken.shutdown()  # after its request

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising the signal again at the end: a clean stop is a success."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def make_data(data: Path) -> None:
    """Make the data directory where it is absent. Raises ``StartRefused`` unless it can be written."""
    try:
        make_directory(data)
        probe = data / f".writable-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise StartRefused(
            f"the data directory {data} cannot be used: {error.strerror}",
            hint="Name one that can be written with --data or SATCHEL_DATA, or mend its owner and mode.",
        ) from error


def listen(host: str, port: int, *, metrics: bool = False) -> socket.socket:
    """A socket that takes connections; ``metrics`` says that it is theirs. Raises ``StartRefused``."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise StartRefused(
            f"{host} port {port} cannot be listened on: {error.strerror or error}",
            hint="Is another server running? Name another port with "
            + ("SATCHEL_METRICS_PORT." if metrics else "--port or SATCHEL_PORT."),
        ) from error
    listener.setblocking(False)
    return listener


def waiting(listener: socket.socket) -> list[socket.socket]:
    """The connections that were made to a listener and that nobody has taken yet."""
    taken = []
    with suppress(OSError):  # there is none, or no more
        while True:
            taken.append(listener.accept()[0])
    return taken


async def _founded(settings: ServerSettings) -> tuple[FirstStart | None, RootKey]:
    """Root key, store, catalog and first tenant, made where this is the first start."""
    store = open_store(settings.store, settings.store_wait_seconds)
    await store.check()
    if not settings.database_url.startswith("postgres"):  # there the tables are not the serving role's to change
        refuse_moved(settings)
        await Catalog.migrate(settings.catalog)
    catalog = await Catalog.open(settings.catalog)
    try:
        async with catalog.directory() as d:
            known = await catalog_installation.find(d)
        root = await _root_key(settings, store, known)
        keyring = Keyring(store, root, clock=now_ms, random=os.urandom)
        try:
            own = await (keyring.found() if known is None else keyring.installation())
        except WrongKey as error:
            raise wrong_root_key(settings, root) from error
        except StoreMissing as error:
            assert known is not None
            raise installation_missing(known) from error
        return await _first_tenant(settings, catalog, store, keyring, own), root
    finally:
        await catalog.close()


def refuse_moved(settings: ServerSettings) -> None:
    """Do not begin anew beside what is left of a catalog that was moved to PostgreSQL."""
    if settings.moved_catalog.exists() and not (settings.data / "catalog.db").exists():
        raise StartRefused(
            f"the catalog was moved to PostgreSQL: {settings.moved_catalog} is what was left",
            hint="Name the database in SATCHEL_DATABASE_URL; or come back from it: satchel admin move-catalog --back.",
        )


async def _root_key(settings: ServerSettings, store: ObjectStore, known: str | None) -> RootKey:
    """The root key, made where there is neither one nor data; ``known`` is the installation the catalog is of."""
    path = settings.root_key_path
    try:
        if path.exists():
            return await asyncio.to_thread(RootKey.load, path)  # it may ask a key service
        if known is None and await Generations(store, INSTALLATION).newest() is None:
            if not settings.root_kms:
                return RootKey.create(path)
            own = new_id("ins", os.urandom(16))
            return await asyncio.to_thread(RootKey.create, path, kms=kms_place(settings.root_kms), installation=own)
    except OSError as error:
        raise StartRefused(
            f"the root key {path} cannot be made: {error.strerror}",
            hint="Make its directory, for this user alone, or name another file in SATCHEL_ROOT_KEY.",
        ) from error
    except WrongKey as error:
        raise StartRefused(error.message, hint="Put the key back from its copy: a root key is not text.") from error
    raise root_key_missing(settings, known)


def wrong_root_key(settings: ServerSettings, root: RootKey) -> StartRefused:
    """What to say of a root key that does not open the store."""
    return StartRefused(
        f"the root key {settings.root_key_path} (id {root.id}) is not the one this data was written with",
        hint="Put the right key in its place.",
    )


def installation_missing(known: str) -> StartRefused:
    """What to say of a store without an installation, beside the catalog of one."""
    return StartRefused(
        f"the catalog is of the installation {known}, and the store holds none",
        hint="Name the store that belongs to this catalog, or fill it from a backup: satchel admin restore. "
        "For a new installation, name a data directory that is empty as well.",
    )


def root_key_missing(settings: ServerSettings, known: str | None) -> StartRefused:
    """What to say where there is data and no key; ``known`` is the installation the catalog is of."""
    place = "store" if known is None else "catalog"
    return StartRefused(
        f"there is data here, in the {place}, and its root key {settings.root_key_path} is missing",
        hint="Put the key back from its copy: without it nothing can be read."
        + (" Or, for a new installation, name a store that is empty in SATCHEL_STORE_URL." if known is None else ""),
    )


async def _first_tenant(
    settings: ServerSettings, catalog: Catalog, store: ObjectStore, keyring: Keyring, installation: Installation
) -> FirstStart | None:
    limits = Limits(storage_bytes=settings.quota_storage_bytes, projects=settings.quota_projects)
    async with catalog.directory(write=True) as d:
        await catalog_installation.bind(d, installation.id)
        if await tenants.list_(d, limit=1):
            return None
        await _refuse_orphans(store, installation)  # with nothing written: a backup may be restored into this catalog
        founded = await bootstrap.found_tenant(
            d,
            slug="default",
            name="Default",
            pepper=installation.pepper,
            now=now_ms(),
            limits=limits,
            operates=True,
        )
        # Before the transaction ends: no tenant whose bytes could not be sealed.
        await keyring.create(founded.tenant.id)
    await Notices(catalog, store, keyring, random=os.urandom).tenant(founded.tenant.id)
    return FirstStart(founded.tenant.slug, founded.key, settings.root_key_path)


async def _refuse_orphans(store: ObjectStore, installation: Installation) -> None:
    """Do not begin anew beside projects that the catalog has lost."""
    async for stored in store.list("tenants/"):
        if stored.name.split("/")[2] == "projects":
            raise StartRefused(
                f"the store holds projects of the installation {installation.id}, and the catalog is empty",
                hint="Bring the catalog back: satchel admin restore, or satchel admin rebuild-catalog.",
            )
