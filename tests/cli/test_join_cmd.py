"""What a server that somebody is led to by a link may say, and what comes of it on this machine: nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from satchel.remote.connection import Answered, Connection
from tests.cli.conftest import Cli

LINK = "http://127.0.0.1:9/join/stl_invite_x"
TO = {"tenant": "t", "tenantName": "T", "role": "read", "tenantRole": "member", "expiresAt": "2027-01-01T00:00:00Z"}
JOINED = {"accessToken": "a", "refreshToken": "r", "tenant": "t", "role": "read"}


def answering(monkeypatch: pytest.MonkeyPatch, **answers: dict[str, Any]) -> list[str]:
    """Let a server that is asked answer so, by the last word of the address; what it was asked."""
    asked: list[str] = []

    def said(_self: Connection, _method: str, path: str, *_: object, **_more: object) -> Any:
        asked.append(path)
        return json.loads(json.dumps(answers[path.rpartition("/")[2]]), object_hook=Answered)

    monkeypatch.setattr(Connection, "json", said)
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse battery\n"))
    return asked


@pytest.mark.parametrize("project", ["../../.ssh", "/tmp/elsewhere", ".ssh", "..", "a/b", "", "A", "x\n", 7, ["a"]])
def test_the_name_that_a_server_gives_a_project_leads_to_no_folder_but_one_of_that_name(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, project: object
) -> None:
    asked = answering(monkeypatch, invitation=TO | {"project": project})
    before = sorted(here.parent.rglob("*"))
    ran = cli("join", LINK, "--email", "ada@example.org", status=1)
    assert "[remote.untrustworthy]" in ran.err
    assert sorted(here.parent.rglob("*")) == before
    assert not (here / str(project) / ".satchel" / "config.toml").exists()
    assert asked == ["/auth/invitation"]  # and the password went nowhere


@pytest.mark.parametrize("project", ["prj_x", "../x", "a b", "", None, 7])
def test_the_id_that_a_server_gives_a_project_is_written_nowhere_unless_it_is_one(
    cli: Cli, here: Path, monkeypatch: pytest.MonkeyPatch, project: object
) -> None:
    answering(monkeypatch, invitation=TO | {"project": "acme"}, join=JOINED | {"project": project})
    ran = cli("join", LINK, "--email", "ada@example.org", status=1)
    assert "[remote.untrustworthy]" in ran.err
    assert not (here / "acme").exists()
    assert cli("init").status == 0
    config = (here / ".satchel" / "config.toml").read_text()
    monkeypatch.setenv("SATCHEL_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SATCHEL_KEY", "stl_live_none")
    monkeypatch.setattr(Connection, "json", lambda *_, **__: Answered(id=project, slug="acme", version=0, role="admin"))
    assert "[remote.untrustworthy]" in cli("remote", "add", "http://127.0.0.1:9", status=1).err
    assert (here / ".satchel" / "config.toml").read_text() == config
