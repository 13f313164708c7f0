"""The journeys again, in short, where the catalog is PostgreSQL and the objects are in a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from satchel.catalog.schema import SCHEMA_REVISION
from tests.journeys.conftest import Person, Server
from tests.journeys.test_4_remote_agent import over_http
from tests.postgres import Postgres
from tests.real import Bucket

pytestmark = [pytest.mark.system]


@pytest.fixture
def hosted(new_server: Server, empty_postgres: Postgres, seaweedfs: Bucket) -> Server:
    """A server that has not been started, on a database that has not been migrated."""
    new_server.env |= {
        "SATCHEL_DATABASE_URL": empty_postgres.url,
        "SATCHEL_DATABASE_OWNER_URL": empty_postgres.owner,
        "SATCHEL_STORE_URL": seaweedfs.url,
        **seaweedfs.env,
    }
    return new_server


@pytest.mark.journey(1)
@pytest.mark.journey(2)
@pytest.mark.journey(3)
@pytest.mark.journey(4)
@pytest.mark.journey(5)
@pytest.mark.promise("P5")
def test_deploy_sign_in_sync_ask_and_stay_apart_on_postgresql_and_a_bucket(
    hosted: Server, sam: Person, kim: Person, people: Callable[[str], Person]
) -> None:
    assert "satchel admin migrate" in hosted.refused("--check")["hint"]
    assert hosted.run_admin("migrate")["revision"] == SCHEMA_REVISION
    told = hosted.start()
    assert told["firstStart"] is True
    assert not (hosted.data / "catalog.db").exists()
    assert hosted.http("GET", "/health").body["status"] == "ok"

    sam.joins(hosted)
    sent = sam.json("sync", "--to-cloud")
    kim.login(hosted)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", hosted.url, "--project", "demo")
    assert kim.json("sync", "--from-cloud")["digest"] == sent["digest"]
    (kim.folder / "kim.md").write_text("# From Kim\n\nA zeppelin was seen.\n")
    kim.run("sync")
    sam.run("sync")
    assert sam.digest() == kim.digest()

    key = sam.json("key", "create", "agent", "--project", "demo:read")["key"]
    questions = ("zeppelin", "who retracts a warning")
    local = [sam.json("search", question) for question in questions]
    assert asyncio.run(over_http(hosted.url, key, questions, "auto")) == local

    named = {"slug": "rival", "name": "Rival"}
    made = hosted.http("POST", "/admin/tenants", hosted.operator, named, {"idempotency-key": "rival"})
    rival = people("rival")
    rival.login(hosted, made.body["adminKey"])
    assert rival.json("projects", "--remote")["items"] == []
    assert rival.json("search", "--remote", "--all", "zeppelin")["hits"] == []

    hosted.port = int(hosted.url.rpartition(":")[2])
    assert hosted.stop() == 0
    assert hosted.start()["firstStart"] is False
    assert sam.json("search", "--remote", "zeppelin")["hits"]
