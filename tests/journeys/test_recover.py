"""The drill: a server is lost with its disk, the bucket and a backup are not."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.conftest import Person, Server

pytestmark = [pytest.mark.system, pytest.mark.journey(1)]
TEXT = {"content-type": "text/plain"}


@pytest.fixture
def drill(new_server: Server, tmp_path: Path) -> Server:
    """A server whose bucket, root key and backups lie elsewhere than its data, started."""
    new_server.root_key = tmp_path / "kept" / "root.key"
    new_server.root_key.parent.mkdir()
    new_server.env |= {
        "SATCHEL_STORE_URL": (tmp_path / "bucket").as_uri(),
        "SATCHEL_BACKUP_URL": (tmp_path / "backups").as_uri(),
        "SATCHEL_ROOT_KEY": str(new_server.root_key),
    }
    new_server.start()
    new_server.port = int(new_server.url.rpartition(":")[2])  # after the drill it is found where it was
    return new_server


class Writers:
    """Agents that write artifacts, one commit each, and remember what was acknowledged."""

    def __init__(self, server: Server, project: str) -> None:
        self.server, self.project = server, project
        self.acknowledged: dict[str, bytes] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(name,)) for name in ("one", "two")]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, name: str) -> None:
        number = 0
        while not self._stop.is_set() or number < 5:
            number += 1
            path, data = f"load/{name}-{number}.md", f"# {name} {number}\n".encode()
            at = f"/projects/{self.project}/artifacts/{path}"
            answer = self.server.http("PUT", at, self.server.admin, data, {"if-none-match": "*", **TEXT})
            if answer.status in (200, 201):
                self.acknowledged[path] = data


def history(server: Server, project: str) -> list[dict[str, Any]]:
    """Every version, and the artifacts of the newest with their bytes."""
    last = server.http("GET", f"/projects/{project}", server.admin).body["version"]
    return [server.http("GET", f"/projects/{project}/versions/{n}", server.admin).body for n in range(1, last + 1)]


def lose(server: Server) -> None:
    """The machine is gone with its disk."""
    server.kill()
    shutil.rmtree(server.data)


@pytest.fixture
def two(drill: Server, sam: Person, kim: Person) -> tuple[Person, Person]:
    """Sam's folder is in the cloud and Kim's is a copy of it."""
    sam.joins(drill)
    sam.run("sync", "--to-cloud")
    kim.login(drill)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", drill.url, "--project", "demo")
    kim.run("sync", "--from-cloud")
    return sam, kim


@pytest.mark.promise("P3")
def test_after_a_restore_every_acknowledged_commit_is_there_and_clients_go_on(
    drill: Server, two: tuple[Person, Person]
) -> None:
    sam, kim = two
    with Writers(drill, "demo") as writers:
        made = drill.run_admin("backup")
    assert made["missing"] == 0
    (sam.folder / "notes/after.md").write_text("# After the backup\n")
    sam.run("sync")
    before = history(drill, "demo")
    assert len(before) > 10
    lose(drill)
    (kim.folder / "notes/kim.md").write_text("# Written while the server was lost\n")

    restored = drill.run_admin("restore", made["id"])
    [one] = [project for project in restored["projects"] if project["slug"] == "demo"]
    assert (one["newLineage"], one["missing"], one["version"]) == (False, 0, len(before))
    assert drill.start()["firstStart"] is False
    assert history(drill, "demo") == before
    for path, data in writers.acknowledged.items():
        got = drill.http("GET", f"/projects/demo/artifacts/{path}", drill.admin)
        assert (got.body if isinstance(got.body, bytes) else str(got.body).encode()) == data

    report = kim.json("sync")
    assert (report["notices"], report["conflicts"]) == ([], [])
    assert [change["path"] for change in report["pushed"]] == ["notes/kim.md"]
    assert sam.json("sync")["notices"] == []
    assert sam.digest() == kim.digest()
    assert (sam.folder / "notes/kim.md").exists()


@pytest.mark.promise("P3")
def test_after_a_cut_chain_nobody_loses_a_file(drill: Server, two: tuple[Person, Person], tmp_path: Path) -> None:
    sam, kim = two
    made = drill.run_admin("backup")
    (sam.folder / "notes/after.md").write_text("# After the backup\n")
    (sam.folder / "README.md").write_text("# Changed after the backup\n")
    (sam.folder / "tasks.md").unlink()
    sam.run("sync")
    kim.run("sync")
    [record] = [path for path in (tmp_path / "bucket").rglob("records/*") if os.path.getmtime(path) == newest(tmp_path)]
    record.unlink()
    lose(drill)
    (kim.folder / "notes/kim.md").write_text("# Of Kim\n")
    (sam.folder / "notes/sam.md").write_text("# Of Sam\n")
    files = {"sam": sam.files(), "kim": kim.files()}

    restored = drill.run_admin("restore", made["id"])
    [one] = [project for project in restored["projects"] if project["slug"] == "demo"]
    assert (one["newLineage"], one["version"]) == (True, 1)
    assert "version 2" in one["why"]
    drill.start()
    # What differs between the restored cloud and a folder is put before its person; everything else goes by itself.
    report = sam.json("sync", status=3)
    assert any("another line of history" in notice for notice in report["notices"])
    assert {change["path"] for change in report["pushed"]} == {"notes/after.md", "notes/sam.md"}
    assert [conflict["path"] for conflict in report["conflicts"]] == ["README.md"]
    assert [change["path"] for change in report["pulled"]] == ["tasks.md"]  # a deletion that returned
    sam.run("resolve", "README.md", "--take", "local")
    sam.run("sync")
    kim.run("sync", status=None)
    for person in (sam, kim):
        person.run("sync", status=None)
        now = person.files()
        for path, data in files[person.home.name].items():
            assert now[path] == data, path
    assert sam.json("sync")["conflicts"] == []
    assert kim.json("sync")["conflicts"] == []
    assert sam.digest() == kim.digest()
    assert (kim.folder / "notes/sam.md").read_bytes() == b"# Of Sam\n"


def test_a_catalog_rebuilt_from_the_bucket_serves_the_same_and_clients_sign_in_anew(
    drill: Server, two: tuple[Person, Person]
) -> None:
    sam, kim = two
    (sam.folder / "notes/after.md").write_text("# Deployment strategy\n\n- [ ] try it\n")
    sam.run("sync")
    kim.run("sync")
    before = history(drill, "demo")
    asked = ("/projects/demo/tasks", "/projects/demo/artifacts", "/projects/demo/search?q=deployment")
    answers = [drill.http("GET", path, drill.admin).body for path in asked]
    lose(drill)
    rebuilt = drill.run_admin("rebuild-catalog")
    [owner] = rebuilt["owners"]
    assert owner["operator"] is True
    drill.start()
    old, drill.admin = drill.admin, owner["adminKey"]
    assert drill.http("GET", "/projects/demo", old).status == 401
    assert history(drill, "demo") == before
    assert [drill.http("GET", path, drill.admin).body for path in asked] == answers
    (kim.folder / "notes/kim.md").write_text("# Of Kim\n")
    for person in (kim, sam):
        person.login(drill)
        report = person.json("sync")
        assert (report["notices"], report["conflicts"]) == ([], [])
    assert sam.digest() == kim.digest()


def newest(place: Path) -> float:
    """When the last commit record was written."""
    return max(os.path.getmtime(path) for path in (place / "bucket").rglob("records/*"))
