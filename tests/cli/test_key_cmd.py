"""``satchel key`` against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import update

from satchel.auth.tokens import claimed_key
from satchel.catalog.schema import signing_key
from tests.cli.conftest import Cli
from tests.server.running import Running, serving, until


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("keys") / "data") as one:
        for slug in ("acme", "docs"):
            one.admin.post("/projects", {"slug": slug}).ok(201)
        yield one


@pytest.mark.parametrize(
    ("words", "name", "role", "granted"),
    [
        ("--project acme --role read --expires 30d --rate 60/min", "acme read", None, {"acme": "read"}),
        ("bot --project acme:read", "bot", None, {"acme": "read"}),
        ("bot --project acme:read --project docs --role write", "bot", None, {"acme": "read", "docs": "write"}),
        ("bot --project acme:write --role read", "bot", "read", {"acme": "write"}),
        ("--role write", "every project write", "write", {}),
    ],
)
def test_a_key_is_made_for_the_projects_and_roles_that_were_said(
    signed_in: Running, cli: Cli, words: str, name: str, role: str | None, granted: dict[str, str]
) -> None:
    made = cli("key", "create", *words.split(), "--json").json
    slugs = {row["id"]: row["slug"] for row in signed_in.admin.get("/projects").ok()["items"]}
    assert (made["name"], made["role"]) == (name, role)
    assert {slugs[grant["project"]]: grant["role"] for grant in made["projects"]} == granted
    if "--rate" in words:
        assert made["requestsPerMinute"] == 60
        assert made["expiresAt"] is not None
    signed_in.client(made["key"]).get("/projects").ok()


def test_a_rerolled_key_is_shown_once_and_the_old_one_counts_for_a_day(signed_in: Running, cli: Cli) -> None:
    old = cli("key", "create", "bot", "--role", "read", "--json").json
    new = cli("key", "reroll", old["id"])
    assert new.out.strip().startswith("stl_live_")
    assert "the old one counts until" in new.err
    for key in (old["key"], new.out.strip()):
        signed_in.client(key).get("/projects").ok()
    ended = cli("key", "reroll", old["id"], "--grace", "0")
    assert "counts no more" in ended.err
    assert signed_in.client(new.out.strip()).get("/projects").status == 401


def test_a_list_says_which_keys_were_used(signed_in: Running, cli: Cli) -> None:
    made = cli("key", "create", "idle", "--role", "read", "--json").json
    signed_in.run(signed_in.cloud.uses.write())
    lines = {line.split()[0]: line for line in cli("key", "list").out.splitlines()}
    assert "not used yet" in lines[made["id"]]
    mine = signed_in.admin.get("/auth/whoami").ok()["principal"]["id"]
    assert "used within the hour" in lines[mine]  # not the minutes since that hour began


def test_the_signing_key_changes_by_command_and_nobody_has_to_sign_in_again(signed_in: Running, cli: Cli) -> None:
    """Every node learns it by itself; after a leak, what was signed before is refused."""
    jwks = {key["kid"] for key in signed_in.client().get("/.well-known/jwks.json").ok()["keys"]}
    token = signed_in.client(
        signed_in.client().post("/auth/token", {"apiKey": signed_in.admin.key}).ok()["accessToken"]
    )
    token.get("/projects").ok()
    early = cli("admin", "key", "rotate-signing", "--data", signed_in.settings.data, status=5)
    assert "[key.unpublished]" in early.err
    signed_in.run(_published_long_ago(signed_in))
    told = cli("admin", "key", "rotate-signing", "--data", signed_in.settings.data, "--json").json
    assert {told["old"], told["new"]} == jwks
    until(lambda: _signs(signed_in) == told["new"])
    token.get("/projects").ok()  # what the old key signed still counts
    dropped = cli("admin", "key", "rotate-signing", "--data", signed_in.settings.data, "--drop-old", "--json").json
    until(lambda: token.get("/projects").status == 401)
    assert _signs(signed_in) == dropped["new"]
    assert {key["kid"] for key in signed_in.client().get("/.well-known/jwks.json").ok()["keys"]} == {
        dropped["new"],
        dropped["waiting"],
    }
    actions = [row["action"] for row in signed_in.admin.get("/tenant/audit", limit=1000).ok()["items"]]
    assert {"key.rotate_signing", "key.drop_signing"} <= set(actions)


def _signs(running: Running) -> str:
    """The key that signs a new token."""
    token = running.client().post("/auth/token", {"apiKey": running.admin.key}).ok()["accessToken"]
    return str(claimed_key(token))


async def _published_long_ago(running: Running) -> None:
    async with running.cloud.catalog.directory(write=True) as d:
        await d.execute(update(signing_key).values(created=1))
