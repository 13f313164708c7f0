from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from satchel.cli.credentials import Credential, Credentials, Session
from satchel.cli.oskeyring import KeyringFails
from satchel.errors import ConfigInvalid, CredentialExpired, ServerLied

URL = "https://context.example.org"


@pytest.fixture
def stored(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "satchel/credentials.json")


def test_a_credential_is_kept_per_server_for_its_owner_alone(stored: Credentials) -> None:
    stored.put(URL, Credential(key="k1"))
    stored.put("http://127.0.0.1:1", Credential(access="a", refresh="r", insecure=True))
    assert stored.get(URL) == Credential(key="k1")
    assert stored.get("http://127.0.0.1:1") == Credential(access="a", refresh="r", insecure=True)
    assert stored.urls() == ["http://127.0.0.1:1", URL]
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    assert stored.forget(URL)
    assert not stored.forget(URL)
    assert stored.get(URL) is None


def test_a_file_that_others_could_read_is_closed_to_them(stored: Credentials) -> None:
    stored.put(URL, Credential(key="k1"))
    stored.path.chmod(0o644)
    assert stored.get(URL) == Credential(key="k1")
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600


@pytest.mark.promise("P5")
def test_no_umask_opens_the_file_or_its_folder_to_others(stored: Credentials) -> None:
    before = os.umask(0)
    try:
        stored.put(URL, Credential(key="k1"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(stored.path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "{", "[]", '{"servers": []}', '{"servers": {"x": 1}}', "null"])
def test_a_damaged_file_is_reported_and_never_overwritten(stored: Credentials, text: str) -> None:
    stored.path.parent.mkdir(parents=True)
    stored.path.write_text(text)
    with pytest.raises(ConfigInvalid, match="damaged"):
        stored.get(URL)
    with pytest.raises(ConfigInvalid, match="damaged"):
        stored.put(URL, Credential(key="k"))
    assert stored.path.read_text() == text


class Exchange:
    """A server that takes each refresh token once."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, refresh: str) -> dict[str, Any]:
        if refresh in self.seen:
            raise CredentialExpired("used twice: the session is over")
        self.seen.append(refresh)
        return {"accessToken": f"access-{len(self.seen)}", "refreshToken": f"refresh-{len(self.seen)}"}


def test_a_session_is_renewed_and_what_it_got_is_kept(stored: Credentials) -> None:
    credential = Credential(access="access-0", refresh="refresh-0")
    stored.put(URL, credential)
    session, exchange = Session(stored, URL, credential), Exchange()
    assert session.token() == "access-0"
    assert session.renew("access-0", exchange) == "access-1"
    assert session.token() == "access-1"
    assert stored.get(URL) == Credential(access="access-1", refresh="refresh-1")


def test_two_commands_that_renew_at_once_use_the_refresh_token_once(stored: Credentials) -> None:
    credential = Credential(access="access-0", refresh="refresh-0")
    stored.put(URL, credential)
    exchange = Exchange()
    one, other = Session(stored, URL, credential), Session(stored, URL, credential)
    assert one.renew("access-0", exchange) == "access-1"
    assert other.renew("access-0", exchange) == "access-1"
    assert exchange.seen == ["refresh-0"]


@pytest.mark.parametrize("answer", [{"accessToken": None}, {"accessToken": "a", "refreshToken": 5}])
def test_a_renewal_that_brings_no_tokens_leaves_the_old_ones(stored: Credentials, answer: dict[str, Any]) -> None:
    credential = Credential(access="access-0", refresh="refresh-0")
    stored.put(URL, credential)
    with pytest.raises(ServerLied):
        Session(stored, URL, credential).renew("access-0", lambda _: answer)
    assert stored.get(URL) == credential


def test_a_key_has_nothing_to_renew(stored: Credentials) -> None:
    session = Session(stored, URL, Credential(key="k"))
    assert session.token() == "k"
    assert session.renew("k", Exchange()) is None


def test_the_file_is_plain_json_a_person_can_read(stored: Credentials) -> None:
    stored.put(URL, Credential(key="k1"))
    assert json.loads(stored.path.read_text()) == {"format": 1, "servers": {URL: {"key": "k1"}}}


class Chain:
    """A keyring, as the one of a system behaves."""

    def __init__(self, *, locked: bool = False) -> None:
        self.kept: dict[str, str] = {}
        self.locked = locked

    def _open(self) -> None:
        if self.locked:
            raise KeyringFails("locked")

    def get(self, url: str) -> str | None:
        self._open()
        return self.kept.get(url)

    def put(self, url: str, text: str) -> None:
        self._open()
        self.kept[url] = text

    def forget(self, url: str) -> None:
        self._open()
        del self.kept[url]


SESSION = Credential(access="access-0", refresh="refresh-0", insecure=True)


def test_where_the_system_has_a_keyring_the_file_names_it_and_holds_no_secret(tmp_path: Path) -> None:
    chain = Chain()
    stored = Credentials(tmp_path / "credentials.json", lambda: chain)
    assert "keyring" in stored.put(URL, SESSION)
    assert json.loads(stored.path.read_text())["servers"] == {URL: {"kept": "keyring", "insecure": True}}
    assert stored.get(URL) == SESSION
    assert stored.urls() == [URL]
    assert Session(stored, URL, SESSION).renew("access-0", Exchange()) == "access-1"
    assert stored.get(URL) == Credential(access="access-1", refresh="refresh-1", insecure=True)
    assert "access" not in stored.path.read_text()
    assert stored.forget(URL)
    assert chain.kept == {}


def test_a_keyring_that_takes_nothing_leaves_the_file(tmp_path: Path) -> None:
    stored = Credentials(tmp_path / "credentials.json", lambda: Chain(locked=True))
    assert stored.put(URL, SESSION) == str(stored.path)
    assert stored.get(URL) == SESSION
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600


def test_a_keyring_that_was_locked_since_is_named_with_the_way_on(tmp_path: Path) -> None:
    chain = Chain()
    stored = Credentials(tmp_path / "credentials.json", lambda: chain)
    stored.put(URL, SESSION)
    chain.locked = True
    with pytest.raises(ConfigInvalid, match="keyring") as caught:
        stored.get(URL)
    assert f"satchel login {URL}" in caught.value.hint
    stored.put(URL, Credential(key="k"))  # as a login does: in the file, for the keyring takes nothing
    assert stored.get(URL) == Credential(key="k")


def test_a_credential_in_the_file_stays_there_when_it_is_renewed(tmp_path: Path) -> None:
    chain = Chain()
    Credentials(tmp_path / "credentials.json").put(URL, SESSION)
    stored = Credentials(tmp_path / "credentials.json", lambda: chain)
    assert Session(stored, URL, SESSION).renew("access-0", Exchange()) == "access-1"
    assert chain.kept == {}
    assert stored.put(URL, SESSION) == "your system's keyring"  # a new login moves it
    assert "access" not in stored.path.read_text()


FAKE = """
import json, os, pathlib
from keyring.backend import KeyringBackend
FILE = pathlib.Path(os.environ["CHAIN"])
class Chain(KeyringBackend):
    priority = 9
    def _all(self):
        return json.loads(FILE.read_text()) if FILE.exists() else {}
    def get_password(self, service, name):
        return self._all().get(f"{service} {name}")
    def set_password(self, service, name, text):
        FILE.write_text(json.dumps(self._all() | {f"{service} {name}": text}))
    def delete_password(self, service, name):
        kept = self._all(); del kept[f"{service} {name}"]; FILE.write_text(json.dumps(kept))
"""


@pytest.mark.parametrize(
    ("backend", "found"), [("chain.Chain", True), ("keyring.backends.null.Keyring", False), ("no.such", False)]
)
def test_the_keyring_is_the_one_that_the_package_finds(tmp_path: Path, backend: str, found: bool) -> None:
    """With the package itself, and a backend made for this test."""
    (tmp_path / "chain.py").write_text(FAKE)
    ask = (
        "from satchel.cli.oskeyring import find; one = find(); print(one is not None); one and one.put('u', 'secret');"
        "print(one and one.get('u')); one and one.forget('u'); print(one and one.get('u'))"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": backend, "CHAIN": str(tmp_path / "c")}
    done = subprocess.run([sys.executable, "-c", ask], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == (["True", "secret", "None"] if found else ["False", "None", "None"]), done.stderr
