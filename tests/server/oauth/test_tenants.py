"""A person of several tenants, tenants that are away, and what is left behind of a login: nothing secret."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from satchel.auth.roles import TenantRole
from satchel.catalog import members
from satchel.objects.ids import PrincipalId, TenantId, new_id
from satchel.server.web.browser import signed_in, stranger
from tests import logged
from tests.server.oauth.flow import VERIFIER, Client, told
from tests.server.running import Client as Rest
from tests.server.running import Running
from tests.server.web.people import Person

_numbers = itertools.count(1)


class Two:
    """Somebody who is a member of two fresh tenants, in a new session."""

    def __init__(self, server: Running) -> None:
        n = next(_numbers)
        self.server = server
        self.owners: dict[str, Rest] = {slug: server.tenant(slug) for slug in (f"east-{n}", f"west-{n}")}
        self.east, self.west = self.owners
        self.ids = {slug: owner.get("/tenant").ok()["id"] for slug, owner in self.owners.items()}
        for slug, owner in self.owners.items():
            owner.post("/projects", {"slug": f"only-{slug}"}).ok(201)
        self.person = Person(server.url, f"both-{n}@example.org")
        self.person.cookies["satchel"] = server.run(self._begin())

    async def _begin(self) -> str:
        cloud = self.server.cloud
        now, email = cloud.clock(), self.person.email
        async with cloud.catalog.directory(write=True) as d:
            id_ = new_id("psn", cloud.random(16))
            who = await members.create_person(d, id=id_, email=email, name="Both", password=None, now=now)
            for tenant in self.ids.values():
                member = PrincipalId(new_id("mem", cloud.random(16)))
                await members.add(d.enter(TenantId(tenant)), id=member, who=who, role=TenantRole.ADMIN, now=now)
        return (await signed_in(cloud, who, stranger(cloud))).secret

    def choose(self, slug: str, page: str = "/oauth/tenant") -> str:
        """Pick a tenant; returns where that leads."""
        shown = self.person.get(page)
        assert slug in shown.body.decode()
        return self.person.submit(shown, "/oauth/tenant", tenant=self.ids[slug]).headers["location"]


@pytest.fixture
def two(server: Running) -> Two:
    return Two(server)


@pytest.mark.promise("P5")
def test_a_member_of_several_tenants_picks_one_and_the_token_is_bound_to_it(
    two: Two, server: Running, probe: Client
) -> None:
    asked = "/oauth/authorize?" + probe.query(resource=server.url)
    first = two.person.get(asked)
    assert first.headers["location"].startswith("/oauth/tenant?next=")
    assert two.choose(two.west, first.headers["location"]) == asked
    page = two.person.get(asked).body.decode()
    assert f"<b>{two.west}</b>" in page
    assert f"only-{two.west}" in page
    assert f"only-{two.east}" not in page
    token = probe.redeem(probe.code(two.person, resource=server.url)).ok()["access_token"]
    agent = server.client(token)
    assert agent.get("/auth/whoami").ok()["tenant"]["slug"] == two.west
    assert [row["slug"] for row in agent.get("/projects").ok()["items"]] == [f"only-{two.west}"]
    assert agent.get(f"/projects/only-{two.east}").status == 404


@pytest.mark.promise("P5")
def test_a_page_of_one_tenant_allows_nothing_once_another_was_chosen(two: Two, probe: Client) -> None:
    two.choose(two.east)
    page = two.person.get("/oauth/authorize?" + probe.query())
    two.choose(two.west)
    late = two.person.submit(page, "/oauth/consent", decision="allow")
    assert (late.status, "location" in late.headers) == (422, False)
    elsewhere = two.person.submit(two.person.get("/oauth/tenant"), "/oauth/tenant", tenant="ten_" + "0" * 26)
    assert elsewhere.headers["location"].startswith("/oauth/tenant")


def test_who_left_a_tenant_acts_in_the_other_one_alone(two: Two, probe: Client, server: Running) -> None:
    two.choose(two.east)
    tokens = probe.redeem(probe.code(two.person)).ok()
    [row] = [m for m in two.owners[two.east].get("/members").ok()["items"] if m["email"] == two.person.email]
    two.owners[two.east].send("DELETE", f"/members/{row['id']}").ok()
    assert probe.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert f"<b>{two.west}</b>" in two.person.get("/oauth/authorize?" + probe.query()).body.decode()


def test_a_suspended_tenant_gives_nothing_and_says_so(two: Two, probe: Client, server: Running) -> None:
    two.choose(two.east)
    code, tokens = probe.code(two.person), probe.redeem(probe.code(two.person)).ok()
    server.admin.send("PATCH", f"/admin/tenants/{two.ids[two.east]}", {"suspended": True}).ok()
    page = two.person.get("/oauth/authorize?" + probe.query())
    assert page.status == 403
    assert "suspended" in page.body.decode()
    for refused in (probe.redeem(code), probe.refresh(tokens["refresh_token"])):
        assert (refused.status, refused.json["error"]) == (403, "access_denied")
    assert two.choose(two.west) == "/oauth/clients"


@pytest.mark.promise("P10")
def test_no_code_token_or_cookie_is_in_the_log_or_in_the_catalog(server: Running, probe: Client, grace: Person) -> None:
    page = grace.get("/oauth/authorize?" + probe.query(state="canary-of-state"))
    said = told(grace.submit(page, "/oauth/consent", decision="allow"))
    tokens = probe.redeem(said["code"]).ok()
    probe.redeem(said["code"])
    probe.refresh(tokens["refresh_token"])
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    grace.submit(grace.get("/oauth/device"), "/oauth/device/code", user_code=begun["user_code"])
    secrets = [
        said["code"], tokens["access_token"], tokens["refresh_token"], begun["device_code"], begun["user_code"],
        begun["user_code"].replace("-", ""), grace.cookies["satchel"], VERIFIER, "canary-of-state",
    ]  # fmt: skip
    said_of_it = "".join(logged.taken())
    assert "/oauth/token" in said_of_it
    kept = b"".join(file.read_bytes() for file in Path(server.settings.data).glob("catalog.db*"))
    for secret in secrets:
        assert secret not in said_of_it
        assert secret.encode() not in kept
