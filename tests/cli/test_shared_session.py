"""One stored session, used by several processes: it is renewed by itself, once, and survives whatever is lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from satchel.auth.keys import parse_refresh
from satchel.auth.tokens import issue
from satchel.catalog.schema import mine, refresh_family, refresh_token
from satchel.cli.credentials import Credential, Credentials
from satchel.objects.ids import PrincipalId
from tests.cli.conftest import SATCHEL
from tests.server.running import Running, serving

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("sessions") / "data") as one:
        one.admin.post("/members", {"email": "ada@example.org", "name": "Ada", "password": PASSWORD}).ok()
        yield one


@pytest.fixture
def stored(running: Running, private_home: Path) -> Credentials:
    """Ada signed in an hour ago: her access token has expired."""
    tokens = running.client().post("/auth/token", {"email": "ada@example.org", "password": PASSWORD}).ok()
    keys, parts = running.cloud.authenticator.tokens, parse_refresh(tokens["refreshToken"])
    who = running.client(tokens["accessToken"]).get("/auth/whoami").ok()["principal"]["id"]
    old = issue(
        keys.signing, issuer=keys.url, audience=keys.url, tenant=parts.tenant, principal=PrincipalId(who),
        jti="tok_old", now=running.cloud.clock() - 3_600_000, session=parts.family,
    )  # fmt: skip
    kept = Credentials(private_home / ".config/satchel/credentials.json")
    kept.put(running.url, Credential(access=old, refresh=tokens["refreshToken"]))
    return kept


def whoami(running: Running) -> subprocess.Popen[str]:
    words = [*SATCHEL, "whoami", "--url", running.url, "--json"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    return json.loads(out)


async def family(running: Running, text: str) -> tuple[int, int, bool]:
    """The generation of a session, how many tokens it was given, and whether it counts."""
    parts = parse_refresh(text)
    async with running.cloud.catalog.read(parts.tenant) as s:
        row = await s.row(
            select(refresh_family.c.generation, refresh_family.c.revoked).where(
                mine(refresh_family), refresh_family.c.family_id == parts.family
            )
        )
        tokens = await s.rows(
            select(refresh_token.c.generation).where(mine(refresh_token), refresh_token.c.family_id == parts.family)
        )
    assert row is not None
    return row.generation, len(tokens), row.revoked is None


def test_processes_that_find_the_token_expired_at_once_renew_it_once(running: Running, stored: Credentials) -> None:
    before = stored.get(running.url)
    assert before is not None
    assert before.refresh is not None
    processes = [whoami(running) for _ in range(4)]
    assert {ended(process)["principal"]["name"] for process in processes} == {"Ada"}
    assert running.run(family(running, before.refresh)) == (1, 2, True)
    assert ended(whoami(running))["principal"]["name"] == "Ada"
    assert running.run(family(running, before.refresh)) == (1, 2, True)


def test_a_process_killed_before_it_kept_the_new_token_costs_nothing(running: Running, stored: Credentials) -> None:
    before = stored.path.read_bytes()
    ended(whoami(running))
    after = stored.get(running.url)
    stored.path.write_bytes(before)  # as if the process had died with the answer in its hands
    assert ended(whoami(running))["principal"]["name"] == "Ada"
    again = stored.get(running.url)
    assert again is not None
    assert after is not None
    assert again.refresh == after.refresh
    assert running.run(family(running, again.refresh or "")) == (1, 2, True)
