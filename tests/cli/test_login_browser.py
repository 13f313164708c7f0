"""``satchel login`` by browser and by device, and ``satchel mcp --remote``, as commands against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journeys.conftest import SATCHEL, Person
from tests.server.running import Running, serving
from tests.server.web.people import PASSWORD

pytestmark = pytest.mark.system
BROWSER = Path(__file__).with_name("consenting.py")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("login") / "data") as running:
        person = {"email": "sam@example.org", "name": "Sam", "password": PASSWORD, "tenantRole": "admin"}
        running.admin.post("/members", person).ok(201)
        running.admin.post("/projects", {"slug": "lighthouse"}).ok(201)
        running.admin.put("lighthouse", "docs/lamp.md", b"# The lamp\n\nIt turns twice a minute.\n").ok()
        yield running


@pytest.fixture
def sam(tmp_path: Path) -> Person:
    person = Person(tmp_path, "sam")
    person.env |= {"BROWSER": f"{sys.executable} {BROWSER} %s", "CONSENTING": f"sam@example.org {PASSWORD}"}
    return person


def test_a_person_logs_in_by_browser_and_the_session_ends_with_logout(server: Running, sam: Person) -> None:
    done = sam.run("login", server.url, "--json")
    who = json.loads(done.stdout)
    assert (who["principal"]["name"], who["url"]) == ("Sam", server.url)
    assert f"{server.url}/oauth/authorize?" in done.stderr
    assert "stl_" not in done.stdout + done.stderr  # neither code nor token
    kept = sam.home / "config/satchel/credentials.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    [row] = json.loads(sam.run("projects", "--remote", "--json").stdout)["items"]
    assert row["project"] == "lighthouse"
    sam.run("logout", "--url", server.url)
    sam.run("whoami", "--url", server.url, status=4)


def test_a_login_that_is_not_allowed_keeps_nothing(server: Running, sam: Person) -> None:
    done = sam.run("login", server.url, env={"DECISION": "deny"}, status=4)
    assert "the login was not allowed" in done.stderr
    assert not (sam.home / "config/satchel/credentials.json").exists()


def test_without_a_browser_a_code_is_shown_and_typed_elsewhere(server: Running, sam: Person) -> None:
    words = [*SATCHEL, "login", server.url, "--no-browser", "--json"]
    with subprocess.Popen(
        words, cwd=sam.folder, env=sam.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        said = ""
        while not (code := re.search(r"[B-Z]{4}-[B-Z]{4}", said)):
            line = waiting.stderr.readline()
            assert line, said
            said += line
        place = f"{server.url}/oauth/device?user_code={code[0]}"
        subprocess.run([sys.executable, str(BROWSER), place], env=sam.env, check=True)
        out, _ = waiting.communicate(timeout=60)
        assert json.loads(out)["principal"]["name"] == "Sam"
    assert sam.run("projects", "--remote").stdout.startswith("lighthouse")


def test_a_server_that_is_none_or_has_another_name_is_refused(server: Running, sam: Person) -> None:
    other = server.url.replace("127.0.0.1", "localhost")
    done = sam.run("login", other, status=2)
    assert f"calls itself {server.url}" in done.stderr
    sam.run("login", server.url, "--no-browser", "--email", "sam@example.org", status=2)


def test_only_the_answer_to_this_login_ends_the_wait(monkeypatch: pytest.MonkeyPatch, server: Running) -> None:
    from urllib.parse import parse_qs, urlsplit

    from satchel.cli import browser
    from satchel.remote.oauth import Login, LoginRefused

    answers: list[int] = []

    def hostile(address: str) -> bool:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        back, state = asked["redirect_uri"], asked["state"]
        for query in (
            "", "?code=x", f"?code=x&state={state}", f"?code=x&state={state}&iss=https://evil.example",
            f"?code=x&state=wrong&iss={server.url}", f"?error=access_denied&state={state}&iss={server.url}",
        ):  # fmt: skip
            try:
                with urllib.request.urlopen(back + query, timeout=10) as answer:
                    answers.append(answer.status)
            except urllib.error.HTTPError as error:
                answers.append(error.code)
        return True

    monkeypatch.setattr("webbrowser.open", hostile)
    login = Login(server.url)
    with pytest.raises(LoginRefused, match="not allowed"):
        browser.by_browser(login, lambda _: None)
    login.close()
    assert answers[:5] == [404] * 5  # the mix-up, among them, is told nothing


def test_an_agent_that_speaks_stdio_alone_asks_the_server(server: Running, sam: Person) -> None:
    sam.run("login", server.url)
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call",
         "params": {"name": "search", "arguments": {"query": "how often does it turn"}}},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call",
         "params": {"name": "artifacts_get", "arguments": {"project": "lighthouse", "path": "docs/lamp.md"}}},
        {"jsonrpc": "2.0", "id": 4, "method": "resources/list", "params": {}},
    ]  # fmt: skip
    done = sam.run("mcp", "--remote", stdin="".join(json.dumps(call) + "\n" for call in calls))
    answers = [json.loads(line)["result"] for line in done.stdout.splitlines()]
    assert answers[1]["structuredContent"]["hits"][0]["path"] == "docs/lamp.md"
    assert "twice a minute" in json.dumps(answers[2])
    assert answers[3]["resources"]
    sam.run("mcp", "--remote", "--project", "lighthouse", status=2)
