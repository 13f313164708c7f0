"""The kernel kills a server that is over the memory its group may have: everything acknowledged is there after."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import urllib3

from tests.journeys.conftest import SATCHEL, Server
from tests.journeys.conftest import new_server as new_server
from tests.server.running import Client

LIMIT_BYTES = 24_000_000
"""Of what is allocated once the server is in the group; the text below takes several times as much in one commit."""
LARGE = b"word " * 1_500_000
GROUPS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"))
"""Where groups are made, and the file that limits one: of the first kind of control groups, and of the second."""


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory; a process is put into it by writing its number to ``cgroup.procs``."""
    for place, limit in GROUPS:
        made = Path(place) / f"satchel-{os.getpid()}"
        try:
            made.mkdir()
        except OSError:
            continue
        try:
            if (made / limit).exists():
                (made / limit).write_text(str(LIMIT_BYTES))
                yield made
                return
        finally:
            made.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


@pytest.mark.promise("P6")
def test_a_server_killed_for_its_memory_comes_back_with_what_it_acknowledged(group: Path, new_server: Server) -> None:
    server = new_server
    server.program = SATCHEL  # all of its memory its own
    server.start()
    assert server.process is not None
    with closing(Client(server.url, server.admin)) as client:
        client.post("/projects", {"slug": "acme"}).ok()
        for number in range(5):
            client.put("acme", f"{number}.md", b"kept %d" % number).ok()
    (group / "cgroup.procs").write_text(str(server.process.pid))
    crowd = [threading.Thread(target=_put, args=(server, number)) for number in range(8)]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    assert server.wait_for_death() == -9
    server.start()
    with closing(Client(server.url, server.admin)) as client:
        assert client.get("/projects/acme").ok()["version"] >= 5
        for number in range(5):
            assert client.get(f"/projects/acme/artifacts/{number}.md").body == b"kept %d" % number
        client.put("acme", "large.md", LARGE).ok()


def _put(server: Server, number: int) -> None:
    with closing(Client(server.url, server.admin)) as client:
        try:
            client.put("acme", f"large-{number}.md", LARGE)
        except urllib3.exceptions.HTTPError:
            pass  # it was killed
