"""Every operation and every tool × every kind of credential × own, other project, other tenant, absent (P5).

The expectations are those that ``satchel admin prove-isolation`` takes to any server (``satchel.server.isolation``).
What a caller may not see answers exactly like what does not exist, whatever else is wrong with the request; what it may
see and not do is 403; no credential that does not count gets further than 401. A new route or tool without a row fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from satchel.mcp.tools import TOOLS, WRITING
from satchel.server.app import build
from satchel.server.isolation import matrix, rest, tools
from satchel.server.isolation.expectations import CALLERS, Needs, Operation, Outcome, Target, expected
from satchel.server.isolation.requests import requests_of
from satchel.server.isolation.world import World
from satchel.server.openapi import document
from tests.isolation.conftest import SETTINGS, world_of
from tests.postgres import Postgres
from tests.server.running import Running, serving

pytestmark = pytest.mark.promise("P5")
PAGES = {"/", "/docs", "/docs/errors", "/docs/errors/{code}", "/openapi.json"}
"""Addresses outside of the API's description: the same for everybody, with nothing of a tenant."""
TELLING = ("no grant", "read", "tenant admin", "admin of another tenant")
"""The callers of the smaller form."""


@pytest.fixture
def world(server: Running) -> Iterator[World]:
    yield from world_of(server)


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    """Where this fails: ``satchel/server/isolation/rest.py`` says what each operation needs."""
    described = document(build(), "0")
    operations = {f"{m.upper()} {path}" for path, methods in described["paths"].items() for m in methods}
    assert operations == {operation.name for operation in rest.OPERATIONS}


def test_no_address_is_hidden_from_the_description_but_the_pages() -> None:
    hidden = {route.path for route in build().routes if isinstance(route, APIRoute) and not route.include_in_schema}
    assert hidden == PAGES


def test_every_tool_has_a_row_and_every_row_a_tool() -> None:
    """Where this fails: ``satchel/server/isolation/tools.py`` says what each tool needs."""
    assert {tool.name for tool in (*TOOLS, *WRITING)} == tools.TOOL_NAMES


def test_every_cell_answers_as_it_owes(world: World) -> None:
    counts = matrix.run(world, thorough=bool(os.environ.get("PROVE")))
    assert counts.failed == []
    assert counts.cells > 2_500
    assert counts.pairs > 1_000


@pytest.mark.timeout(120)
def test_every_cell_answers_as_it_owes_on_postgresql_too(postgres: Postgres, tmp_path: Path) -> None:
    callers = CALLERS if os.environ.get("PROVE") else [caller for caller in CALLERS if caller.name in TELLING]
    with serving(tmp_path / "data", database_url=postgres.url, **SETTINGS) as server:
        for world in world_of(server):
            counts = matrix.run(world, callers=callers, thorough=False)
            assert counts.failed == []
            assert counts.cells > 500


@pytest.mark.parametrize(
    ("operation", "caller", "target", "answer"),
    [
        ("GET /api/v1/projects/{p}", "read", Target.OWN, Outcome(200)),
        ("GET /api/v1/projects/{p}", "read", Target.OTHER_PROJECT, Outcome(404, "project.not_found")),
        ("GET /api/v1/projects/{p}", "admin of another tenant", Target.OWN, Outcome(404, "project.not_found")),
        ("GET /api/v1/projects/{p}", "operator", Target.OWN, Outcome(404, "project.not_found")),
        ("DELETE /api/v1/projects/{p}", "write", Target.OWN, Outcome(403, "auth.insufficient_scope")),
        ("DELETE /api/v1/projects/{p}", "write", Target.OTHER_TENANT, Outcome(404, "project.not_found")),
        ("DELETE /api/v1/projects/{p}", "expired", Target.OWN, Outcome(401, "auth.expired")),
        ("POST /api/v1/projects", "write", Target.OWN, Outcome(403, "auth.insufficient_scope")),
        ("DELETE /api/v1/keys/{key}", "tenant admin", Target.OTHER_TENANT, Outcome(404, "resource.not_found")),
        ("DELETE /api/v1/keys/{key}", "admin", Target.OWN, Outcome(403, "auth.insufficient_scope")),
        ("GET /api/v1/admin/tenants", "tenant admin", Target.OWN, Outcome(404, "resource.not_found")),
        ("MCP artifacts_get", "grant removed", Target.OWN, Outcome(200, "project.not_found")),
        ("MCP health", "suspended tenant", Target.OWN, Outcome(403, "tenant.suspended")),
    ],
)
def test_the_rules_say_what_the_promise_says(operation: str, caller: str, target: Target, answer: Outcome) -> None:
    """The expectations themselves, for a few cells that anybody can judge: the rest follows from the same rules."""
    row = next(each for each in matrix.OPERATIONS if each.name == operation)
    assert expected(row, next(each for each in CALLERS if each.name == caller), target) == answer


def test_an_operation_with_the_wrong_needs_fails_the_matrix(world: World) -> None:
    """Held to more than they ask, or to less, operations show it."""
    wrong = {"GET /api/v1/projects/{p}": Needs.WRITE, "PATCH /api/v1/projects/{p}": Needs.READ}
    rows = [Operation(each.name, wrong[each.name], body=each.body) for each in rest.OPERATIONS if each.name in wrong]
    counts = matrix.run(world, operations=rows)
    assert {(cell.operation, cell.caller) for cell in counts.failed} >= {
        ("GET /api/v1/projects/{p}", "read"),
        ("PATCH /api/v1/projects/{p}", "read"),
        ("PATCH /api/v1/projects/{p}", "write"),
    }


def test_a_request_is_asked_in_order_and_garbled() -> None:
    row = next(each for each in rest.OPERATIONS if each.name == "PATCH /api/v1/projects/{p}")
    proper, garbled = requests_of(row, {"p": "prj/../x"})
    assert proper.path == garbled.path.partition("?")[0] == "/api/v1/projects/prj%2F..%2Fx"
    assert dict(garbled.headers)["if-match"] == "nonsense"
    assert garbled.body == b'{"half'
