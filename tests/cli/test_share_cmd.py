"""``satchel share`` against a real server: roles given and taken back without a link."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Cli
from tests.server.running import Running, serving


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("share") / "data") as one:
        one.admin.post("/projects", {"slug": "acme"}).ok(201)
        link = one.admin.post("/invitations", {"tenantRole": "member"}).ok(201)["url"]
        joining = {"invitation": link, "email": "mia@example.org", "password": "harbour light 77"}
        one.client().post("/auth/join", joining).ok()
        yield one


def test_a_role_is_given_to_a_member_changed_listed_and_taken_back(signed_in: Running, cli: Cli) -> None:
    (mia,) = signed_in.admin.get("/members").ok()["items"]
    given = cli("share", "--project", "acme", "--with", "mia@example.org", "--json").json
    assert given == {"principal": mia["id"], "role": "read"}
    cli("share", "--project", "acme", "--with", mia["id"], "--role", "write")
    assert _grants(cli, mia["id"]) == [{"principal": mia["id"], "name": "mia", "role": "write"}]
    assert f"{mia['id']}  mia  may write" in cli("share", "--project", "acme", "--list").out
    assert cli("share", "--project", "acme", "--end", "Mia@Example.org", "--json").json["ended"]
    assert _grants(cli, mia["id"]) == []


def _grants(cli: Cli, principal: str) -> list[object]:
    """Those of one principal: the server is the other tests' as well."""
    found = cli("share", "--project", "acme", "--list", "--json").json["grants"]
    return [grant for grant in found if grant["principal"] == principal]


def test_who_is_no_member_is_named_with_what_lists_them(signed_in: Running, cli: Cli) -> None:
    told = cli("share", "--project", "acme", "--with", "sam@example.org", status=1).err
    assert "sam@example.org" in told
    assert "satchel tenant members" in told


def test_one_thing_is_done_at_a_time(signed_in: Running, cli: Cli) -> None:
    assert "exclude" in cli("share", "--project", "acme", "--list", "--end", "mem_1", status=2).err


@pytest.mark.parametrize("option", ["--with", "--end", "--revoke"])
@pytest.mark.parametrize("named", ["", ".", "..", "../../../acme", "a/b?c#d"])
def test_what_names_nobody_reaches_nothing_else_and_makes_no_link(
    signed_in: Running, cli: Cli, option: str, named: str
) -> None:
    before = signed_in.admin.get("/projects/acme/invitations").json, signed_in.admin.get("/projects").json
    refused = (2, "request.invalid") if (option, named) == ("--with", "") else (1, "resource.not_found")
    told = cli("share", "--project", "acme", option, named, "--json", status=refused[0]).json["error"]
    assert told["code"] == refused[1]
    assert (signed_in.admin.get("/projects/acme/invitations").json, signed_in.admin.get("/projects").json) == before


def test_a_member_is_named_by_its_address_and_removed_with_word_of_links_that_are_open(
    signed_in: Running, cli: Cli
) -> None:
    link = signed_in.admin.post("/invitations", {"tenantRole": "member", "uses": 2}).ok(201)
    joining = {"invitation": link["url"], "email": "lou@example.org", "password": "harbour light 78"}
    signed_in.client().post("/auth/join", joining).ok()
    assert cli("tenant", "role", "lou@example.org", "admin", "--json").json["tenantRole"] == "admin"
    told = cli("tenant", "remove", "lou@example.org", "--yes").err
    assert "1 open invitation" in told
    assert "satchel tenant invite --revoke" in told
    signed_in.client().post("/auth/join", joining).ok()  # as the words have it
    cli("tenant", "invite", "--revoke", link["id"])
    gone = cli("tenant", "remove", "Lou@Example.org", "--yes", "--json").json
    assert (gone["removed"], gone["openInvitations"]) == (True, 0)
    assert "satchel tenant members" in cli("tenant", "remove", "lou@example.org", "--yes", status=1).err


def test_who_one_is_says_projects_by_their_names(signed_in: Running, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    key = cli("key", "create", "reader", "--project", "acme:read").out.strip()
    monkeypatch.setenv("SATCHEL_KEY", key)
    assert "  read in acme\n" in cli("whoami").out
    (grant,) = cli("whoami", "--json").json["grants"]
    assert grant["project"].startswith("prj_")
