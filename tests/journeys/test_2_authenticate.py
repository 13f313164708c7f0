"""Journey 2: authenticate and access context."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.journeys.conftest import Person, Server

pytestmark = [pytest.mark.system, pytest.mark.journey(2)]


def stored(person: Person) -> Path:
    return person.home / "config/satchel/credentials.json"


def test_a_key_signs_in_is_kept_for_its_owner_alone_and_forgotten(server: Server, sam: Person) -> None:
    done = sam.run("login", server.url, "--key-file", "-", stdin=server.admin + "\n")
    assert server.admin not in done.stdout + done.stderr
    assert stat.S_IMODE(stored(sam).stat().st_mode) == 0o600
    who = sam.json("whoami")
    assert (who["tenant"]["slug"], who["role"], who["operator"]) == (server.slug, "owner", False)
    sam.run("logout")
    assert server.admin not in stored(sam).read_text()
    assert sam.json("whoami", "--url", server.url, status=4)["error"]["code"] == "auth.missing"


def test_a_key_comes_from_a_file_and_never_from_the_command_line(server: Server, sam: Person) -> None:
    (sam.folder / "key").write_text(server.admin + "\n")
    sam.run("login", server.url, "--key-file", "key")
    sam.run("login", server.url, "--api-key", server.admin, status=2)
    sam.run("login", server.url, "--key-file", "README.md", status=2)


@pytest.mark.parametrize("key", ["nonsense", "stl_live_x", ""])
def test_a_key_that_does_not_count_is_refused_and_not_kept(server: Server, sam: Person, key: str) -> None:
    done = sam.run("login", server.url, "--key-file", "-", stdin=key, status=None)
    assert done.returncode in (2, 4)
    assert not stored(sam).exists()


def test_a_person_signs_in_by_password_and_the_session_ends_with_logout(server: Server, sam: Person) -> None:
    member = {"email": "sam@example.org", "name": "Sam", "password": "correct horse battery", "tenantRole": "member"}
    assert server.http("POST", "/members", server.admin, member, {"idempotency-key": "m1"}).status == 201
    sam.run("login", server.url, "--email", "sam@example.org", stdin="wrong wrong wrong\n", status=4)
    sam.run("login", server.url, "--email", "sam@example.org", stdin="correct horse battery\n")
    assert sam.json("whoami")["principal"]["name"] == "Sam"
    assert sam.json("projects", "--remote")["items"] == []
    assert sam.json("logout")["revoked"] is True


def test_a_revoked_key_stops_counting_at_once(server: Server, sam: Person) -> None:
    sam.joins(server)
    made = sam.json("key", "create", "agent", "--project", "demo:read")
    assert server.http("GET", "/projects/demo", made["key"]).status == 200
    listed = sam.run("key", "list").stdout
    assert "demo:read" in listed
    assert "owner of the tenant" in listed
    sam.run("key", "revoke", made["id"], status=2)
    sam.run("key", "revoke", made["id"], "--yes")
    refused = server.http("GET", "/projects/demo", made["key"])
    assert (refused.status, refused.body["code"]) == (401, "auth.invalid")
    assert "Bearer" in {name.lower(): value for name, value in refused.headers.items()}["www-authenticate"]


def test_roles_read_write_and_admin_allow_what_they_say(server: Server, sam: Person) -> None:
    sam.joins(server)
    sam.run("sync", "--to-cloud")
    keys = {
        role: sam.json("key", "create", role, "--project", f"demo:{role}")["key"] for role in ("read", "write", "admin")
    }
    new = {"if-none-match": "*"}
    for role, writes in (("read", 403), ("write", 200), ("admin", 200)):
        assert server.http("GET", "/projects/demo/context", keys[role]).status == 200
        answer = server.http("PUT", f"/projects/demo/artifacts/by-{role}.md", keys[role], b"# hello\n", new)
        assert answer.status in ((403,) if writes == 403 else (200, 201)), answer
    assert server.http("PATCH", "/projects/demo", keys["write"], {"description": "x"}).status == 403
    assert server.http("PATCH", "/projects/demo", keys["admin"], {"description": "x"}).status == 200


@pytest.mark.promise("P5")
def test_a_key_of_the_environment_goes_to_its_own_server_alone(server: Server, sam: Person) -> None:
    sam.run("init", "--name", "demo")
    config = sam.folder / ".satchel/config.toml"
    config.write_text(config.read_text() + f'\n[remote]\nurl = "{server.url}"\nproject = "demo"\n')
    elsewhere = {"SATCHEL_KEY": server.admin, "SATCHEL_URL": "https://context.example.org"}
    assert sam.json("whoami", "--url", server.url, status=4, env=elsewhere)["error"]["code"] == "auth.missing"
    assert sam.json("whoami", status=4, env={"SATCHEL_KEY": server.admin})["error"]["code"] == "auth.missing"
    assert sam.json("whoami", env={"SATCHEL_KEY": server.admin, "SATCHEL_URL": server.url})["role"] == "owner"


def test_http_to_another_machine_is_refused_unless_accepted(sam: Person) -> None:
    done = sam.run("login", "http://198.51.100.7", "--key-file", "-", stdin="stl_live_x", status=5)
    assert "[remote.insecure]" in done.stderr


def test_a_server_that_is_away_is_told_with_status_6(own_server: Server, sam: Person) -> None:
    sam.joins(own_server)
    own_server.stop()
    for words in (["whoami"], ["sync", "--wait", "0"], ["search", "--remote", "x"]):
        error = sam.json(*words, status=6)["error"]
        assert error["code"] == "remote.away"
        assert error["hint"]
    sam.run("search", "warning")
