"""One process that serves: what has to be true before it starts, its first start, and its clean end.

``prepare`` makes or checks data directory, port, root key, store, catalog and first tenant, and refuses with the reason
and the cure. ``run`` serves until SIGTERM or SIGINT, lets running requests finish, and returns. Printing is the command
line's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

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
from satchel.server.cloud import now_ms
from satchel.server.heads import BoundedHeads
from satchel.server.housekeeping import keep_house
from satchel.server.logs import configure, log
from satchel.store.generations import Generations
from satchel.store.keyring import INSTALLATION, Installation, Keyring
from satchel.store.kms import kms_place
from satchel.store.objectstore import ObjectStore
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store
from satchel.upkeep.about import Notices

BACKLOG = 2_048


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


def prepare(settings: ServerSettings) -> Prepared:
    """Everything before serving. Raises ``StartRefused``, ``StoreUnavailable`` or ``DiskFull``."""
    _make_data(settings.data)
    listener = _listen(settings.host, settings.port)
    try:
        settings = replace(settings, port=listener.getsockname()[1])
        first, root = asyncio.run(_founded(settings))
    except BaseException:
        listener.close()
        raise
    return Prepared(settings, first, root.kept, (*root.warnings, *_kms_warning(settings, root)), listener)


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
        log.info("serving", url=settings.url, data=str(settings.data))
        # A sync makes 100,000 objects that live until it ends. The default thresholds look through all of them, and
        # through every module, dozens of times: a fifth of the time of a first sync of 8,000 files.
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        try:
            await _Server(uvicorn_config(app, settings)).serve(sockets=[prepared.listener])
        finally:
            house.cancel()
            await asyncio.gather(house, return_exceptions=True)
    log.info("stopped")


def uvicorn_config(app: ASGIApp, settings: ServerSettings) -> uvicorn.Config:
    """How the application is served; log, lifespan, bounds of heads and deadlines of bodies are our own."""
    return uvicorn.Config(
        app,
        http=BoundedHeads,
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


class _Server(uvicorn.Server):
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


def _make_data(data: Path) -> None:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = data / f".writable-{os.getpid()}"
        probe.touch(mode=0o600)
        probe.unlink()
    except OSError as error:
        raise StartRefused(
            f"the data directory {data} cannot be used: {error.strerror}",
            hint="Name one that can be written with --data or SATCHEL_DATA, or mend its owner and mode.",
        ) from error


def _listen(host: str, port: int) -> socket.socket:
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
            hint="Is another server running? Name another port with --port or SATCHEL_PORT.",
        ) from error
    listener.setblocking(False)
    return listener


async def _founded(settings: ServerSettings) -> tuple[FirstStart | None, RootKey]:
    """Root key, store, catalog and first tenant, made where this is the first start."""
    store = open_store(settings.store, settings.store_wait_seconds)
    await store.check()
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
            raise StartRefused(
                f"the root key {settings.root_key_path} (id {root.id}) is not the one this data was written with",
                hint="Put the right key in its place.",
            ) from error
        except StoreMissing as error:
            raise StartRefused(
                f"the catalog is of the installation {known}, and the store holds none",
                hint="Name the store that belongs to this catalog, or fill it from a backup: satchel admin restore. "
                "For a new installation, name a data directory that is empty as well.",
            ) from error
        async with catalog.directory(write=True) as d:
            await catalog_installation.bind(d, own.id)
        return await _first_tenant(settings, catalog, store, keyring, own), root
    finally:
        await catalog.close()


async def _root_key(settings: ServerSettings, store: ObjectStore, known: str | None) -> RootKey:
    """The root key, made where there is neither one nor data; ``known`` is the installation the catalog is of."""
    path = settings.root_key_path
    try:
        if path.exists():
            return RootKey.load(path)
        if known is None and await Generations(store, INSTALLATION).newest() is None:
            if not settings.root_kms:
                return RootKey.create(path)
            own = new_id("ins", os.urandom(16))
            return RootKey.create(path, kms=kms_place(settings.root_kms), installation=own)
    except WrongKey as error:
        raise StartRefused(error.message, hint="Put the key back from its copy: a root key is not text.") from error
    raise StartRefused(
        f"there is data here, in the {'store' if known is None else 'catalog'}, and its root key {path} is missing",
        hint="Put the key back from its copy: without it nothing can be read."
        + (" Or, for a new installation, name a store that is empty in SATCHEL_STORE_URL." if known is None else ""),
    )


async def _first_tenant(
    settings: ServerSettings, catalog: Catalog, store: ObjectStore, keyring: Keyring, installation: Installation
) -> FirstStart | None:
    limits = Limits(storage_bytes=settings.quota_storage_bytes, projects=settings.quota_projects)
    async with catalog.directory(write=True) as d:
        if await tenants.list_(d, limit=1):
            return None
        await _refuse_orphans(store, installation)
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
