"""What is heard of changes, what is remembered meanwhile, and what counts when nothing is heard."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from satchel.auth.keys import parse_key
from satchel.auth.tokens import issue
from satchel.catalog import bootstrap, principals
from satchel.catalog.scope import Catalog, CatalogUnavailable, Directory
from satchel.errors import CredentialInvalid
from satchel.objects.ids import PrincipalId, TenantId
from satchel.server import watching
from satchel.server.credentials import Authenticator
from satchel.server.edge import Exchange
from satchel.server.tokenkeys import READ_SECONDS, TokenKeyring
from satchel.server.uses import Uses
from satchel.server.watching import HEARD_SECONDS, Watch
from satchel.store.keyring import Installation
from satchel.upkeep.signing import PUBLISHED_MS, SigningKeys
from tests import engines

pytestmark = pytest.mark.anyio

PEPPER, URL = b"p" * 32, "https://satchel.example"
INSTALLATION = Installation("ins_1", b"s" * 32)
MINUTE = 60_000


class Node:
    """One process: a catalog of its own, what it hears by a clock that the test moves, and what it remembers."""

    def __init__(self, catalog: Catalog, tokens: TokenKeyring, times: list[int]) -> None:
        self.catalog, self.tokens, self.times = catalog, tokens, times
        self.time = 1_000.0
        self.watch = Watch(catalog, monotonic=lambda: self.time)
        self.looks = 0
        self.authenticator = Authenticator(
            catalog,
            PEPPER,
            tokens,
            self.watch,
            clock=lambda: int(self.time * 1000),
            cache_ms=MINUTE,
            uses=Uses(catalog),
        )
        look = self.authenticator.check_text

        async def counted(text: str, exchange: Exchange | None = None) -> object:
            self.looks += 1
            return await look(text, exchange)

        self.authenticator.check_text = counted  # type: ignore[method-assign, assignment]

    async def allows(self, credential: str) -> bool:
        try:
            await self.authenticator.check(f"Bearer {credential}")
        except CredentialInvalid:
            return False
        return True

    def token(self, tenant: TenantId, principal: PrincipalId) -> str:
        now = int(self.time * 1000)
        return issue(
            self.tokens.keys.signing, issuer=URL, audience=URL, tenant=tenant, principal=principal, jti="tok_1", now=now
        )


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A migrated catalog; two processes may have it open."""
    return engines.on_disk(tmp_path)


@asynccontextmanager
async def node(url: str) -> AsyncIterator[Node]:
    catalog = await Catalog.open(url)
    try:
        tokens = TokenKeyring(catalog, INSTALLATION, url=URL)
        times = [1]
        await tokens.open(clock=lambda: times[-1], random=os.urandom)
        yield Node(catalog, tokens, times)
    finally:
        await catalog.close()


@pytest.fixture
async def here(url: str) -> AsyncIterator[Node]:
    async with node(url) as one:
        yield one


@pytest.fixture
async def there(url: str) -> AsyncIterator[Node]:
    async with node(url) as one:
        yield one


async def found(node: Node, slug: str) -> tuple[TenantId, PrincipalId, str]:
    async with node.catalog.directory(write=True) as d:
        made = await bootstrap.found_tenant(d, slug=slug, name=slug, pepper=PEPPER, now=1)
    async with node.catalog.write(made.tenant.id) as s:
        row, key = await principals.issue_key(s, pepper=PEPPER, name="k", now=1)
    return made.tenant.id, row.id, key


async def revoke(node: Node, tenant: TenantId, key: str) -> None:
    async with node.catalog.write(tenant) as s:
        await principals.revoke(s, parse_key(key).key_id, 2)


@pytest.mark.promise("P5")
async def test_what_was_changed_here_counts_at_once(here: Node) -> None:
    tenant, _, key = await found(here, "a")
    await here.watch.listen()
    assert await here.allows(key)
    await revoke(here, tenant, key)
    assert not await here.allows(key)


@pytest.mark.promise("P5")
async def test_what_was_changed_there_counts_once_it_was_heard(here: Node, there: Node) -> None:
    tenant, _, key = await found(here, "a")
    await here.watch.listen()
    assert await here.allows(key)
    await revoke(there, tenant, key)
    assert await here.allows(key)  # not heard yet, and heard from within the last second
    await here.watch.listen()
    assert not await here.allows(key)


@pytest.mark.promise("P5")
async def test_a_token_of_a_principal_revoked_there_counts_no_more(here: Node, there: Node) -> None:
    tenant, principal, key = await found(here, "a")
    token = here.token(tenant, principal)
    await here.watch.listen()
    assert await here.allows(token)
    await revoke(there, tenant, key)
    await here.watch.listen()
    assert not await here.allows(token)


async def test_a_change_of_one_tenant_makes_nobody_look_for_another(here: Node, there: Node) -> None:
    one, _, key = await found(here, "a")
    _, _, theirs = await found(here, "b")
    await here.watch.listen()
    assert await here.allows(key)
    assert await here.allows(theirs)
    await revoke(there, one, key)
    await here.watch.listen()
    looks = here.looks
    assert await here.allows(theirs)
    assert here.looks == looks


@pytest.mark.promise("P5")
async def test_what_is_remembered_counts_for_a_second_after_the_question(here: Node, there: Node) -> None:
    tenant, _, key = await found(here, "a")
    await here.watch.listen()
    assert await here.allows(key)
    await revoke(there, tenant, key)
    here.time += HEARD_SECONDS - 0.001
    assert await here.allows(key)
    here.time += 0.002
    assert not await here.allows(key)  # the channel was asked first


