"""What a server may answer to a login that is finished on another machine."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from satchel.errors import ServerLied
from satchel.remote.oauth import Device, Login

SOUND = '"device_code": "d", "user_code": "u", "verification_uri": "https://x.example/d"'


def answered(monkeypatch: pytest.MonkeyPatch, members: str) -> Device:
    login = Login.__new__(Login)
    login.url = "https://x.example"
    body = f"{{{SOUND}, {members}}}".encode()
    assert isinstance(json.loads(body), dict)
    server = SimpleNamespace(send=lambda *_: SimpleNamespace(status=200, body=body))
    monkeypatch.setattr(login, "_server", server, raising=False)
    return login.begin_device()


def test_a_device_is_what_the_server_says_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered(monkeypatch, '"expires_in": 600')[-2:] == (600, 5)
    assert answered(monkeypatch, '"expires_in": 600, "interval": 1')[-2:] == (600, 1)


@pytest.mark.parametrize("seconds", ["0", "-1", "NaN", "Infinity", "1e400", "1" + "0" * 400, '"soon"', "null"])
@pytest.mark.parametrize("member", ["expires_in", "interval"])
def test_a_time_that_is_none_is_refused_before_anybody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, member: str, seconds: str
) -> None:
    told = {"expires_in": "600", "interval": "5"} | {member: seconds}
    with pytest.raises(ServerLied):
        answered(monkeypatch, ", ".join(f'"{name}": {value}' for name, value in told.items()))
