"""Listening to a project over a real connection: what is told, to whom, until when."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import urllib3

from satchel.objects.ids import TenantId
from satchel.server import listening
from tests.server.running import Client, Running, until

Told = tuple[str, dict[str, Any]]


class Ear:
    """One listener."""

    def __init__(self, client: Client, project: str, seconds: int | None = None) -> None:
        query = "" if seconds is None else f"?seconds={seconds}"
        self.answer = urllib3.request(
            "GET",
            f"{client.url}/api/v1/projects/{project}/events{query}",
            headers={"authorization": f"Bearer {client.key}"},
            preload_content=False,
            timeout=20,
            retries=False,
        )
        self._lines = self._read()

    def _read(self) -> Iterator[str]:
        rest = b""
        for chunk in self.answer.stream():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode() for line in lines)

    def next(self) -> Told:
        """The next event; comments are passed over."""
        event = ""
        for line in self._lines:
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return event, json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")

    def rest(self) -> list[str]:
        return [line for line in self._lines if line]

    def close(self) -> None:
        self.answer.close()
        self.answer.release_conn()


@contextmanager
def listening_to(client: Client, project: str, seconds: int | None = None) -> Iterator[Ear]:
    ear = Ear(client, project, seconds)
    try:
        yield ear
    finally:
        ear.close()


def key(owner: Client, server: Running, **grant: object) -> tuple[str, Client]:
    made = owner.post("/keys", {"name": "k", **grant}).ok()
    return made["id"], server.client(made["key"])


@pytest.fixture
def project(owner: Client) -> str:
    return str(owner.post("/projects", {"slug": "p"}).ok()["id"])


def test_the_head_is_told_at_once_and_every_newer_one_as_it_comes(owner: Client, project: str) -> None:
    with listening_to(owner, project) as ear:
        assert ear.answer.headers["content-type"] == "text/event-stream"
        assert ear.next()[1]["version"] == 0
        made = owner.put(project, "a.md", b"A\n").ok()
        event, told = ear.next()
        assert event == "head"
        assert told == {name: made[name] for name in ("lineage", "version", "digest")}


def test_what_goes_wrong_in_one_look_is_over_at_the_next(
    owner: Client, project: str, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    look = server.cloud.listeners._look

    async def fail(tenant: TenantId) -> None:
        if not failed:
            failed.append(tenant)
            raise RuntimeError
        await look(tenant)

    with listening_to(owner, project, 60) as ear:
        ear.next()
        monkeypatch.setattr(server.cloud.listeners, "_look", fail)
        made = owner.put(project, "a.md", b"A\n").ok()
        assert ear.next()[1]["version"] == made["version"]
    assert failed


def test_a_listener_takes_no_place_of_a_request_and_is_forgotten_when_it_goes(
    owner: Client, project: str, server: Running
) -> None:
    tenant = owner.get("/auth/whoami").ok()["tenant"]["id"]
    with listening_to(owner, project) as ear:
        ear.next()
        assert server.cloud.listeners.count(tenant) == 1
        assert server.cloud.admission.serving(tenant) == 0
    owner.put(project, "a.md", b"A\n").ok()  # a closed connection is noticed when it is written to
    until(lambda: server.cloud.listeners.count(tenant) == 0)


def test_the_time_given_ends_it(owner: Client, project: str) -> None:
    with listening_to(owner, project, seconds=0) as ear:
        assert ear.next()[0] == "head"
        assert ear.next() == ("end", {"reason": "over"})
        assert ear.rest() == []


@pytest.mark.promise("P5")
def test_whoever_may_not_read_any_more_is_let_go_within_two_seconds(
    owner: Client, project: str, server: Running
) -> None:
    for taken, reason in (("grant", "project.not_found"), ("key", "auth.invalid")):
        key_id, client = key(owner, server, projects=[{"project": project, "role": "read"}])
        with listening_to(client, project) as ear:
            ear.next()
            began = time.monotonic()
            if taken == "key":
                owner.send("DELETE", f"/keys/{key_id}").ok(200, 204)
            else:
                owner.send("DELETE", f"/projects/{project}/grants/{key_id}").ok(200, 204)
            assert ear.next() == ("end", {"reason": reason})
            assert time.monotonic() - began < 5  # a second, on a machine with nothing else to do


@pytest.mark.promise("P5")
def test_a_stranger_hears_nothing(server: Running, owner: Client, project: str, new_tenant: Any) -> None:
    for client, status in ((new_tenant(), 404), (server.client(), 401), (server.client("stl_live_x"), 401)):
        assert client.get(f"/projects/{project}/events").status == status


def test_an_expired_credential_ends_it(owner: Client, project: str, server: Running) -> None:
    token = owner.post("/auth/token", {"apiKey": owner.key}).ok()["accessToken"]
    clock = server.cloud.authenticator._clock
    with listening_to(server.client(token), project) as ear:
        ear.next()
        server.cloud.authenticator._clock = lambda: clock() + 3_600_000
        try:
            assert ear.next() == ("end", {"reason": "auth.expired"})
        finally:
            server.cloud.authenticator._clock = clock


@pytest.mark.promise("P8")
def test_the_number_of_listeners_is_bounded(owner: Client, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "MOST_OF_ONE", 2)
    with listening_to(owner, project) as one, listening_to(owner, project) as two:
        one.next(), two.next()
        refused = owner.get(f"/projects/{project}/events")
        assert (refused.status, refused.code) == (429, "rate.limited")
        assert refused.headers["retry-after"] == "30"


def test_silence_is_broken_by_a_comment(owner: Client, project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HEARTBEAT_SECONDS", 0.05)
    with listening_to(owner, project) as ear:
        ear.next()
        assert next(line for line in ear._lines if line) == ": still here"
