"""Folders that keep themselves in step: real processes, a real server that restarts, one write over REST."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.journeys.conftest import SATCHEL, Person, Server

BOUND_SECONDS = 60


class Watcher:
    """``satchel sync --watch --json`` of one person."""

    def __init__(self, person: Person) -> None:
        self.process = subprocess.Popen(
            [*SATCHEL, "sync", "--watch", "--json"],
            cwd=person.folder, env=person.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.events: list[dict[str, Any]] = []

    def until(self, so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next event of which something is so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if so(self.events[-1]):
                return self.events[-1]
        assert self.process.stderr is not None
        raise AssertionError((self.events, self.process.stderr.read()))

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        self.until(lambda told: told["event"] == "stopped")
        return self.process.wait(BOUND_SECONDS)


@contextmanager
def watching(person: Person) -> Iterator[Watcher]:
    watcher = Watcher(person)
    try:
        watcher.until(lambda told: told["event"] == "watching")
        yield watcher
    finally:
        watcher.process.kill()
        watcher.process.communicate()


def comes_to_be(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not so():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


@pytest.mark.journey(3)
@pytest.mark.promise("P3")
@pytest.mark.timeout(300)  # a dozen processes: several seconds each on a machine that is busy
def test_two_watched_folders_and_a_write_over_rest_converge_across_a_restart_of_the_server(
    new_server: Server, sam: Person, kim: Person
) -> None:
    new_server.port = 0
    told = new_server.start()
    new_server.port = int(told["url"].rpartition(":")[2])
    sam.joins(new_server)
    sam.run("sync")
    kim.login(new_server)
    kim.run("init", "--name", "demo")
    kim.run("remote", "add", new_server.url, "--project", "demo")
    with watching(sam) as first, watching(kim) as second:
        second.until(lambda told: told["event"] == "synced" and bool(told["pulled"]))
        assert kim.files().items() <= sam.files().items()  # what is ignored there stays there

        # Another watcher of the same folder is refused; a single sync is not.
        refused = json.loads(sam.run("sync", "--watch", "--json", status=6).stdout)
        assert refused["error"]["code"] == "folder.busy"
        sam.run("sync", status=None)

        # A person's edit reaches the other folder, and so does an agent's over REST.
        (sam.folder / "notes-of-sam.md").write_text("from Sam\n")
        comes_to_be(lambda: kim.files().get("notes-of-sam.md") == b"from Sam\n")
        written = new_server.http(
            "PUT", "/projects/demo/artifacts/from-an-agent.md", new_server.admin, b"from an agent\n",
            {"if-none-match": "*", "content-type": "text/plain"},
        )  # fmt: skip
        assert written.status == 200, written
        for person in (sam, kim):
            comes_to_be(lambda person=person: person.files().get("from-an-agent.md") == b"from an agent\n")  # type: ignore[misc]

        # A server that is away for a while is waited for.
        new_server.kill()
        (kim.folder / "while-away.md").write_text("written offline\n")
        second.until(lambda told: told["event"] == "waiting" and told["code"] == "remote.away")
        new_server.start()
        comes_to_be(lambda: sam.files().get("while-away.md") == b"written offline\n")
        assert sam.digest() == kim.digest()

        assert first.end(signal.SIGTERM) == 0
        assert second.end(signal.SIGINT) == 130


@pytest.mark.parametrize("words", [("--dry-run",), ("--prune",), ("--allow-deletions",)])
def test_a_watch_is_not_for_one_sync(sam: Person, server: Server, words: tuple[str, ...]) -> None:
    sam.joins(server)
    sam.run("sync", "--watch", *words, status=2)


@pytest.mark.journey(3)
def test_a_file_with_a_credential_waits_until_it_is_allowed_and_the_audit_says_so(server: Server, sam: Person) -> None:
    key = "glpat-" + "kR7x2mQ9vT4wZ1bN8cLp"
    sam.joins(server)
    (sam.folder / "key.md").write_text(f"# Deploy\n\n{key}\n")
    report = sam.json("sync", status=3)
    assert report["secrets"] == [{"path": "key.md", "line": 3, "kind": "GitLab token"}]
    assert "key.md" not in [change["path"] for change in report["pushed"]]
    assert sam.json("status", status=0)["inStep"] is False
    allowed = sam.json("sync", "--allow-secret", "key.md")
    assert (allowed["secrets"], allowed["secretsAllowed"]) == ([], ["key.md"])
    rows = server.http("GET", "/tenant/audit?action=secrets.allowed", server.admin).body["items"]
    assert len(rows) == 1
    assert rows[0]["target"].endswith(": key.md")
    assert key not in json.dumps(rows)
