"""The way of a folder to a server that keeps its objects in a real bucket, and back to somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.corpus import make
from satchel.store.objectstore import StoredObject
from satchel.store.urls import open_store
from tests.journeys.conftest import Person, Server
from tests.real import Bucket, FlakyProxy
from tests.sample import write_sample_project

pytestmark = [pytest.mark.journey(3), pytest.mark.timeout(600)]
MEGABYTES = 10
PUTS_PER_SYNC = 10
"""Most puts for a first sync of 10 MB of text: two packs, one commit record, one head, and what a new project gets."""


class Hosted:
    """A server over a bucket that is reached through a proxy which counts."""

    def __init__(self, place: Path, bucket: Bucket, proxy: FlakyProxy) -> None:
        self.place, self.bucket, self.proxy = place, bucket, proxy
        self.server = Server(place / "server")
        self.server.env |= {**bucket.env, "SATCHEL_STORE_URL": bucket.through(proxy).url}

    def person(self, name: str) -> Person:
        return Person(self.place, name)

    def stored(self) -> list[StoredObject]:
        async def main() -> list[StoredObject]:
            return [stored async for stored in open_store(self.bucket.url).list("")]

        return asyncio.run(main())


@pytest.fixture(params=["seaweedfs", "azurite"])
def hosted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosted]:
    bucket: Bucket = request.getfixturevalue(request.param)
    (tmp_path / "server").mkdir()
    with ExitStack() as stack:
        proxy = stack.enter_context(FlakyProxy(bucket.port))
        one = Hosted(tmp_path, bucket, proxy)
        stack.callback(one.server.close)
        yield one


def joined(person: Person, server: Server) -> None:
    """Signed in, with an empty folder of the project that is there."""
    person.login(server)
    person.run("init", "--name", "demo")
    person.run("remote", "add", server.url, "--project", "demo")


@pytest.mark.promise("P3")
def test_a_folder_goes_to_a_bucket_and_comes_back_to_another_person(hosted: Hosted) -> None:
    server = hosted.server
    server.start()
    sam = hosted.person("sam")
    sam.folder.rmdir()
    write_sample_project(sam.folder)
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    kim = hosted.person("kim")
    joined(kim, server)
    kim.run("sync", "--from-cloud")
    assert kim.files()
    assert kim.files().items() <= sam.files().items()
    (kim.folder / "answer.md").write_text("# Answer\n\nWritten by Kim.\n")
    sent = kim.json("sync")
    sam.run("sync")
    assert (sam.folder / "answer.md").read_text() == "# Answer\n\nWritten by Kim.\n"
    assert server.stop() == 0  # nothing that matters is in the process
    server.start()
    lee = hosted.person("lee")
    joined(lee, server)
    assert lee.json("sync", "--from-cloud")["digest"] == sent["digest"]
    names = [stored.name for stored in hosted.stored()]
    assert {kind for kind in ("packs", "records", "heads") if any(f"/{kind}/" in name for name in names)} == {
        "packs",
        "records",
        "heads",
    }
    assert not (server.data / "store").exists()
    assert not any(name.startswith("store-check") for name in names)


def test_a_first_sync_asks_little_of_a_bucket(hosted: Hosted) -> None:
    hosted.server.start()
    sam = hosted.person("sam")
    make("fresh", sam.folder, 800, MEGABYTES, 1)
    sam.joins(hosted.server)
    before = hosted.proxy.counts()
    sam.run("sync", "--to-cloud")
    asked = hosted.proxy.counts() - before
    print(dict(asked))
    assert asked["PUT"] <= PUTS_PER_SYNC, asked
    assert asked["GET"] <= PUTS_PER_SYNC, asked


def test_a_server_whose_bucket_cannot_be_used_does_not_start(tmp_path: Path, seaweedfs: Bucket) -> None:
    server = Server(tmp_path)
    wrong = {**seaweedfs.env, "AWS_SECRET_ACCESS_KEY": "not the secret"}
    error = server.refused("--check", env={**wrong, "SATCHEL_STORE_URL": seaweedfs.url})
    assert error["code"] == "serve.refused"
    assert "does not accept the credentials" in error["message"]
    error = server.refused(env={**seaweedfs.env, "SATCHEL_STORE_URL": seaweedfs.at("no-such-bucket").url})
    assert "no bucket s3://no-such-bucket" in error["message"]
    assert error["hint"]
    assert not server.root_key.exists()
