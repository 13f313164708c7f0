"""No secret by which somebody gets in can be read anywhere but where its holder keeps it: not in the log (everything
debugged), a metric, an answer that refuses, a file of the server, a column of the catalog, or the list of processes.

One server and one person go every way in there is, rightly and wrongly, and each secret that they meet on it is noted.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation.test_canaries import Watched
from tests.journeys.conftest import SATCHEL
from tests.journeys.conftest import Person as Somebody
from tests.real import free_ports
from tests.server.oauth.flow import REDIRECT, VERIFIER, Client, told
from tests.server.running import Answer
from tests.server.web.people import Person

pytestmark = [pytest.mark.promise("P10"), pytest.mark.system, pytest.mark.timeout(300)]
CONSENTING = Path(__file__).parents[1] / "cli" / "consenting.py"
PASSWORD, NEW, WRONG = "quaywalk lantern moss", "ferry timber harvest dusk", "sleetbound orchard wrongly"
NEXT = "wharf kettle bramble noon"


class Way:
    """What was met on the way: secrets, and the answers that were refusals."""

    def __init__(self, watched: Watched, metrics: int = 0) -> None:
        self.watched, self.server, self.metrics = watched, watched.server, metrics
        self.secrets: dict[str, str] = {}
        self.refusals: list[Answer] = []

    def met(self, what: str, text: str) -> str:
        self.secrets[what] = text
        return text

    def refused(self, answer: Answer) -> None:
        assert 400 <= answer.status < 500, (answer.status, answer.body[:300])
        self.refusals.append(answer)

    def rest(self, path: str, body: object = None, key: str | None = None) -> Answer:
        reply = self.server.http("POST", path, key, body)
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        return Answer(reply.status, {k.lower(): v for k, v in reply.headers.items()}, data)


class Processes:
    """The command lines of everything that runs on this machine while it is looked, as ``ps`` shows them."""

    def __init__(self) -> None:
        self.seen = set[bytes]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for entry in os.scandir("/proc"):
                if entry.name.isdigit():
                    try:
                        self.seen.add(Path(entry.path, "cmdline").read_bytes())
                    except OSError:
                        continue


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    watched = Watched(tmp_path)
    watched.server.program = SATCHEL  # its words are looked for in the list of processes
    [port] = free_ports(1)
    watched.server.env |= {"SATCHEL_METRICS_PORT": str(port), "SATCHEL_METRICS_TENANTS": "10"}
    try:
        watched.server.start()
        yield Way(watched, port)
    finally:
        watched.server.close()


def test_no_secret_of_a_way_in_can_be_read_anywhere(way: Way, tmp_path: Path) -> None:
    with Processes() as processes:
        invitation = by_invitation(way)
        by_password(way)
        by_key(way)
        by_oauth(way)
        by_device(way)
        kim = by_command_line(way, tmp_path)
        way.refused(way.rest("/auth/join", {"invitation": invitation, "email": "sam@example.org", "password": WRONG}))
    # A shell keeps what is typed: a secret typed as an argument is refused, and not told again.
    typed = kim.run("login", way.server.url, "--key-file", way.secrets["a key"], status=2)
    assert way.secrets["a key"] not in typed.stdout + typed.stderr
    with urllib.request.urlopen(f"http://127.0.0.1:{way.metrics}/metrics", timeout=30) as answer:
        metrics = answer.read().decode()
    assert metrics.count("satchel_") > 10
    words = {what: word for name, text in way.secrets.items() for what, word in telling(name, text)}
    assert len(words) > 20
    assert way.watched.sightings(list(words.values())) == []
    way.server.stop()
    log = way.server.log.read_text()
    assert log.count('"event":"request"') > 30
    for what, word in words.items():
        assert word not in metrics, what
        assert not [line for line in processes.seen if word.encode() in line], what
        for refusal in way.refusals:
            assert word not in refusal.body.decode() + str(refusal.headers), (what, refusal)


SERVE = "from satchel.cli.main import main; main()"
DEFECTS = {
    "a password in the log": """
