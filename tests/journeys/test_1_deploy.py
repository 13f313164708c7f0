"""Journey 1: deploy as a cloud service."""

from __future__ import annotations

import os
import sqlite3
import stat
import urllib.request
from pathlib import Path

import pytest

from tests.journeys.conftest import SATCHEL, Person, Server

pytestmark = [pytest.mark.system, pytest.mark.journey(1)]


def test_the_first_start_needs_nothing_and_shows_the_key_once(new_server: Server) -> None:
    new_server.program = SATCHEL
    told = new_server.start()
    assert told["firstStart"] is True
    assert told["adminKey"].startswith("stl_live_")
    assert stat.S_IMODE(new_server.root_key.stat().st_mode) == 0o600
    assert stat.S_IMODE(new_server.data.stat().st_mode) == 0o700
    assert new_server.http("GET", "/health/live").status == 200
    assert new_server.http("GET", "/health/ready").status == 200
    assert new_server.http("GET", "/health").body["status"] == "ok"
    with urllib.request.urlopen(f"{new_server.url}/docs") as page:
        assert page.status == 200
    everything = b"".join(path.read_bytes() for path in new_server.data.rglob("*") if path.is_file())
    assert told["adminKey"].encode() not in everything
    assert told["adminKey"] not in new_server.log.read_text()


@pytest.mark.promise("P3")
def test_a_clean_stop_and_a_restart_with_everything_there(own_server: Server, sam: Person, kim: Person) -> None:
    sam.joins(own_server)
    sent = sam.json("sync", "--to-cloud")
    assert own_server.stop() == 0
    again = own_server.start()
    assert (again["firstStart"], again["adminKey"]) == (False, None)
    kim.login(own_server)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", own_server.url, "--project", "demo")
    assert kim.json("sync", "--from-cloud")["digest"] == sent["digest"]
    assert kim.files()
    assert kim.files().items() <= sam.files().items()


def test_a_wrong_or_missing_root_key_is_refused_before_anything_is_served(own_server: Server) -> None:
    own_server.stop()
    right = own_server.root_key.read_bytes()
    own_server.root_key.write_bytes(os.urandom(len(right)))
    error = own_server.refused()
    assert error["code"] == "serve.refused"
    assert "root key" in error["message"]
    assert error["hint"]
    own_server.root_key.unlink()
    assert "root key" in own_server.refused()["message"]
    own_server.root_key.write_bytes(right)
    own_server.root_key.chmod(0o600)
    assert own_server.start()["firstStart"] is False


def test_a_taken_port_is_refused(own_server: Server, new_server: Server) -> None:
    port = own_server.url.rpartition(":")[2]
    error = new_server.refused("--port", port)
    assert error["code"] == "serve.refused"
    assert port in error["message"]
    assert "--port" in error["hint"]


def test_a_data_directory_that_cannot_be_used_is_refused(new_server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = new_server.refused("--data", str(tmp_path / "file" / "data"))
    assert error["code"] == "serve.refused"
    assert "--data" in error["hint"]


def test_a_catalog_of_a_newer_version_is_refused(own_server: Server) -> None:
    own_server.stop()
    with sqlite3.connect(own_server.data / "catalog.db") as catalog:
        catalog.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
    catalog.close()
    error = own_server.refused()
    assert error["code"] == "serve.refused"
    assert "newer" in error["message"] + error["hint"]


def test_a_misspelt_setting_is_refused_by_name(new_server: Server, sam: Person) -> None:
    done = sam.run("serve", "--check", env={"SATCHEL_PROT": "1"}, status=2)
    assert "SATCHEL_PROT" in done.stderr


def test_check_says_that_it_would_start_and_starts_nothing(sam: Person) -> None:
    told = sam.json("serve", "--check", "--port", "0", "--data", str(sam.home / "server"))
    assert told["firstStart"] is True
    assert (sam.home / "server/catalog.db").exists()
