"""Encrypted means everywhere: no file that a server writes gives away a word of what was stored, but documented ones.

The documented ones: titles and paths of artifacts, names and descriptions of projects rest readable in the catalog.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.objects import zstd
from tests.isolation.canaries import Sighting, canary, sightings
from tests.journeys.conftest import Person, Server
from tests.real import Bucket

pytestmark = [pytest.mark.promise("P10"), pytest.mark.system, pytest.mark.timeout(300)]

TEXT, LONG, BINARY, PUT, AGAIN, OLD, REFUSED, CONTEXT = SECRETS = [canary(n) for n in range(8)]
"""Words that stand in contents, or in what was sent to be stored and refused."""
QUERY = canary("query")
PATH, TITLE = NAMES = [canary("path"), canary("title")]


def fill(folder: Path) -> None:
    """A project whose contents hold the words in text, in a long text, in bytes and in its description of itself."""
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / f"{PATH}.md").write_text(f"# Heading {TITLE}\n\nThe word is {TEXT}.\n\n- [ ] say {TEXT}\n")
    (folder / "docs/long.md").write_text(f"# Long\n\nLong ago {LONG}.\n\n" + "The lamp is lit at dusk.\n\n" * 60_000)
    (folder / "docs/old.md").write_text(f"# Old\n\nAn earlier version: {OLD}.\n")
    (folder / "docs/seen.bin").write_bytes(os.urandom(3_000) + BINARY.encode() + os.urandom(3_000))
    (folder / "context.json").write_text(f'{{"name": "demo", "notes": "{CONTEXT}"}}\n')


def use(server: Server, person: Person) -> None:
    """Sync, read, search, list, and fail, over every road."""
    fill(person.folder)
    person.joins(server)
    person.run("sync", "--to-cloud")
    (person.folder / "docs/old.md").write_text("# Old\n\nA later version.\n")
    person.run("sync")
    key = server.admin
    for path in ("docs/long.md", "docs/old.md?at=1", f"docs/{PATH}.md", "docs/seen.bin", "nowhere.md"):
        server.http("GET", f"/projects/demo/artifacts/{path}", key)
    for path in ("artifacts", "tasks", "context", "versions", f"search?q={TEXT}", f"search?q={LONG}+{QUERY}"):
        server.http("GET", f"/projects/demo/{path}", key)
    assert server.http("POST", "/search", key, {"query": TEXT}).body["hits"]
    new = {"if-none-match": "*", "content-type": "text/markdown"}
    put = server.http("PUT", "/projects/demo/artifacts/put.md", key, f"# Put\n\n{PUT}\n".encode(), new)
    same = {"if-match": put.headers["etag"], "content-type": "text/markdown"}
    again = server.http("PUT", "/projects/demo/artifacts/put.md", key, f"# Put\n\n{AGAIN}\n".encode(), same)
    assert (put.status, again.status) == (200, 200)
    asyncio.run(over_mcp(server, key))


async def over_mcp(server: Server, key: str) -> None:
    from mcp.client import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    calls: list[tuple[str, dict[str, Any]]] = [
        ("search", {"query": f"{AGAIN} {QUERY}"}),
        ("artifacts_get", {"project": "demo", "path": "put.md"}),
        ("tasks_open", {}),
    ]
    async with (
        create_mcp_http_client({"authorization": f"Bearer {key}"}) as http,
        Client(streamable_http_client(f"{server.url}/mcp", http_client=http)) as client,
    ):
        for name, arguments in calls:
            assert not (await client.call_tool(name, arguments)).is_error


def fail(server: Server, key: str) -> None:
    """Requests that are refused: what they brought must not be kept or logged."""
    sent, put = f"# No\n\n{REFUSED}\n".encode(), "/projects/demo/artifacts/put.md"
    kind = {"content-type": "text/markdown"}
    statuses = [
        server.http("PUT", put, key, sent, {**kind, "if-match": f'"{"0" * 64}"'}).status,
        server.http("PUT", put, key, sent, kind).status,
        server.http("PUT", put, None, sent, {**kind, "if-none-match": "*"}).status,
        server.http("POST", "/search", key, b'{"query": "' + REFUSED.encode(), kind).status,
        server.http("POST", "/search", key, {"query": REFUSED, "no such": REFUSED}).status,
        server.http("POST", "/projects/demo/packs", key, b"satchel-pack 1\nSFR1" + sent * 9, kind).status,
        server.http("POST", "/projects/demo/sync", key, b"satchel-pack 1\nSFR1" + sent * 9, kind).status,
    ]
    assert all(400 <= status < 500 for status in statuses), statuses


def meet_damage(server: Server, key: str) -> None:
    """What is found broken must not be told to the log either."""
    for pack in (server.data / "store").rglob("pak_*"):
        data = bytearray(pack.read_bytes())
        data[-20] ^= 1
        pack.write_bytes(data)
    damaged = [
        server.http("GET", f"/projects/demo/artifacts/docs/{path}", key).status
        for path in ("long.md", f"{PATH}.md", "old.md?at=1", "seen.bin")
    ]
    assert 500 in damaged or 503 in damaged, damaged


def maintain(watched: Watched) -> None:
    """The operator's commands beside the server, which copy and move what rests."""
    watched.server.run_admin("collect")
    watched.server.run_admin("backup", "--objects", "--to", (watched.place / "backups").as_uri())
    watched.server.run_admin("key", "rotate-tenant", "default", "--full")
    watched.server.run_admin("verify", "--full")