import satchel.server.signin as signin
from satchel.server.logs import log
kept = signin.verify_password
signin.verify_password = lambda stored, text: (log.debug("checked", word=text), kept(stored, text))[1]
""",
    "a refresh token in the catalog": """
import satchel.catalog.sessions as sessions
kept = sessions.start
async def start(s, **more):
    family, text = await kept(s, **more)
    await s._connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS kept (text TEXT)")
    await s._connection.exec_driver_sql("INSERT INTO kept VALUES (?)", (text,))
    return family, text
sessions.start = start
""",
}


@pytest.mark.parametrize("defect", DEFECTS if os.environ.get("PROVE") else ["a password in the log"])
def test_a_server_that_keeps_a_secret_is_caught(tmp_path: Path, defect: str) -> None:
    watched = Watched(tmp_path)
    watched.server.program = (sys.executable, "-c", DEFECTS[defect] + SERVE)
    try:
        watched.server.start()
        way = Way(watched)
        by_invitation(way)
        person = {"email": "sam@example.org", "password": PASSWORD}
        way.met("a refresh token", way.rest("/auth/token", person).ok()["refreshToken"])
        words = [word for name, text in way.secrets.items() for _, word in telling(name, text)]
        assert watched.sightings(words) != []
    finally:
        watched.server.close()


def telling(name: str, text: str) -> Iterator[tuple[str, str]]:
    """The part of a secret that makes it one, as the search takes it: lower case, for what is looked through is."""
    kind = re.fullmatch(r"stl_[a-z]+_\w+_\w+_(\w+)", text)
    part = kind[1][:50] if kind else text.rpartition(".")[2] if text.startswith("eyJ") else text
    yield name, part if " " in part else part[-44:]


def by_invitation(way: Way) -> str:
    made = way.rest("/invitations", {"tenantRole": "member", "uses": 5}, way.server.admin).ok(201)
    invitation = way.met("an invitation", made["url"].rpartition("/")[2])
    browser = Person(way.server.url, "sam@example.org")
    page = browser.get(f"/join/{invitation}")
    way.met("a password that is chosen on the page", PASSWORD)
    way.met("a wrong password", WRONG)
    joined = browser.submit(page, "/join", invitation=invitation, email=browser.email, password=PASSWORD)
    assert joined.status == 200, joined.body[-400:]
    way.met("a browser's session", browser.cookies["satchel"])
    way.refused(Person(way.server.url).get(f"/join/{invitation[:-1]}7"))
    way.refused(way.rest("/auth/invitation", {"invitation": invitation + "x"}))
    return invitation


def by_password(way: Way) -> None:
    person = {"email": "sam@example.org", "password": PASSWORD}
    tokens = way.rest("/auth/token", person).ok()
    session = way.met("an access token", tokens["accessToken"])
    first = way.met("a refresh token", tokens["refreshToken"])
    way.refused(way.rest("/auth/token", person | {"password": WRONG}))
    way.refused(way.rest("/auth/token", person | {"password": WRONG, "nobody": PASSWORD}))
    way.refused(way.rest("/auth/token", b'{"email": "sam@example.org", "password": "' + PASSWORD.encode()))
    way.refused(way.rest(f"/auth/token?password={PASSWORD.replace(' ', '+')}", person))
    browser = Person(way.server.url, "sam@example.org")
    assert browser.sign_in(password=PASSWORD).status == 303
    way.met("another browser's session", browser.cookies["satchel"])
    way.refused(Person(way.server.url, "sam@example.org").sign_in(password=WRONG))
    way.met("a new password", NEW)
    way.rest("/auth/password", {"password": PASSWORD, "newPassword": NEW}, session).ok()
    way.refused(way.rest("/auth/password", {"password": WRONG, "newPassword": NEW + "!"}, session))
    fresh = way.rest("/auth/refresh", {"refreshToken": first}).ok()
    way.met("the next refresh token", fresh["refreshToken"])
    way.met("the next access token", fresh["accessToken"])
    way.refused(way.rest("/auth/refresh", {"refreshToken": first[:-1] + "7"}))
    way.met("a password that an admin set", NEXT)
    [member] = [
        m for m in way.server.http("GET", "/members", way.server.admin).body["items"] if m["email"] == "sam@example.org"
    ]
    way.rest(f"/members/{member['id']}/password", {"password": NEXT}, way.server.admin).ok()
    way.rest("/auth/revoke", {"token": fresh["refreshToken"]}).ok()


def by_key(way: Way) -> None:
    way.met("the admin's key", way.server.admin)
    made = way.rest("/keys", {"name": "probe", "role": "read"}, way.server.admin).ok(201)
    key = way.met("a key", made["key"])
    way.met("a token for a key", way.rest("/auth/token", {"apiKey": key}).ok()["accessToken"])
    again = way.rest(f"/keys/{made['id']}/reroll", {}, way.server.admin).ok()
    way.met("its next secret", again["key"])
    way.refused(way.rest(f"/auth/token?apiKey={key}", {"apiKey": key}))
    way.refused(way.rest("/auth/token", {"apiKey": key[:-1] + "7"}))
    way.refused(Person(way.server.url).get(f"/api/v1/projects?access_token={key}"))


def by_oauth(way: Way) -> None:
    anybody = Person(way.server.url)
    body = json.dumps({"client_name": "Probe", "redirect_uris": [REDIRECT]}).encode()
    made = anybody.send("POST", "/oauth/register", body, {"content-type": "application/json"}).ok(201)
    client = Client(way.server, made["client_id"])  # type: ignore[arg-type]
    browser = Person(way.server.url, "sam@example.org")
    browser.sign_in(password=NEXT)
    way.met("a third browser's session", browser.cookies["satchel"])
    said = told(client.allow(browser, state="harbour-light-of-the-state-word-in-full"))
    code = way.met("a code", said["code"])
    way.met("a state", said["state"])
    way.met("a verifier", VERIFIER)
    tokens = client.redeem(code).ok()
    way.met("an access token for a client", tokens["access_token"])
    way.met("a refresh token for a client", tokens["refresh_token"])
    way.met("the next for a client", client.refresh(tokens["refresh_token"]).ok()["refresh_token"])
    other = way.met("a code that is asked for wrongly", client.code(browser))
    way.refused(client.redeem(other, code_verifier="w" * 43))
    way.refused(client.redeem(code))
    way.refused(client.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"] + "x"))
    way.refused(anybody.get(f"/oauth/token?code={other}&client_id={client.id}"))


def by_device(way: Way) -> None:
    anybody = Person(way.server.url)
    begun = anybody.post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    way.met("a device code", begun["device_code"])
    fields = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "satchel-cli"}
    way.refused(anybody.post("/oauth/token", fields | {"device_code": begun["device_code"]}))
    way.refused(anybody.post("/oauth/token", fields | {"device_code": begun["device_code"] + "x"}))


def by_command_line(way: Way, place: Path) -> Somebody:
    """``login`` in three ways, and the bridge; the machine of the person is not the server's."""
    kim = Somebody(place, "kim")
    kim.program = SATCHEL
    kim.env |= {"BROWSER": f"{sys.executable} {CONSENTING} %s", "CONSENTING": f"sam@example.org {NEXT}"}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    said = []
    for words, stdin in (
        (("login", way.server.url, "--key-file", "-"), way.server.admin),
        (("login", way.server.url, "--email", "sam@example.org"), NEXT + "\n"),
        (("login", way.server.url), ""),
        (("mcp", "--remote", f"{way.server.url}/mcp"), json.dumps(call) + "\n"),
    ):
        done = kim.run(*words, stdin=stdin)
        said.append(done.stdout + done.stderr)
    kept = json.loads((kim.home / "config/satchel/credentials.json").read_text())["servers"]
    assert len(kept) == 2
    for name, row in kept.items():
        for what in ("access", "refresh"):
            assert way.met(f"{what} of {name}", row[what]) not in "".join(said)
    kim.run("logout", "--url", f"{way.server.url}/mcp")
    return kim
