"""What a server stands on, looked at before it starts: settings, data, address, store, catalog, clock, root key.

``survey`` asks each and goes on where one fails, so that an operator sees all that is wrong at once. It makes nothing
but the data directory, and writes nothing but the small object that shows that the store keeps what it is given. What
it found is told by name and number: no secret, and no address with a password.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from satchel.catalog import installation as catalog_installation
from satchel.catalog.scope import Catalog
from satchel.catalog.trouble import ADDRESS_HINT, CatalogUnavailable
from satchel.config.server import ServerSettings
from satchel.errors import SatchelError, StartRefused, StoreUnavailable, WrongKey
from satchel.server.cloud import now_ms
from satchel.server.contradictions import refuse_contradictions
from satchel.server.provider import provider_of
from satchel.server.serve import (
    installation_missing,
    listen,
    make_data,
    refuse_moved,
    root_key_missing,
    wrong_root_key,
)
from satchel.store.generations import Generations
from satchel.store.keyring import INSTALLATION, Keyring
from satchel.store.objectstore import ObjectStore
from satchel.store.rootkey import RootKey
from satchel.store.urls import open_store

CHECK_SECONDS = 30.0
"""Longest wait for one dependency."""
TRACES_SECONDS = 5.0
"""Longest wait for the collector of traces."""
LITTLE_SPACE_BYTES = 1_000_000_000
"""Less free disk than this is warned of."""
CLOCK_WARNING_MS, CLOCK_WRONG_MS = 2_000, 60_000
"""How far this clock may be from the database's. By more than a minute, nodes refuse each other's tokens."""


class Row(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: str
    """``ok``, ``new`` (the first start makes it), ``warning`` or ``failed``."""
    found: str
    hint: str = ""
    ms: int = 0
    """How long the answer took, in milliseconds."""


@dataclass(slots=True)
class Survey:
    """All that was found, in the order in which things depend on each other."""

    rows: list[Row] = field(default_factory=list)
    error: SatchelError | None = None
    """The first reason why the server would not start."""


class _Found(NamedTuple):
    text: str
    state: str = "ok"
    hint: str = ""


async def survey(settings: ServerSettings) -> Survey:
    """Look at everything the server stands on; raises nothing that a dependency could cause."""
    look = _Look(settings)
    found = Survey()
    steps: list[tuple[str, Callable[[], Awaitable[_Found | None]]]] = [
        ("settings", look.settings),
        ("data", look.data),
        ("address", look.address),
        ("store", look.store),
        ("catalog", look.catalog),
        ("migrations", look.migrations),
        ("clock", look.clock),
        ("root key", look.root_key),
        ("installation", look.installation),
        ("sign-in provider", look.provider),
        ("backups", look.backups),
        ("traces", look.traces),
    ]
    try:
        for name, step in steps:
            row, error = await _taken(name, step)
            found.error = found.error or error
            if row is not None:
                found.rows.append(row)
    finally:
        await look.close()
    return found


async def _taken(name: str, step: Callable[[], Awaitable[_Found | None]]) -> tuple[Row | None, SatchelError | None]:
    began = time.perf_counter()
    error: SatchelError | None = None
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            told = await step()
    except SatchelError as caught:
        error, told = caught, _Found(caught.message, "failed", caught.hint)
    except TimeoutError:
        error = StoreUnavailable(f"{name}: no answer within {CHECK_SECONDS:g} s")
        told = _Found(error.message, "failed", error.hint)
    milliseconds = round((time.perf_counter() - began) * 1000)
    return None if told is None else Row(name, told.state, told.text, told.hint, milliseconds), error


class _Look:
    """The looks themselves. ``None`` says that there is nothing to tell, or that an earlier failure hides it."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._store: ObjectStore | None = None
        self._catalog: Catalog | None = None
        self._revision: str | None = None
        self._asked = False
        """Whether the database answered at all."""
        self._known: str | None = None
        self._stored = False
        """Whether an installation is in the store."""
        self._root: RootKey | None = None

    async def close(self) -> None:
        if self._catalog is not None:
            await self._catalog.close()

    async def settings(self) -> _Found:
        refuse_contradictions(self._settings)
        url = self._settings.url
        if url.startswith("http://") and self._settings.public_url:
            host = urlsplit(url).hostname or ""
            if host not in ("localhost", "127.0.0.1", "::1"):
                return _Found(f"clients come to {url}, without TLS", "warning", "Put TLS in front: see the guide.")
        return _Found(f"clients come to {url}")

    async def data(self) -> _Found:
        make_data(self._settings.data)
        free = shutil.disk_usage(self._settings.data).free
        text = f"{self._settings.data.absolute()}, {free / 10**9:,.1f} GB free"
        if free < LITTLE_SPACE_BYTES:
            return _Found(text, "warning", "Make room: a full disk ends every write.")
        return _Found(text)

    async def address(self) -> _Found:
        listener = listen(self._settings.host, self._settings.port)
        listener.close()
        if self._settings.metrics_port:
            listen(self._settings.metrics_host, self._settings.metrics_port, metrics=True).close()
        return _Found(f"{self._settings.host} port {self._settings.port or '(any)'} is free")

    async def store(self) -> _Found:
        opened = open_store(self._settings.store, self._settings.store_wait_seconds)
        await opened.check()
        self._stored = await Generations(opened, INSTALLATION).newest() is not None
        self._store = opened
        text = f"{self._settings.store} keeps, lists and gives back what is written"
        return _Found(text if self._stored else f"{text}; it is empty", "ok" if self._stored else "new")

    async def catalog(self) -> _Found:
        embedded = not self._settings.database_url.startswith("postgres")
        if embedded:
            refuse_moved(self._settings)
            if not self._settings.catalog_file.exists():
                self._asked = True
                return _Found("SQLite, not made yet", "new")
        place = "SQLite, embedded" if embedded else f"PostgreSQL at {_host(self._settings.database_url)}"
        try:
            self._revision = await Catalog.revision(self._settings.catalog)
        except CatalogUnavailable as error:
            hint = ADDRESS_HINT if error.hint == CatalogUnavailable.default_hint and not embedded else error.hint
            raise CatalogUnavailable(f"{place}: {error.message}", hint=hint) from error
        self._asked = True
        return _Found(f"{place}, answers")

    async def migrations(self) -> _Found | None:
        if not self._asked:
            return None
        embedded = not self._settings.database_url.startswith("postgres")
        if embedded and self._revision is None:
            return _Found(f"none yet; the first start goes to {Catalog.newest}", "new")
        if embedded and self._revision != Catalog.newest and self._revision in Catalog.known:
            return _Found(f"at {self._revision}; the start brings it to {Catalog.newest}", "new")
        self._catalog = await Catalog.open(self._settings.catalog, connections=4)  # refuses any other schema
        async with self._catalog.directory() as d:
            self._known = await catalog_installation.find(d)
        walls = "" if embedded else ", and the walls between tenants stand"
        return _Found(f"at {self._revision}, as this version needs{walls}")

    async def clock(self) -> _Found | None:
        if self._catalog is None:
            return None
        theirs = await self._catalog.clock()
        if theirs is None:
            return _Found("the catalog is on this machine: there is one clock")
        return judged(now_ms() - theirs)

    async def root_key(self) -> _Found:
        path = self._settings.root_key_path
        if not path.exists():
            if self._known is not None or self._stored:
                raise root_key_missing(self._settings, self._known)
            by = f", wrapped by {self._settings.root_kms}" if self._settings.root_kms else ""
            return _Found(f"{path}, to be made by the first start{by}", "new")
        try:
            self._root = await asyncio.to_thread(RootKey.load, path)
        except WrongKey as error:
            raise StartRefused(error.message, hint="Put the key back from its copy.") from error
        text = f"{path} (id {self._root.id}), {self._root.kept}"
        if self._root.warnings:
            return _Found(text, "warning", self._root.warnings[0])
        return _Found(text)

    async def installation(self) -> _Found | None:
        if self._store is not None and self._known is not None and not self._stored:
            raise installation_missing(self._known)
        if self._root is None or self._store is None or not self._stored:
            return None
        try:
            own = await Keyring(self._store, self._root, clock=now_ms, random=_no_randomness).installation()
        except WrongKey as error:
            raise wrong_root_key(self._settings, self._root) from error
        if self._known not in (None, own.id):
            raise StartRefused(
                f"the catalog is of the installation {self._known}, and the store of {own.id}",
                hint="Name the store that belongs to this catalog, or the catalog that belongs to this store.",
            )
        return _Found(f"{own.id}: root key, store{' and catalog' if self._known else ''} belong together")

    async def provider(self) -> _Found | None:
        provider = provider_of(self._settings)
        if provider is None:
            return None
        try:
            await provider.discovery()
        except SatchelError as error:  # people cannot sign in by it meanwhile; everything else works
            return _Found(error.message, "warning", error.hint)
        return _Found(f"{provider.issuer} answers")

    async def backups(self) -> _Found | None:
        if not self._settings.backup_url:
            return None
        try:
            await open_store(self._settings.backup_url, self._settings.store_wait_seconds).check()
        except SatchelError as error:  # the server does without
            return _Found(error.message, "warning", error.hint)
        return _Found(f"{self._settings.backup_url} keeps what is written")

    async def traces(self) -> _Found | None:
        if not self._settings.otlp_url:
            return None
        parts = urlsplit(self._settings.otlp_url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(TRACES_SECONDS):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError):  # the server does without
            return _Found(f"nothing answers at {parts.hostname} port {port}", "warning", "Is the collector running?")
        writer.close()
        return _Found(f"{parts.hostname} port {port} answers; {self._settings.trace_percent} % of requests go there")


def judged(ahead_ms: int) -> _Found:
    """What to say of a clock that is ``ahead_ms`` before the database's. Raises ``StartRefused`` if it is wrong."""
    hint = "Let both machines keep time by NTP."
    way = "ahead of" if ahead_ms > 0 else "behind"
    text = f"{abs(ahead_ms) / 1000:.1f} s {way} the database's"
    if abs(ahead_ms) > CLOCK_WRONG_MS:
        raise StartRefused(f"the clock of this machine is {text}", hint=hint)
    return _Found(text, "warning", hint) if abs(ahead_ms) > CLOCK_WARNING_MS else _Found(text)


def _host(url: str) -> str:
    """Host and database of an address, without role and password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path


def _no_randomness(_count: int) -> bytes:
    raise AssertionError("a check makes nothing")