def _nameless(path: Path) -> bool:
    try:
        return os.readlink(path).endswith(" (deleted)")
    except FileNotFoundError:  # closed since
        return False


class Watched:
    """A server with a home, a temporary folder and a log that nobody else writes to; everything debugged."""

    def __init__(self, place: Path) -> None:
        self.place = place / "host"
        self.temporary = self.place / "tmp"
        self.temporary.mkdir(parents=True)
        self.server = Server(self.place)
        self.server.env |= {
            "TMPDIR": str(self.temporary), "SQLITE_TMPDIR": str(self.temporary), "SATCHEL_LOG_LEVEL": "debug",
            "SATCHEL_INDEX_CHECKPOINT_BYTES": "1",
        }  # fmt: skip

    def files(self) -> list[Path]:
        """Every file below its places, and those it holds open that have no name any more; it works on meanwhile."""
        named = [Path(folder, name) for folder, _, names in os.walk(self.place) for name in names]
        open_ones = Path("/proc") / str(self.server.process.pid if self.server.process else "none") / "fd"
        return [path for path in named if path.is_file()] + [path for path in open_ones.glob("*") if _nameless(path)]

    def sightings(self, words: list[str]) -> list[Sighting]:
        return sightings(self.files(), words)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    one = Watched(tmp_path)
    yield one
    one.server.close()


@pytest.fixture
def kim(tmp_path: Path) -> Person:
    return Person(tmp_path, "kim")


def test_nothing_that_was_stored_can_be_read_where_a_server_writes(watched: Watched, kim: Person) -> None:
    server = watched.server
    server.start()
    use(server, kim)
    fail(server, server.admin)
    maintain(watched)
    meet_damage(server, server.admin)
    words = [*SECRETS, QUERY]
    running = watched.sightings(words)
    server.stop()
    assert [*running, *watched.sightings(words)] == []
    # It was really there to be found: the log was kept, the index built, the versions committed.
    assert watched.server.log.read_text().count('"event":"request"') > 20
    assert list((watched.server.data / "cache/index").rglob("*.db"))
    assert sum(path.stat().st_size for path in (watched.server.data / "store").rglob("*") if path.is_file()) > 5_000
    # Titles and paths may be read in the catalog, and nowhere else.
    assert {sighting.word for sighting in watched.sightings(NAMES)} == set(NAMES)
    assert {sighting.file.name.removesuffix("-wal") for sighting in watched.sightings(NAMES)} == {"catalog.db"}


def test_nothing_can_be_read_in_what_a_server_keeps_of_a_bucket(
    watched: Watched, kim: Person, seaweedfs: Bucket
) -> None:
    server = watched.server
    server.env |= {**seaweedfs.env, "SATCHEL_STORE_URL": seaweedfs.url}
    server.start()
    use(server, kim)
    server.kill()  # and start again: what is read then was kept, or is kept now
    server.start()
    assert server.http("GET", f"/projects/demo/artifacts/docs/{PATH}.md", server.admin).status == 200
    assert watched.sightings([*SECRETS, QUERY]) == []
    kept = [path for path in (server.data / "cache").rglob("*") if path.is_file() and path.suffix != ".db"]
    assert sum(path.stat().st_size for path in kept) > 5_000
    assert {sighting.file.name.removesuffix("-wal") for sighting in watched.sightings(NAMES)} == {"catalog.db"}


