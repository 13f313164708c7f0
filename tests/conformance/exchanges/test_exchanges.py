"""Client and server of today understand those of every release before: its exchanges are kept, and played to both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import ProtocolUnknown
from satchel.remote import FixedToken, Remote
from satchel.remote.connection import problem_error
from satchel.sync import protocol
from satchel.sync.protocol import Protocols
from tests.conformance.exchanges.golden import FOLDER, Exchange, between, kept, playing, session
from tests.server.running import Answer, Client, Running, serving

RELEASES = sorted(FOLDER.glob("*.json"))
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z")
NAME = re.compile(r"[a-z]{3}_[0-9a-z]{26}")
"""Ids and lineages, which are others with every server."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("golden") / "data") as running:
        yield running


@pytest.mark.parametrize("file", RELEASES, ids=lambda file: file.stem)
def test_the_server_answers_the_client_of_a_release_as_its_own_did(server: Running, file: Path) -> None:
    exchanges, _ = kept(file)
    client = server.tenant(f"of-{file.stem.replace('.', '-')}")
    now: dict[str, str] = {}  # ids of then, and of this server
    for one in exchanges:
        answer = send(client, one, now)
        assert answer.status == one.status, (one.method, one.path, answer.body)
        assert answer.headers["content-type"] == one.said["content-type"], one.path
        assert answer.headers.get(protocol.HEADER) == one.said.get(protocol.HEADER), one.path
        if one.json is not None:
            compare(one.json, answer.json, now, f"{one.method} {one.path}")
        else:
            assert answer.body == one.answered, one.path


def send(client: Client, one: Exchange, now: dict[str, str]) -> Answer:
    path, body = one.path.removeprefix("/api/v1"), one.sent
    for then, here in now.items():
        path = path.replace(then, here)
        body = body.replace(then.encode(), here.encode())
    headers = {name: now.get(value, value) for name, value in one.headers.items()}
    return client.send(one.method, path, body or None, headers)


def compare(then: Any, here: Any, now: dict[str, str], where: str) -> None:
    """All that was said then is said here, but for names of things and the scores of hits; more may be said."""
    if isinstance(then, dict):
        assert isinstance(here, dict), where
        for name, value in then.items():
            assert name in here, f"{where}: {name} is gone"
            compare(value, here[name], now, f"{where}: {name}")
    elif isinstance(then, list):
        assert len(then) == len(here), where
        for number, (one, other) in enumerate(zip(then, here, strict=True)):
            compare(one, other, now, f"{where}[{number}]")
    elif isinstance(then, str) and TIME.fullmatch(then):
        assert TIME.fullmatch(here), where
    elif isinstance(then, str) and NAME.fullmatch(then):
        assert NAME.fullmatch(here), where
        assert here[:4] == then[:4], where
        assert then.startswith("req_") or now.setdefault(then, here) == here, where
    elif isinstance(then, float):
        assert isinstance(here, float), where
    else:
        assert then == here, where


@pytest.mark.parametrize("file", RELEASES, ids=lambda file: file.stem)
def test_the_client_understands_the_server_of_a_release_as_its_own_did(file: Path) -> None:
    exchanges, results = kept(file)
    wrong: list[str] = []
    with between(playing(exchanges, wrong)) as url:
        remote = Remote(url, FixedToken("stl_live_of_nobody"))
        got = session(remote)
        remote.close()
    assert wrong == []
    for then, here in zip(results, got, strict=True):
        assert then == here


# No protocol in common -----------------------------------------------------------------------------------------------


def test_a_client_of_a_later_protocol_is_told_which_side_is_behind(server: Running) -> None:
    answer = server.admin.get("/projects", {protocol.HEADER: "2-3"})
    assert (answer.status, answer.code, answer.headers[protocol.HEADER]) == (400, "protocol.unknown", "1")
    assert "speaks protocol 2-3, and this server 1" in answer.json["detail"]
    assert "Upgrade the server" in answer.json["hint"]
    error = problem_error(answer.status, answer.json)
    assert isinstance(error, ProtocolUnknown)
    assert server.admin.get("/projects", {protocol.HEADER: "nonsense"}).code == "protocol.unknown"


@pytest.mark.parametrize(
    ("said", "own", "number"), [("1", (1, 1), 1), ("1-3", (2, 4), 3), ("2-5", (1, 3), 3), ("3", (1, 9), 3)]
)
def test_the_newest_protocol_of_both_is_taken(said: str, own: tuple[int, int], number: int) -> None:
    assert protocol.agree(said, Protocols(*own)) == number
    assert protocol.parse(str(Protocols(*own))) == own


def test_an_early_client_is_told_to_upgrade_before_anything_is_looked_at(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProtocolUnknown, match="speaks protocol 1, and this server 2-3") as caught:
        protocol.agree("1", Protocols(2, 3))
    assert caught.value.hint == "Upgrade satchel where it asks."
    monkeypatch.setattr(protocol, "OWN", Protocols(2, 2))
    monkeypatch.setattr(protocol.agree, "__defaults__", (Protocols(2, 2),))
    stranger = server.client("no-credential-that-counts")
    assert stranger.get("/projects", {protocol.HEADER: "1"}).code == "protocol.unknown"


@pytest.mark.parametrize(
    ("said", "whose"), [(None, "Upgrade the server"), ("1", "Upgrade the server"), ("4", "on this machine"), ("x", "")]
)
def test_a_client_refuses_an_answer_in_a_protocol_it_does_not_speak(said: str | None, whose: str) -> None:
    body = json.dumps({"items": []}).encode()
    headers = {"content-type": "application/json"} | ({} if said is None else {protocol.HEADER: said})
    with pytest.MonkeyPatch.context() as patch, between(lambda *_: (200, headers, body)) as url:
        patch.setattr(protocol.expect, "__defaults__", (Protocols(2, 3),))
        remote = Remote(url, FixedToken("k"))
        with pytest.raises(ProtocolUnknown, match="speaks protocol 2-3") as caught:
            remote.projects()
        remote.close()
    assert whose in caught.value.hint
