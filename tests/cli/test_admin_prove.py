"""``satchel admin prove-isolation`` against servers that live: one that is as it should be, some that are not (P5)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import SATCHEL, Server
from tests.postgres import Postgres

pytestmark = [pytest.mark.promise("P5"), pytest.mark.system, pytest.mark.timeout(300)]
QUICK = ("--quick", "--rate", "10000")

SERVE = "from satchel.cli.main import main; main()"
MCP_WITHOUT_THE_CHECK = """
from contextvars import ContextVar
from dataclasses import replace
from satchel.auth.roles import Role
from satchel.server.mcpgate import McpGate
from satchel.server.readers import Readers
at_mcp = ContextVar("at_mcp", default=False)
ask, gate = Readers.ask, McpGate.__call__
async def asked(self, who, *rest, **more):
    return await ask(self, replace(who, all_projects=Role.READ) if at_mcp.get() else who, *rest, **more)
async def entered(self, *args):
    at_mcp.set(True)
    await gate(self, *args)
Readers.ask, McpGate.__call__ = asked, entered
"""
FORBIDDEN_IN_PLACE_OF_ABSENT = """
import satchel.server.access as access
from satchel.errors import InsufficientScope
access.absent_project = lambda: InsufficientScope("this is not yours", needs="read")
"""
SAYS_WHAT_IS_ANOTHERS = """
import satchel.server.routes.keys as keys
from satchel.errors import NoSuchThing
from satchel.catalog import principals
get = principals.get
async def told(s, name):
    row = await get(s, name)
    if row is None:
        raise NoSuchThing("there is no such key" + ("" if name.endswith("0000") else " here"))
    return row
keys.principals.get = told
"""


class Proved:
    """What the command came to."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def report(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.out)
        return told

    @property
    def failed(self) -> list[str]:
        return [failure for check in self.report["checks"] for failure in check["failed"]]


def prove(server: Server, *words: str, key: str | None = None, **env: str) -> Proved:
    done = subprocess.run(
        [*SATCHEL, "admin", "prove-isolation", server.url, "--key-file", "-", *words],
        env={**server.env, **env}, input=key or server.operator, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    return Proved(done)


def tenants(server: Server) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = server.http("GET", "/admin/tenants?limit=1000", server.operator).body["items"]
    return [item for item in items if item["state"] != "shredded"]


def _server(place: Path) -> Iterator[Server]:
    one = Server(place)
    one.env["SATCHEL_TENANT_CONCURRENCY"] = "1000"
    yield one
    one.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Not started yet."""
    yield from _server(tmp_path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One without a defect, for all who leave it as it was."""
    for one in _server(tmp_path_factory.mktemp("sound")):
        one.start()
        yield one


def test_a_server_that_keeps_tenants_apart_is_proven_to_and_left_as_it_was(sound: Server) -> None:
    before = tenants(sound)
    proved = prove(sound, *QUICK, "--only", "/projects/{p}", "--sequences", "3", "--seed", "5", "--json")
    assert proved.status == 0, (proved.out[:2_000], proved.err)
    report = proved.report
    assert (report["holds"], report["seed"], report["url"]) == (True, 5, sound.url)
    assert [check["name"] for check in report["checks"]] == [
        "expectations of what the server offers",
        "random sequences of two tenants",
        "authorization matrix",
    ]
    assert report["checks"][-1]["count"] > 1_000
    assert any("SATCHEL_DATABASE_URL" in what for what in report["notInspected"])
    assert tenants(sound) == before


@pytest.mark.parametrize(
    ("defect", "only", "named"),
    [
        (MCP_WITHOUT_THE_CHECK, "MCP context_get", "MCP context_get · no grant · own"),
        (FORBIDDEN_IN_PLACE_OF_ABSENT, "GET /api/v1/projects/{p}/tasks", "· read · other tenant"),
        (SAYS_WHAT_IS_ANOTHERS, "DELETE /api/v1/keys/{key}", "differs from the answer for what never was"),
    ],
    ids=["MCP without the check of REST", "403 in place of 404", "an answer that says that it is another's"],
)
def test_a_server_that_leaks_is_found_out_and_the_cell_named(
    server: Server, defect: str, only: str, named: str
) -> None:
    server.program = (sys.executable, "-c", defect + SERVE)
    server.start()
    proved = prove(server, *QUICK, "--only", only, "--sequences", "0", "--json")
    assert proved.status == 1, (proved.out[:2_000], proved.err)
    assert not proved.report["holds"]
    assert any(named in failure for failure in proved.failed), proved.failed
    assert {state["slug"] for state in tenants(server)} == {"default"}


def test_the_databases_own_walls_are_asked_for_where_its_address_is_set(server: Server, postgres: Postgres) -> None:
    server.env["SATCHEL_DATABASE_URL"] = postgres.url
    server.start()
    assert server.http("GET", "/health/ready").status == 200  # it has looked at the walls itself
    words = (*QUICK, "--only", "GET /api/v1/members", "--sequences", "0", "--json")
    if os.environ.get("PROVE"):  # in the suite the run with a defect shows that all the other facts hold
        sound = prove(server, *words)
        assert sound.status == 0, (sound.out[:2_000], sound.err)
        assert sound.report["checks"][-1]["name"] == "the database's own walls"
        assert sound.report["installation"]
    postgres.run("ALTER TABLE project DISABLE ROW LEVEL SECURITY")
    broken = prove(server, *words)
    assert broken.status == 1, (broken.out[:2_000], broken.err)
    facts = broken.report["checks"][-1]
    assert (facts["name"], facts["count"] > 5) == ("the database's own walls", True)
    [failure] = broken.failed  # and all the others hold
    assert "row-level security is enabled and forced" in failure
    assert "project" in failure


def test_on_sqlite_the_report_says_that_there_is_one_wall(sound: Server) -> None:
    url = f"sqlite:///{sound.data / 'catalog.db'}"
    proved = prove(sound, *QUICK, "--only", "GET /api/v1/members", "--sequences", "0", SATCHEL_DATABASE_URL=url)
    assert proved.status == 0
    assert "One wall" in proved.out
    assert "Every check holds" in proved.out
    assert "Not inspected:" in proved.out


def test_only_an_operator_can_prove(sound: Server) -> None:
    key = sound.http("POST", "/keys", sound.operator, {"name": "k", "role": "admin"}).body["key"]
    refused = prove(sound, *QUICK, key=key)
    assert refused.status == 2
    assert "not an operator's" in refused.err
    nobody = prove(sound, *QUICK, key=" ")
    assert nobody.status == 4
    assert [tenant["slug"] for tenant in tenants(sound)] == ["default"]


def test_a_proof_that_is_cut_off_leaves_tenants_on_lease_alone(server: Server) -> None:
    server.start()
    process = subprocess.Popen(
        [*SATCHEL, "admin", "prove-isolation", server.url, "--key-file", "-", "--rate", "40"],
        env=server.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(server.operator)
    process.stdin.close()
    while len(tenants(server)) < 3:
        assert process.poll() is None
    process.kill()
    process.wait(30)
    left = [tenant for tenant in tenants(server) if tenant["slug"] != "default"]
    assert left
    assert all(tenant["slug"].startswith("proof-") and tenant["deleteAt"] for tenant in left)
