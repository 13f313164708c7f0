"""No credential but where it belongs: not in what a server writes or answers, nor in what commands show (P10)."""

from __future__ import annotations

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.isolation.canaries import canary, sightings
from tests.isolation.test_canaries import Watched
from tests.journeys.conftest import Person, Reply, Server

pytestmark = [pytest.mark.promise("P10"), pytest.mark.system, pytest.mark.timeout(300)]

PASSWORD, WRONG = f"correct {canary('password')}", f"wrong {canary('wrong password')}"
MADE_UP = f"stl_live_{'0' * 26}_{'0' * 26}_{canary('key')}{'a' * 31}"


class Secrets:
    """What is secret, by name; collected as it is given out."""

    def __init__(self) -> None:
        self.known = {"password": PASSWORD, "wrong password": WRONG, "made up key": MADE_UP}

    def keep(self, name: str, text: str) -> str:
        self.known[name] = text
        return text

    def telling(self) -> dict[str, str]:
        """The part of each that nobody may see, by name: the random part of a key, the signature of a token."""
        parts = {
            name: text.split("." if text.startswith("eyJ") else "_" if text.startswith("stl_") else " ")[-1]
            for name, text in self.known.items()
        }
        assert all(len(part) >= 28 for part in parts.values())
        return parts

    def seen_in(self, text: str) -> list[str]:
        return [name for name, part in self.telling().items() if part in text]


@contextmanager
def watching_processes(secrets: Secrets) -> Iterator[set[str]]:
    """Which secrets stood in the list of processes or in the environment of one, while the block lasted."""
    found: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    found.update(secrets.seen_in(place.read_bytes().decode("latin-1")))
                except OSError:
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def use(server: Server, kim: Person, secrets: Secrets, said: list[str]) -> None:
    """Sign in by key and by password, make, reroll, exchange, renew, revoke: every way in which a secret travels."""
    admin = secrets.keep("admin key", server.admin)

    def cli(*words: str, stdin: str = "", status: int | None = 0) -> str:
        done = kim.run(*words, stdin=stdin, status=status)
        said.append(done.stderr)
        return done.stdout

    said.append(cli("login", server.url, "--key-file", "-", stdin=admin))
    made = json.loads(cli("key", "create", "bot", "--role", "read", "--json"))
    first = secrets.keep("made key", made["key"])
    second = secrets.keep("rerolled key", cli("key", "reroll", made["id"]).strip())
    said.append(cli("key", "list"))
    person = {"email": "kim@example.org", "name": "Kim", "password": PASSWORD}
    assert server.http("POST", "/members", admin, person).status == 201
    for n, key in enumerate((first, second)):
        secrets.keep(f"token {n}", _ok(server.http("POST", "/auth/token", None, {"apiKey": key}))["accessToken"])
    session = _ok(server.http("POST", "/auth/token", None, {"email": person["email"], "password": PASSWORD}))
    for n in range(3):
        secrets.keep(f"access {n}", session["accessToken"])
        secrets.keep(f"refresh {n}", session["refreshToken"])
        session = _ok(server.http("POST", "/auth/refresh", None, {"refreshToken": session["refreshToken"]}))
    device = _form(server, "/oauth/device", client_id="satchel-cli", scope="satchel:read", resource=server.url)
    secrets.keep("device code", device["device_code"])
    wrong = _form(
        server, "/oauth/token", grant_type="refresh_token", refresh_token=session["refreshToken"], client_id="x"
    )
    said.append(json.dumps(wrong))
    said.append(cli("login", server.url, "--email", person["email"], stdin=PASSWORD + "\n"))
    said.append(cli("whoami", "--debug"))
    said.append(cli("logout"))


def misuse(server: Server, kim: Person, secrets: Secrets, said: list[str]) -> None:
    """The same secrets where they do not belong, or spoilt."""
    json_ = {"content-type": "application/json"}
    for name, secret in list(secrets.known.items()):
        spoilt = secret[:-1] + ("a" if secret[-1] != "a" else "b")
        query = secret.replace(" ", "+")
        for reply in (
            server.http("GET", "/auth/whoami", spoilt),
            server.http("GET", f"/projects?access_token={query}", server.admin),
            server.http("GET", f"/projects/{query}"),
            server.http("POST", "/auth/token", None, {"apiKey": spoilt}),
            server.http("POST", "/auth/token", None, {"apiKey": secret, "email": secret}),
            server.http("POST", "/auth/refresh", None, {"refreshToken": spoilt}),
            server.http("POST", "/auth/refresh", None, f'{{"refreshToken": "{secret}"'.encode(), json_),
            server.http("POST", "/auth/revoke", None, {"token": spoilt}),
        ):
            assert reply.status < 500, (name, reply.status)
            said.append(_whole(reply))
        if "password" not in name:  # a credential in the place of a name, which a refusal repeats
            said.append(_whole(server.http("GET", f"/projects?{query}=1", server.admin)))
            said.append(_whole(server.http("POST", "/auth/refresh", None, {secret: 1})))
        if name == "password":
            for email in ("kim@example.org", "nobody@example.org"):
                asked = {"email": email, "password": spoilt}
                said.append(_whole(server.http("POST", "/auth/token", None, asked)))
        if name in ("made key", "access 0"):
            for words in (("--key-file", secret), ("--email", secret), ("--tenant", secret)):
                done = kim.run("login", server.url, *words, status=2)
                said.append(done.stdout + done.stderr)
            done = kim.run("login", secret, status=2)
            said.append(done.stdout + done.stderr)
    done = kim.run("login", server.url, "--email", "kim@example.org", stdin=WRONG + "\n", status=4)
    said.append(done.stdout + done.stderr)


def _form(server: Server, path: str, **fields: str) -> Any:
    """The JSON that a form is answered with, a refusal too."""
    request = urllib.request.Request(server.url + path, data=urlencode(fields).encode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return json.loads(error.read())


def _ok(reply: Reply) -> Any:
    assert reply.status in (200, 201), reply.body
    return reply.body


def _whole(reply: Reply) -> str:
    return json.dumps([reply.status, reply.headers, reply.body], default=str)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    one = Watched(tmp_path)
    yield one
    one.server.close()


def test_no_secret_is_seen_in_what_a_server_writes_answers_or_shows(watched: Watched, tmp_path: Path) -> None:
    kim, secrets = Person(tmp_path, "kim"), Secrets()
    said: list[str] = []
    server = watched.server
    server.start()
    use(server, kim, secrets, said)
    parts = secrets.telling()
    with watching_processes(secrets) as listed:
        kim.run("login", server.url, "--key-file", "-", stdin=server.admin)
        kim.run("key", "list")
    misuse(server, kim, secrets, said)
    found = watched.sightings([part.lower() for part in parts.values()])
    server.stop()
    assert [*found, *watched.sightings([part.lower() for part in parts.values()])] == []
    assert listed == set()
    assert {(name, text[:200]) for text in said for name in secrets.seen_in(text)} == set()
    assert server.log.read_text().count('"event": "request"') + server.log.read_text().count('"event":"request"') > 100
    # What a person's machine keeps: the credential that was last signed in with, in the one file that is for it.
    kept = [path for path in tmp_path.joinpath("kim").rglob("*") if path.is_file()]
    holding = {sighting.file.name for sighting in sightings(kept, [part.lower() for part in parts.values()])}
    assert holding == {"credentials.json"}
    assert os.stat(kim.home / "config/satchel/credentials.json").st_mode & 0o077 == 0