@pytest.mark.promise("P5")
async def test_when_the_catalog_is_away_nothing_remembered_is_believed(
    here: Node, there: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, _, key = await found(here, "a")
    await here.watch.listen()
    assert await here.allows(key)

    def away(*_: object, **__: object) -> object:
        raise CatalogUnavailable("the catalog does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(here.catalog, "directory", away)
        broken.setattr(here.catalog, "read", away)
        assert await here.allows(key)
        here.time += HEARD_SECONDS + 0.1
        with pytest.raises(CatalogUnavailable):
            await here.allows(key)
    await revoke(there, tenant, key)
    assert not await here.allows(key)  # and it goes on by itself


async def test_a_channel_that_is_too_slow_is_silent_and_the_credential_is_looked_up(
    here: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, key = await found(here, "a")
    assert await here.allows(key)

    @asynccontextmanager
    async def never(**_: object) -> AsyncIterator[Directory]:
        await asyncio.Event().wait()
        yield  # type: ignore[misc]

    monkeypatch.setattr(watching, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(here.catalog, "directory", never)
    here.time += 10
    looks = here.looks
    assert await here.allows(key)
    assert here.looks == looks + 1


async def test_all_who_find_the_channel_silent_share_one_question(here: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, key = await found(here, "a")
    assert await here.allows(key)
    await here.watch.listen()
    assert await here.allows(key)
    here.time += 10
    asked, sound = [], here.catalog.directory

    def directory(**given: bool) -> object:
        asked.append(given)
        return sound(**given)

    monkeypatch.setattr(here.catalog, "directory", directory)
    looks = here.looks
    assert await asyncio.gather(*(here.allows(key) for _ in range(50))) == [True] * 50
    assert (len(asked), here.looks) == (1, looks)


@pytest.mark.promise("P5")
async def test_what_was_being_looked_up_when_a_change_was_heard_is_not_remembered(
    here: Node, there: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, _, key = await found(here, "a")
    await here.watch.listen()
    slow, looked, go_on = here.authenticator.check_text, asyncio.Event(), asyncio.Event()

    async def late(text: str, exchange: Exchange | None = None) -> object:
        checked = await slow(text, exchange)
        looked.set()
        await go_on.wait()
        return checked

    monkeypatch.setattr(here.authenticator, "check_text", late)
    looking = asyncio.create_task(here.allows(key))
    await looked.wait()
    await revoke(there, tenant, key)
    await here.watch.listen()
    go_on.set()
    await looking
    assert not await here.allows(key)


# Signing keys --------------------------------------------------------------------------------------------------------


async def test_a_token_by_a_key_that_another_node_made_is_good_here(here: Node, url: str) -> None:
    tenant, principal, _ = await found(here, "a")
    async with node(url) as newer:
        newer.times.append(1 + PUBLISHED_MS)
        report = await newer.tokens.rotate()
        assert report is not None
        assert newer.tokens.keys.signing.kid == report.new
        assert await here.allows(newer.token(tenant, principal))  # it was published before
    async with node(url) as third:
        keys = SigningKeys(third.catalog, INSTALLATION, clock=lambda: 3, random=os.urandom)
        await keys.rotate(drop_old=True)
        await third.tokens.read()
        assert third.tokens.keys.signing.kid not in here.tokens.keys.verifying
        assert await here.allows(third.token(tenant, principal))


@pytest.mark.promise("P5")
async def test_what_a_dropped_key_signed_counts_no_more_once_the_change_was_heard(here: Node, there: Node) -> None:
    tenant, principal, _ = await found(here, "a")
    await here.watch.listen()
    token = here.token(tenant, principal)
    assert await here.allows(token)
    keys = SigningKeys(there.catalog, INSTALLATION, clock=lambda: 3, random=os.urandom)
    await keys.rotate(drop_old=True)
    assert await here.allows(token)  # remembered, within the second
    here.time += HEARD_SECONDS
    assert not await here.allows(token)
    assert not here.tokens.changed.is_set()
    assert await here.allows(here.token(tenant, principal))


@pytest.mark.promise("P8")
async def test_names_of_keys_that_nobody_made_are_looked_for_once_a_second(
    here: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    sound = here.catalog.directory

    def directory(**given: bool) -> object:
        looked.append(given)
        return sound(**given)

    monkeypatch.setattr(here.catalog, "directory", directory)
    assert not any(await asyncio.gather(*(here.tokens.learn(f"sig_{number}") for number in range(100))))
    assert len(looked) == 1
    here.tokens._read_at -= READ_SECONDS
    assert not await here.tokens.learn("sig_x")
    assert len(looked) == 2


async def test_nodes_that_start_at_once_make_one_key(url: str) -> None:
    catalogs = [await Catalog.open(url) for _ in range(4)]
    keyrings = [TokenKeyring(catalog, INSTALLATION, url=URL) for catalog in catalogs]
    names = iter(range(1, 255))
    await asyncio.gather(
        *(
            keyring.open(clock=lambda: 1, random=lambda count: hashlib.sha256(bytes([next(names)])).digest()[:count])
            for keyring in keyrings
        )
    )
    assert len({keyring.keys.signing.kid for keyring in keyrings}) == 1
    for catalog in catalogs:
        await catalog.close()
