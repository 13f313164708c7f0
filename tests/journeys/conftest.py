"""Real processes and real HTTP: a server, people with homes of their own, folders."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.forked import Forked, run
from tests.sample import write_sample_project

SATCHEL: tuple[str, ...] = (sys.executable, "-m", "satchel.cli.main")
KILLED = -9
# Compiled modules are kept whatever the machine's settings say: starting a hundred processes would take twice as long.
RECOMPILING = "PYTHONDONTWRITEBYTECODE"


class Reply(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Server:
    """``satchel serve`` on a free port, over one data directory, started as often as a test likes."""

    def __init__(self, place: Path) -> None:
        self.data = place / "data"
        self.log = place / "server.log"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("SATCHEL_", "XDG_"))}
        self.env.pop(RECOMPILING, None)
        self.env["HOME"] = str(place)
        self.process: subprocess.Popen[str] | Forked | None = None
        self.url = ""
        self.admin = ""
        self.operator = ""
        self.slug = "default"
        self.root_key = self.data / "root.key"
        self.port = 0
        self.program: tuple[str, ...] = ()
        """What is started, if it is not to be forked from a process that has loaded all there is."""

    def start(self, *, die_at: str | None = None) -> dict[str, Any]:
        """Start and wait for the banner, which comes once the port is open. ``die_at`` is a fail point."""
        words = ["serve", "--data", str(self.data), "--port", str(self.port), "--json"]
        with self.log.open("a") as log:
            if self.program:
                self.process = subprocess.Popen(
                    [*self.program, *words], env=self.env, stdout=subprocess.PIPE, stderr=log, text=True
                )
            else:
                self.process = Forked(words, env=self.env, stderr=log, die_at=die_at)
        assert self.process.stdout is not None
        said = ""
        while not said.endswith("\n}\n"):
            line = self.process.stdout.readline()
            assert line, f"the server ended: {self.log.read_text()[-2_000:]}"
            said += line
        told: dict[str, Any] = json.loads(said)
        self.url = told["url"]
        self.admin = self.operator = told["adminKey"] or self.admin
        return told

    def refused(self, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
        """The error with which a start is refused."""
        words = ("serve", "--data", str(self.data), "--port", "0", "--json", *words)
        done = run(words, env={**self.env, **(env or {})})
        assert done.returncode == 5, (done.returncode, done.stdout, done.stderr)
        error: dict[str, Any] = json.loads(done.stdout)["error"]
        return error

    def run_admin(self, *words: str, status: int = 0) -> Any:
        """What ``satchel admin ... --json`` answers, on the server's machine."""
        done = run(("admin", *words, "--data", str(self.data), "--json"), env=self.env)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self._ended()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._ended()

    def wait_for_death(self) -> int:
        return self._ended()

    def _ended(self) -> int:
        assert self.process is not None
        status = self.process.wait(timeout=30)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None
        return status

    def close(self) -> None:
        if self.process is not None:
            self.kill()

    def http(
        self, method: str, path: str, key: str | None = None, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request below /api/v1, by the standard library alone."""
        sent = dict(headers or {})
        data = body if isinstance(body, bytes) else None
        if body is not None and data is None:
            data, sent["content-type"] = json.dumps(body).encode(), "application/json"
        if key is not None:
            sent["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data=data, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Reply(answer.status, _decoded(answer.read()), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, _decoded(error.read()), dict(error.headers))


class Person:
    """Somebody with a home of their own and one folder."""

    def __init__(self, place: Path, name: str) -> None:
        self.home = place / name
        self.folder = self.home / "demo"
        self.folder.mkdir(parents=True)
        self.env = {
            **os.environ,
            "HOME": str(self.home),
            **{f"XDG_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CONFIG", "STATE", "CACHE", "DATA")},
        }
        self.env.pop(RECOMPILING, None)
        self.program: tuple[str, ...] = ()
        """As of a server."""

    def run(
        self, *words: str, status: int | None = 0, stdin: str = "", env: dict[str, str] | None = None,
        die_at: str | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        env = {**self.env, **(env or {})}
        if self.program:
            done = subprocess.run(
                [*self.program, *words], cwd=self.folder, env=env, input=stdin, capture_output=True, text=True,
                timeout=90,
            )  # fmt: skip
        else:
            done = run(words, cwd=self.folder, env=env, stdin=stdin, die_at=die_at)
        assert status is None or done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *words: str, status: int = 0, env: dict[str, str] | None = None) -> Any:
        return json.loads(self.run(*words, "--json", status=status, env=env).stdout)

    def login(self, server: Server, key: str | None = None) -> None:
        self.run("login", server.url, "--key-file", "-", stdin=key or server.admin)

    def joins(self, server: Server, key: str | None = None) -> None:
        """Signed in, with a project here that has its twin there."""
        self.login(server, key)
        self.run("init", "--name", "demo")
        self.run("remote", "add", server.url)

    def files(self) -> dict[str, bytes]:
        """Every file of the folder but Satchel's own."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and ".satchel" not in path.parts
        }

    def digest(self) -> str:
        return str(self.json("doctor")["digest"])


People = Callable[[str], Person]


@pytest.fixture(scope="session")
def shared_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for many tests: starting one takes longer than most of them."""
    one = Server(tmp_path_factory.mktemp("server"))
    try:
        one.start()
        yield one
    finally:
        one.close()


@pytest.fixture
def server(shared_process: Server) -> Server:
    """A tenant of this test's own on a server that is shared: ``admin`` is its owner. Not to be stopped."""
    slug = f"t-{os.urandom(6).hex()}"
    named = {"slug": slug, "name": "Of one test"}
    made = shared_process.http("POST", "/admin/tenants", shared_process.admin, named, {"idempotency-key": slug})
    assert made.status == 201, made
    view = copy.copy(shared_process)
    view.process, view.slug, view.operator, view.admin = None, slug, shared_process.admin, made.body["adminKey"]
    return view


@pytest.fixture
def own_server(new_server: Server) -> Server:
    """A server of this test's own, started."""
    new_server.start()
    return new_server


@pytest.fixture
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that has not been started yet."""
    one = Server(tmp_path_factory.mktemp("server"))
    yield one
    one.close()


@pytest.fixture
def people(tmp_path: Path) -> People:
    return lambda name: Person(tmp_path, name)


@pytest.fixture
def sam(people: People) -> Person:
    """Sam has the sample project."""
    person = people("sam")
    person.folder.rmdir()
    write_sample_project(person.folder)
    return person


@pytest.fixture
def kim(people: People) -> Person:
    """Kim has an empty folder."""
    return people("kim")


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data