SERVE = "from satchel.cli.main import main; main()"
INDEX_WITHOUT_A_KEY = """
from satchel.search.index import Index
kept = Index.open_or_rebuild.__func__
Index.open_or_rebuild = classmethod(lambda cls, path, *, key=None: kept(cls, path, key=None))
"""
CONTENT_IN_THE_LOG = """
import satchel.store.packs as packs
from satchel.server.logs import log
kept = packs.open_content
def opened(data, **more):
    content = kept(data, **more)
    log.debug("opened", content=content[-2_000:].decode(errors="replace"))
    return content
packs.open_content = opened
"""
PLAINTEXT_IN_A_TEMPORARY_FILE = """
import tempfile
import satchel.store.packs as packs
kept = packs.seal
def sealed(key, binding, name, plaintext, **place):
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(plaintext)
    return kept(key, binding, name, plaintext, **place)
packs.seal = sealed
"""
PLAINTEXT_IN_THE_STORE = """
import satchel.store.packs as packs
put = packs.PackWriter._put
async def spoilt(self, frames, *rest):
    await put(self, frames, *rest)
    await self._store.put(f"{self._folder}/packs/pak_spoilt", frames[0][1].data, create=False)
packs.PackWriter._put = spoilt
"""
DEFECTS = {
    "an index without a key": INDEX_WITHOUT_A_KEY,
    "content in the log": CONTENT_IN_THE_LOG,
    "plaintext in a temporary file": PLAINTEXT_IN_A_TEMPORARY_FILE,
    "plaintext in the store": PLAINTEXT_IN_THE_STORE,
}
SMALL = ("an index without a key", "content in the log")


@pytest.mark.parametrize("defect", DEFECTS if os.environ.get("PROVE") else SMALL)
def test_a_server_that_writes_something_readable_is_caught(watched: Watched, kim: Person, defect: str) -> None:
    watched.server.program = (sys.executable, "-c", DEFECTS[defect] + SERVE)
    watched.server.start()
    fill(kim.folder)
    kim.joins(watched.server)
    kim.run("sync", "--to-cloud")
    assert watched.server.http("POST", "/search", watched.server.admin, {"query": TEXT}).body["hits"]
    assert watched.server.http("GET", "/projects/demo/artifacts/docs/old.md", watched.server.admin).status == 200
    assert watched.sightings(SECRETS) != []


@pytest.mark.parametrize(
    "dressed",
    [
        lambda text: text,
        str.upper,
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-be"),
        lambda text: text.encode().hex(),
        lambda text: base64.b64encode(text.encode()),
        lambda text: base64.b64encode(b"x" + text.encode()),
        lambda text: base64.b64encode(b"xy" + text.encode()),
        lambda text: zlib.compress(text.encode() * 3, 9),
        lambda text: gzip.compress(text.encode()),
        lambda text: zstd.compress(text.encode() * 9),
        lambda text: zstd.compress(zlib.compress(text.encode())),
        lambda text: zstd.compress(text.encode() + os.urandom(300_000))[:-3],
    ],
    ids=[
        "plain", "capitals", "UTF-16", "UTF-16 big-endian", "hex", "base64", "base64 from 1", "base64 from 2", "zlib",
        "gzip", "zstd", "zlib in zstd", "torn zstd",
    ],
)  # fmt: skip
def test_the_search_finds_what_was_planted(tmp_path: Path, dressed: Any) -> None:
    planted = dressed(f"The word is {TEXT}, and more.")
    planted = planted.encode() if isinstance(planted, str) else planted
    (tmp_path / "file").write_bytes(os.urandom(5_000) + planted + os.urandom(5_000))
    assert {sighting.word for sighting in sightings(tmp_path.iterdir(), SECRETS)} == {TEXT}
    (tmp_path / "file").write_bytes(os.urandom(200_000))
    assert sightings(tmp_path.iterdir(), SECRETS) == []
