from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from satchel.cli.credentials import Credential, Credentials, Session
from satchel.errors import ConfigInvalid, CredentialExpired

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


def test_a_key_has_nothing_to_renew(stored: Credentials) -> None:
    session = Session(stored, URL, Credential(key="k"))
    assert session.token() == "k"
    assert session.renew("k", Exchange()) is None


def test_the_file_is_plain_json_a_person_can_read(stored: Credentials) -> None:
    stored.put(URL, Credential(key="k1"))
    assert json.loads(stored.path.read_text()) == {"format": 1, "servers": {URL: {"key": "k1"}}}
