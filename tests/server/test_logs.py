"""What the log says of requests, and what it never says (P10)."""

from __future__ import annotations

import json
import logging
import socket

import pytest
from structlog.testing import capture_logs

from satchel.config.server import server_settings
from satchel.server.logs import configure, where
from satchel.sync.wire import MEDIA_TYPE
from tests import logged
from tests.server.running import Client, Running, until

pytestmark = pytest.mark.promise("P10")


def test_a_request_is_one_line_with_ids_numbers_and_the_name_of_its_route(owner: Client) -> None:
    with capture_logs() as lines:
        answer = owner.get("/projects/nowhere/tasks")
        asked = answer.headers["x-request-id"]  # other servers of this process log too
        until(lambda: any(line.get("request") == asked for line in lines))
    (line,) = [line for line in lines if line.get("request") == asked]
    assert line["event"] == "request"
    assert (line["route"], line["status"], line["code"]) == ("/projects/{p}/tasks", 404, "project.not_found")
    assert line["tenant"].startswith("ten_")
    assert line["ms"] > 0


@pytest.mark.parametrize("below", ["commits", "packs", "sync"])
def test_a_client_that_goes_away_is_no_defect_of_the_server(server: Running, owner: Client, below: str) -> None:
    owner.post("/projects", {"slug": "gone"}).ok()
    media = "application/json" if below == "commits" else MEDIA_TYPE
    lines = [f"POST /api/v1/projects/gone/{below} HTTP/1.1", "host: localhost", f"authorization: Bearer {owner.key}"]
    lines += [f"content-type: {media}", "satchel-declared-bytes: 99", "content-length: 99", "", "{"]
    tenant = owner.get("/tenant").ok()["id"]
    with capture_logs() as said:
        with socket.create_connection(("127.0.0.1", server.settings.port)) as connection:
            connection.sendall("\r\n".join(lines).encode())
            until(lambda: server.cloud.admission.serving(tenant) == 1)
        route = f"/projects/{{p}}/{below}"
        until(lambda: any(line.get("route") == route for line in said))
    (line,) = [line for line in said if line.get("route") == route]
    assert (line["status"], line["code"]) == (0, "client.gone")
    assert "request failed" not in [line["event"] for line in said]


def test_no_content_query_path_password_or_credential_is_ever_logged(server: Running, owner: Client) -> None:
    canary = "canarywordinthelog"
    with capture_logs() as lines:
        owner.post("/projects", {"slug": f"{canary}x", "description": canary}).ok()
        owner.put(f"{canary}x", f"docs/{canary}.md", f"# {canary}\n".encode()).ok()
        owner.get("/search", q=canary).ok()
        owner.post("/search", {"query": canary}).ok()
        owner.get(f"/projects/{canary}/context")
        owner.get(f"/{canary}")
        owner.post("/auth/token", {"email": f"{canary}@example.org", "password": canary})
        owner.post("/auth/token", {"apiKey": canary})
        server.client(canary).get("/projects")
        made = owner.post("/keys", {"name": canary, "role": "read"}).ok()
        server.client(made["key"]).get("/projects").ok()
        token = owner.post("/auth/token", {"apiKey": made["key"]}).ok()["accessToken"]
        server.client(token).get("/projects").ok()
        until(lambda: sum(line["event"] == "request" for line in lines) >= 12)
    text = json.dumps(lines)
    for secret in (canary, made["key"], token, owner.key or "-"):
        assert secret not in text


def test_libraries_are_logged_by_template_alone(capsys: pytest.CaptureFixture[str]) -> None:
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure(server_settings({"log_format": "json", "log_level": "debug"}, env={}))
        try:
            raise ValueError("canary in the exception")
        except ValueError:
            logging.getLogger("some.library").exception("could not read %s", "canary argument")
        line = json.loads(capsys.readouterr().err)
    finally:
        logged.install()
        logging.getLogger().handlers[:] = before
        logging.getLogger().setLevel(level)
    assert (line["logger"], line["template"]) == ("some.library", "could not read %s")
    assert line["where"][0] == "ValueError"
    assert "canary" not in str(line)


def test_where_an_error_came_from_is_told_without_what_it_said() -> None:
    try:
        raise KeyError("canary")
    except KeyError as error:
        told = where(error)
    assert told[0] == "KeyError"
    assert "test_logs.py:" in told[1]
    assert "canary" not in str(told)
