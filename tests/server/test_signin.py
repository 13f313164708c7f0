from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from argon2 import PasswordHasher

from satchel.auth import passwords
from satchel.auth.passwords import verify_password
from satchel.errors import TooManyRequests
from satchel.server import joining, signin
from satchel.server.signin import CHECKED_AT_ONCE, FAILURE_WINDOW_MS, MAX_FAILURES, MAX_WAITING, SignInGate
from tests.server.running import Client, Running
from tests.server.web.people import Person

PASSWORD = "correct horse battery"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now


async def _attempt(gate: SignInGate, email: str, right: bool = False) -> None:
    async with gate.attempt(email) as succeeded:
        if right:
            succeeded()


@pytest.mark.promise("P8")
def test_an_address_that_failed_too_often_waits_until_its_failures_are_old() -> None:
    clock = Clock()

    async def run() -> None:
        gate = SignInGate(b"secret", clock)
        for _ in range(MAX_FAILURES):
            await _attempt(gate, "ann@example.org")
            clock.now += 1_000
        with pytest.raises(TooManyRequests) as refused:
            await _attempt(gate, " Ann@Example.org ", right=True)
        assert refused.value.facts["retry_after"] == FAILURE_WINDOW_MS // 1000 - MAX_FAILURES
        await _attempt(gate, "bob@example.org")
        clock.now += (FAILURE_WINDOW_MS // 1000 - MAX_FAILURES) * 1000
        await _attempt(gate, "ann@example.org", right=True)
        for _ in range(MAX_FAILURES):
            await _attempt(gate, "ann@example.org")

    asyncio.run(run())


@pytest.mark.promise("P8")
def test_people_beyond_the_queue_are_refused_and_places_come_free_again() -> None:
    async def run() -> None:
        gate = SignInGate(b"secret", Clock())
        release = asyncio.Event()

        async def slow(number: int) -> None:
            async with gate.attempt(f"{number}@example.org"):
                await release.wait()

        tasks = [asyncio.create_task(slow(number)) for number in range(CHECKED_AT_ONCE + MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests, match="at this moment"):
            await _attempt(gate, "late@example.org")
        tasks[-1].cancel()  # one who waits gives up
        release.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with AsyncExitStack() as stack:
            for number in range(CHECKED_AT_ONCE):
                await stack.enter_async_context(gate.attempt(f"again-{number}@example.org"))

    asyncio.run(run())


def test_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "MAX_ADDRESSES", 50)

    async def run() -> None:
        gate = SignInGate(b"secret", Clock())
        for number in range(200):
            await _attempt(gate, f"{number}@example.org")
        assert len(gate._failures) == 50

    asyncio.run(run())


@pytest.mark.promise("P10")
def test_guessing_is_stopped_and_does_not_tell_who_has_an_account(server: Running, owner: Client) -> None:
    owner.post("/members", {"email": "guessed@example.org", "name": "G", "password": PASSWORD}).ok()
    answers = {}
    for email in ("guessed@example.org", "nobody-guessed@example.org", "guessed without an address"):
        wrong = {"email": email, "password": "wrong password here"}
        codes = [server.client().post("/auth/token", wrong).code for _ in range(MAX_FAILURES)]
        assert codes == ["auth.invalid"] * MAX_FAILURES
        refused = server.client().post("/auth/token", {"email": email, "password": PASSWORD})
        assert refused.status == 429
        assert 0 < int(refused.headers["retry-after"]) <= FAILURE_WINDOW_MS // 1000
        answers[email] = (refused.code, refused.json["detail"])
    assert set(answers.values()) == {("rate.limited", "too many failed sign-ins with this e-mail address")}


@pytest.mark.parametrize("how", ["token", "join", "page", "invitation page"])
def test_a_sign_in_under_way_does_not_outlive_a_change_of_the_password(
    how: str, server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = f"{how.replace(' ', '-')}-{owner.get('/tenant').ok()['id'][4:]}@example.org"
    who = owner.post("/members", {"email": email, "name": "O", "password": PASSWORD}).ok(201)["id"]
    link = owner.post("/invitations", {"tenantRole": "admin"}).ok(201)["url"]
    person = Person(server.url, email)
    page = person.get(link if how == "invitation page" else "/oauth/sign-in")

    def checked(stored: str | None, password: str) -> bool:
        good = verify_password(stored, password)
        owner.post(f"/members/{who}/password", {"password": "another good passphrase"}).ok()
        return good

    for module in (signin, joining):
        monkeypatch.setattr(module, "verify_password", checked)
    said = {"email": email, "password": PASSWORD}
    if how == "token":
        assert server.client().post("/auth/token", said).code == "auth.invalid"
    elif how == "join":
        assert server.client().post("/auth/join", said | {"invitation": link}).code == "auth.invalid"
    else:
        answer = person.submit(page, "/join" if how == "invitation page" else "/oauth/sign-in", **said)
        assert answer.status == 403
        assert person.get("/oauth/clients").status == 303
    [row] = [row for row in owner.get("/members").ok()["items"] if row["id"] == who]
    assert row["tenantRole"] == "member"
    assert "session.start" not in [row["action"] for row in owner.get("/tenant/audit").ok()["items"]]


def test_two_sign_ins_at_once_hash_an_old_password_anew_and_both_count(
    server: Running, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = f"twice-{owner.get('/tenant').ok()['id'][4:]}@example.org"
    owner.post("/members", {"email": email, "name": "T", "password": PASSWORD}).ok(201)
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=16, parallelism=1))
    said, inside = {"email": email, "password": PASSWORD}, list[str]()

    def checked(stored: str | None, password: str) -> bool:
        if not inside:
            inside.append(email)
            server.client().post("/auth/token", said).ok()
        return verify_password(stored, password)

    monkeypatch.setattr(signin, "verify_password", checked)
    server.client().post("/auth/token", said).ok()
