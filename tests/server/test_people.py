"""People over HTTP: invitations, joining, several tenants, roles, passwords, the last owner."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from argon2 import PasswordHasher

from satchel.auth import passwords
from satchel.auth.roles import TenantRole
from satchel.catalog import invitations, members, principals
from satchel.catalog.invitations import InvitationRow
from satchel.catalog.scope import Scope
from satchel.objects.ids import PrincipalId, TenantId
from satchel.server import bodies, signin
from satchel.server.routes import invitations as invites
from satchel.server.routes import keys, people
from tests import logged
from tests.server.oauth.flow import registered
from tests.server.running import Answer, Client, Running
from tests.server.web.people import let_in

pytestmark = pytest.mark.usefixtures("cheap_hashes")
PASSWORD = "correct horse battery"
OTHER = "another good passphrase"
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def any_number_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.server.oauth.registration.REGISTRATIONS_A_MINUTE", 100_000)


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing as it is, at a cost that tests can pay."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_DUMMY", cheap.hash("nobody's"))
    monkeypatch.setattr(passwords, "_HASHER", cheap)


@pytest.fixture
def email() -> str:
    return f"person-{next(_numbers)}@example.org"


@pytest.fixture
def project(owner: Client) -> str:
    made: str = owner.post("/projects", {"slug": "notes"}).ok()["id"]
    return made


def share(owner: Client, project: str, role: str = "read", **more: object) -> str:
    url: str = owner.post(f"/projects/{project}/invitations", {"role": role, **more}).ok()["url"]
    return url


def invite(owner: Client, role: str = "member", **more: object) -> str:
    url: str = owner.post("/invitations", {"tenantRole": role, **more}).ok()["url"]
    return url


def join(server: Running, url: str, email: str, password: str = PASSWORD) -> Answer:
    return server.client().post("/auth/join", {"invitation": url, "email": email, "password": password})


def joined(server: Running, url: str, email: str, password: str = PASSWORD) -> Client:
    return server.client(join(server, url, email, password).ok()["accessToken"])


def sign_in(server: Running, email: str, password: str = PASSWORD, **more: object) -> Answer:
    return server.client().post("/auth/token", {"email": email, "password": password, **more})


def slug_of(client: Client) -> str:
    slug: str = client.get("/tenant").ok()["slug"]
    return slug


def member_id(client: Client) -> str:
    found: str = client.get("/auth/whoami").ok()["principal"]["id"]
    return found


def actions(owner: Client) -> list[str]:
    return [row["action"] for row in owner.get("/tenant/audit", limit=1000).ok()["items"]]


@pytest.fixture
def as_owner(server: Running, owner: Client, email: str) -> Client:
    """A person who is an owner, beside the key that is."""
    return joined(server, invite(owner, "owner"), email)


# Invitations ---------------------------------------------------------------------------------------------------------


def test_an_invitation_says_what_it_is_to_and_brings_somebody_new_in_with_that_and_nothing_else(
    server: Running, owner: Client, project: str, email: str
) -> None:
    other = owner.post("/projects", {"slug": "other"}).ok()["id"]
    url = share(owner, project, "write", uses=2)
    assert url.startswith(f"{server.url}/join/stl_invite_")
    to = server.client().post("/auth/invitation", {"invitation": url}).ok()
    slug = slug_of(owner)
    assert {name: to[name] for name in ("tenant", "project", "role", "tenantRole")} == {
        "tenant": slug, "project": "notes", "role": "write", "tenantRole": "member",
    }  # fmt: skip
    answer = join(server, url, email).ok()
    assert (answer["tenant"], answer["project"], answer["role"]) == (slug, project, "write")
    person = server.client(answer["accessToken"])
    who = person.get("/auth/whoami").ok()
    assert (who["principal"]["kind"], who["role"], who["allProjects"]) == ("member", "member", None)
    assert who["grants"] == [{"project": project, "role": "write"}]
    assert person.put(project, "a.md", b"# A\n").status == 200
    assert person.get(f"/projects/{other}").code == "project.not_found"
    assert person.get("/members").code == "auth.insufficient_scope"
    assert server.client().post("/auth/refresh", {"refreshToken": answer["refreshToken"]}).status == 200
    assert sign_in(server, email).status == 200
    (row,) = owner.get(f"/projects/{project}/invitations").ok()["items"]
    assert (row["uses"], row["usesLimit"], row["state"], row["role"]) == (1, 2, "open", "write")
    assert {"invitation.create", "invitation.join", "session.start"} <= set(actions(owner))


def test_an_invitation_is_shown_once_and_at_rest_or_in_a_log_there_is_nothing_to_join_with(
    server: Running, owner: Client, project: str, email: str
) -> None:
    body, headers = {"role": "read"}, {"Idempotency-Key": "invite-once"}
    made = owner.post(f"/projects/{project}/invitations", body, headers).ok()
    again = owner.post(f"/projects/{project}/invitations", body, headers).ok()
    assert again == {**made, "url": None}
    assert "url" not in owner.get(f"/projects/{project}/invitations").ok()["items"][0]
    secret = made["url"].rpartition("_")[2]
    catalog = server.settings.data / "catalog.db"
    if catalog.exists():
        stored = b"".join(file.read_bytes() for file in server.settings.data.glob("catalog.db*"))
        assert secret.encode() not in stored
    page = "/join/" + made["url"].rpartition("/")[2]
    urllib.request.urlopen(server.url + page, timeout=30).close()
    assert join(server, made["url"], email).status == 200
    said = "".join(logged.taken())
    assert "/join/{text}" in said
    assert secret not in said
    assert secret not in owner.get("/tenant/audit", limit=1000).body.decode()


def test_an_invitation_counts_for_as_many_people_as_it_says_and_the_same_person_uses_it_once(
    server: Running, owner: Client, project: str
) -> None:
    url = share(owner, project, uses=2)
    people = [f"person-{next(_numbers)}@example.org" for _ in range(3)]
    assert [join(server, url, one).status for one in (people[0], people[0], people[1], people[1])] == [200] * 4
    refused = join(server, url, people[2])
    assert (refused.status, refused.code) == (404, "invitation.invalid")
    assert "as often as it may" in refused.json["detail"]
    assert sign_in(server, people[2]).code == "auth.invalid"  # no account was made
    assert server.client().post("/auth/invitation", {"invitation": url}).ok()["project"] == "notes"
    assert join(server, url, people[0]).status == 200  # who is in stays in


def test_of_many_who_join_at_once_by_an_invitation_for_one_exactly_one_is_in(
    server: Running, owner: Client, project: str
) -> None:
    url = share(owner, project)
    people = [f"person-{next(_numbers)}@example.org" for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(lambda one: join(server, url, one).status, people))
    assert statuses == [200] + [404] * 5
    assert len(owner.get("/members").ok()["items"]) == 1


@pytest.mark.parametrize("how", ["expired", "revoked", "revoked by the tenant", "archived"])
def test_an_invitation_that_is_over_says_so_and_lets_nobody_in(
    server: Running, owner: Client, project: str, email: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = owner.post(f"/projects/{project}/invitations", {"role": "read", "expiresIn": 60}).ok()
    says = {"expired": "time is over", "archived": "archived"}.get(how, "revoked")
    if how == "expired":
        real = invitations.find

        async def later(s: Scope, id_: str, mac: bytes, now: int, *, used_up: bool = False) -> InvitationRow:
            return await real(s, id_, mac, now + 60_000, used_up=used_up)

        monkeypatch.setattr(invitations, "find", later)
    elif how == "archived":
        owner.send("DELETE", f"/projects/{project}").ok()
        another = owner.post(f"/projects/{project}/invitations", {"role": "read"})
        assert (another.status, another.code) == (403, "project.archived")
    else:
        place = "" if how.endswith("tenant") else f"/projects/{project}"
        owner.send("DELETE", f"{place}/invitations/{made['id']}").ok()
        assert "invitation.revoke" in actions(owner)
    for answer in (
        server.client().post("/auth/invitation", {"invitation": made["url"]}),
        join(server, made["url"], email),
    ):
        assert (answer.status, answer.code) == (404, "invitation.invalid")
        assert says in answer.json["detail"]
    if how.startswith("revoked"):
        nothing = owner.send("DELETE", "/invitations/inv_00000000000000000000000000")
        assert (nothing.status, "--list" in nothing.json["hint"]) == (404, True)
        (row,) = owner.get("/invitations").ok()["items"]
        assert row["state"] == "revoked"


def test_what_is_not_an_invitation_is_refused_alike_whatever_is_wrong_with_it(
    server: Running, owner: Client, project: str, email: str
) -> None:
    url = share(owner, project)
    text = url.rpartition("/")[2]
    flipped = text[:-20] + ("a" if text[-20] != "a" else "b") + text[-19:]
    for wrong in ("x", "stl_invite_", text[:-1], text + "a", flipped, text.upper(), url + "?x=1", owner.key or ""):
        answer = join(server, wrong, email)
        assert (answer.status, answer.code) == (404, "invitation.invalid"), wrong
    assert join(server, f"  {url}\n", email).status == 200


def test_nobody_invites_to_more_than_they_have(
    server: Running, owner: Client, project: str, new_tenant: Callable[[], Client]
) -> None:
    writer = server.client(owner.post("/keys", {"name": "w", "role": "write"}).ok()["key"])
    assert writer.post(f"/projects/{project}/invitations", {"role": "read"}).code == "auth.insufficient_scope"
    admin = server.client(owner.post("/keys", {"name": "a", "role": "admin"}).ok()["key"])
    assert admin.post(f"/projects/{project}/invitations", {"role": "admin"}).status == 201
    assert admin.post("/invitations", {"tenantRole": "member"}).code == "auth.insufficient_scope"
    tenant_admin = server.client(owner.post("/keys", {"name": "ta", "tenantRole": "admin"}).ok()["key"])
    assert tenant_admin.post("/invitations", {"tenantRole": "admin"}).status == 201
    assert tenant_admin.post("/invitations", {"tenantRole": "owner"}).code == "auth.insufficient_scope"
    of_owner = owner.post("/invitations", {"tenantRole": "owner"}).ok()["id"]
    assert tenant_admin.send("DELETE", f"/invitations/{of_owner}").code == "auth.insufficient_scope"
    owner.send("DELETE", f"/invitations/{of_owner}").ok()
    elsewhere = new_tenant()
    assert elsewhere.post(f"/projects/{project}/invitations", {"role": "read"}).code == "project.not_found"
    (row, *_) = owner.get("/invitations").ok()["items"]
    assert elsewhere.send("DELETE", f"/invitations/{row['id']}").code == "resource.not_found"
    other = owner.post("/projects", {"slug": "other"}).ok()["id"]
    assert owner.send("DELETE", f"/projects/{other}/invitations/{row['id']}").code == "resource.not_found"


def test_a_tenant_has_only_so_many_invitations_that_count(
    owner: Client, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MAX_OPEN", 2)
    made = [owner.post("/invitations", {}).ok() for _ in range(2)]
    refused = owner.post(f"/projects/{project}/invitations", {"role": "read"})
    assert (refused.status, refused.code) == (403, "invitation.too_many")
    owner.send("DELETE", f"/invitations/{made[0]['id']}").ok()
    assert owner.post("/invitations", {}).status == 201


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "role"),
        ({"role": "owner"}, "role"),
        ({"role": "read", "uses": 0}, "uses"),
        ({"role": "read", "uses": 1_001}, "uses"),
        ({"role": "read", "uses": "many"}, "uses"),
        ({"role": "read", "expiresIn": 59}, "expiresIn"),
        ({"role": "read", "expiresIn": 90 * 86_400 + 1}, "expiresIn"),
        ({"role": "read", "tenant": "other"}, "tenant"),
    ],
)
def test_an_invitation_out_of_bounds_is_refused_by_name(owner: Client, project: str, body: object, says: str) -> None:
    answer = owner.post(f"/projects/{project}/invitations", body)
    assert (answer.status, answer.code) == (422, "request.invalid")
    assert says in answer.json["detail"]


# Joining -------------------------------------------------------------------------------------------------------------


def test_a_person_joins_several_tenants_with_one_password_and_picks_one_at_sign_in(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    elsewhere = new_tenant()
    first = joined(server, invite(owner), email)
    second = joined(server, invite(elsewhere, "admin"), email.upper())
    assert (slug_of(first), slug_of(second)) == (slug_of(owner), slug_of(elsewhere))
    assert first.get("/auth/whoami").ok()["role"] == "member"
    assert second.get("/auth/whoami").ok()["role"] == "admin"
    unclear = sign_in(server, email)
    assert (unclear.status, sorted(unclear.json["tenants"])) == (422, sorted([slug_of(owner), slug_of(elsewhere)]))
    for one in (owner, elsewhere):
        token = sign_in(server, email, tenant=slug_of(one)).ok()["accessToken"]
        assert slug_of(server.client(token)) == slug_of(one)
    assert sign_in(server, email, tenant="default").code == "auth.invalid"


def test_who_has_an_account_joins_by_its_password_alone_and_keeps_it(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    joined(server, invite(owner), email)
    url = invite(new_tenant())
    wrong = join(server, url, email, OTHER)
    assert (wrong.status, wrong.code) == (401, "auth.invalid")
    assert wrong.json["detail"] == sign_in(server, email, OTHER).json["detail"]
    assert sign_in(server, email).status == 200
    assert join(server, url, email).status == 200


def test_joining_gives_more_and_takes_nothing_away(server: Running, owner: Client, project: str, email: str) -> None:
    person = joined(server, share(owner, project, "write", uses=5), email)
    joined(server, share(owner, project, "read", uses=5), email)
    assert person.get("/auth/whoami").ok()["grants"] == [{"project": project, "role": "write"}]
    joined(server, invite(owner, "admin"), email)
    assert person.get("/auth/whoami").ok()["role"] == "admin"
    joined(server, invite(owner, "member"), email)
    assert person.get("/auth/whoami").ok()["role"] == "admin"
    joined(server, share(owner, project, "admin", uses=5), email)
    assert person.get("/auth/whoami").ok()["grants"] == [{"project": project, "role": "admin"}]


SAME = [
    ("zoe.case@example.org", "ZOE.Case@Example.ORG"),
    ("strasse@example.org", "STRAßE@EXAMPLE.org"),
    ("zo\u00eb-nfc@example.org", "zoe\u0308-NFC@example.org"),
    ("idn@b\u00fccher-satchel.example", "IDN@xn--bcher-satchel-wob.example"),
]


@pytest.mark.parametrize(("first", "again"), SAME, ids=["case", "casefold", "nfc", "idna"])
def test_one_address_is_one_person_however_it_is_typed(server: Running, owner: Client, first: str, again: str) -> None:
    person = joined(server, invite(owner), first)
    assert sign_in(server, f" {again} ").status in (200, 422)
    assert sign_in(server, again).status == 200
    assert member_id(joined(server, invite(owner), again)) == member_id(person)


@pytest.mark.parametrize(
    ("email", "password", "says"),
    [
        ("no-address", PASSWORD, "email"),
        ("two@at@example.org", PASSWORD, "email"),
        ("a b@example.org", PASSWORD, "email"),
        ("\u202egro.elpmaxe@nna", PASSWORD, "e-mail"),
        ("\uff41nn@example.org", PASSWORD, "only look like"),
        ("ann@exa_mple.org", PASSWORD, "host"),
        ("ann@-example.org", PASSWORD, "host"),
        ("ann@[127.0.0.1]", PASSWORD, "host"),
        (f"{'a' * 65}@example.org", PASSWORD, "e-mail"),
        ("ann@" + "a." * 150 + "org", PASSWORD, "e-mail"),
        ("bad-1@example.org", "short", "12 characters"),
        ("bad-2@example.org", "é" * 600, "1,024 bytes"),
        ("bad-3@example.org", "password1234", "many people use"),
        ("bad-4@example.org", "Football2024!", "many people use"),
        ("bad-5@example.org", "aaaaaaaaaaaaaaa", "different characters"),
        ("bad-6@example.org", "abcdeabcdeabcde", "short piece"),
        ("bad-7@example.org", "defghijklmnopq", "alphabet"),
        ("marguerite@example.org", "marguerite123", "a name that others know"),
        ("bad-8@example.org", "my satchel 12", "a name that others know"),
        ("bad-9@example.org", "\ud800" * 12, ""),
    ],
)
def test_an_account_needs_an_address_and_a_password_that_can_be(
    server: Running, owner: Client, email: str, password: str, says: str
) -> None:
    url = invite(owner)
    answer = join(server, url, email, password)
    assert answer.status in (400, 422), answer.body
    assert says in answer.json["detail"]
    assert password not in answer.body.decode()
    assert join(server, url, f"person-{next(_numbers)}@example.org").status == 200  # nothing was used up


@pytest.mark.parametrize("missing", ["invitation", "email", "password"])
def test_joining_without_a_field_with_one_too_many_or_too_long_is_refused(server: Running, missing: str) -> None:
    whole = {"invitation": "x", "email": "a@example.org", "password": "x"}
    lacks = {name: value for name, value in whole.items() if name != missing}
    for body in (lacks, whole | {missing: None}, whole | {missing: 5}, whole | {"admin": True}):
        answer = server.client().post("/auth/join", body)
        assert (answer.status, answer.code) == (422, "request.invalid"), body
    assert server.client().post("/auth/join", whole | {missing: "x" * 5_000}).status == 422
    for raw in (b"{", b"\xff\xfe", b'{"email":"a@b.c","email":"d@e.f","invitation":"x","password":"x"}'):
        answer = server.client().send("POST", "/auth/join", raw, {"content-type": "application/json"})
        assert answer.status in (400, 404, 422)


def test_a_password_that_nobody_can_have_does_not_tell_who_has_an_account(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    joined(server, invite(new_tenant()), email)
    link = invite(owner)
    for password in ("short", "password1234", "aaaaaaaaaaaaa"):
        said = [
            {**answer.json, "requestId": ""}
            for who in (email, f"nobody-{email}")
            if (answer := join(server, link, who, password)).status == 422
        ]
        assert len(said) == 2
        assert said[0] == said[1]
    assert [row["uses"] for row in owner.get("/invitations").ok()["items"]] == [0]


def test_guessing_a_password_by_joining_is_stopped_as_at_sign_in(server: Running, owner: Client, email: str) -> None:
    joined(server, invite(owner), email)
    url = invite(owner)
    codes = [join(server, url, email, f"wrong password {i}").code for i in range(11)]
    assert codes == ["auth.invalid"] * 10 + ["rate.limited"]
    assert sign_in(server, email).code == "rate.limited"


# Passwords -----------------------------------------------------------------------------------------------------------


def test_a_person_changes_its_password_and_every_other_session_ends(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    elsewhere = new_tenant()
    person = joined(server, invite(owner), email)
    others = [joined(server, invite(elsewhere), email), joined(server, invite(owner), email)]
    wrong = person.post("/auth/password", {"password": OTHER, "newPassword": OTHER})
    assert (wrong.status, wrong.code) == (422, "request.invalid")
    weak = person.post("/auth/password", {"password": PASSWORD, "newPassword": "password1234"})
    assert "many people use" in weak.json["detail"]
    assert sign_in(server, email, tenant=slug_of(owner)).status == 200
    for _ in range(2):  # the second as after an answer that was lost
        person.post("/auth/password", {"password": PASSWORD, "newPassword": OTHER}).ok()
    assert person.get("/auth/whoami").status == 200
    assert [other.get("/auth/whoami").code for other in others] == ["auth.invalid"] * 2
    assert sign_in(server, email).code == "auth.invalid"
    assert sign_in(server, email, OTHER, tenant=slug_of(elsewhere)).status == 200
    assert owner.post("/auth/password", {"password": "x", "newPassword": OTHER}).code == "member.not_a_person"
    assert "member.change_password" in actions(owner)


def test_an_admin_sets_the_password_of_a_member_of_this_tenant_alone(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    person = joined(server, invite(owner), email)
    member = member_id(person)
    assert owner.post(f"/members/{member}/password", {"password": "password1234"}).status == 422
    owner.post(f"/members/{member}/password", {"password": OTHER}).ok()
    assert person.get("/auth/whoami").code == "auth.invalid"
    assert sign_in(server, email).code == "auth.invalid"
    assert sign_in(server, email, OTHER).status == 200
    joined(server, invite(new_tenant()), email, OTHER)
    refused = owner.post(f"/members/{member}/password", {"password": PASSWORD})
    assert (refused.status, refused.code) == (403, "member.elsewhere")
    assert sign_in(server, email, OTHER, tenant=slug_of(owner)).status == 200
    assert actions(owner).count("member.reset_password") == 1


def test_a_hash_made_with_other_parameters_is_replaced_at_the_next_sign_in(
    server: Running, owner: Client, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(server, invite(owner), email)

    async def stored() -> str:
        async with server.cloud.catalog.directory() as d:
            found = await members.find_person(d, email)
            assert found is not None
            return found.password or ""

    before = server.run(stored())
    assert "m=8,t=1" in before
    assert sign_in(server, email).status == 200
    assert server.run(stored()) == before
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))
    assert sign_in(server, email, OTHER).code == "auth.invalid"
    assert server.run(stored()) == before
    assert sign_in(server, email).status == 200
    assert "m=8,t=2" in server.run(stored())
    assert sign_in(server, email).status == 200


def test_a_password_changed_while_its_hash_is_replaced_stays_changed(
    server: Running, owner: Client, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(server, invite(owner), email)
    monkeypatch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=2, memory_cost=8, parallelism=1))

    async def change() -> None:
        async with server.cloud.catalog.directory(write=True) as d:
            found = await members.find_person(d, email)
            assert found is not None
            await members.set_password(d, found.id, passwords.hash_password(OTHER))

    def hash_late(password: str) -> str:
        server.run(change())
        return passwords.hash_password(password)

    monkeypatch.setattr(signin, "hash_password", hash_late)
    sign_in(server, email)
    assert sign_in(server, email).code == "auth.invalid"
    assert sign_in(server, email, OTHER).status == 200


# Roles, and the last owner -------------------------------------------------------------------------------------------


def test_roles_change_within_what_the_changer_has(server: Running, owner: Client, as_owner: Client) -> None:
    person = joined(server, invite(owner, "admin"), f"person-{next(_numbers)}@example.org")
    target, top = member_id(person), member_id(as_owner)
    assert person.send("PATCH", f"/members/{top}", {"tenantRole": "member"}).code == "auth.insufficient_scope"
    assert person.send("PATCH", f"/members/{target}", {"tenantRole": "owner"}).code == "auth.insufficient_scope"
    assert person.post(f"/members/{top}/password", {"password": OTHER}).code == "auth.insufficient_scope"
    assert person.send("DELETE", f"/members/{top}").code == "auth.insufficient_scope"
    assert as_owner.send("PATCH", f"/members/{target}", {"tenantRole": "member"}).ok()["tenantRole"] == "member"
    assert person.get("/members").code == "auth.insufficient_scope"
    assert as_owner.send("PATCH", f"/members/{target}", {"tenantRole": "king"}).status == 422
    assert as_owner.send("PATCH", "/members/mem_unknown", {"tenantRole": "admin"}).code == "resource.not_found"
    assert "member.role" in actions(owner)


@pytest.mark.parametrize(
    ("method", "address", "body"),
    [
        ("PATCH", "/members/{who}", {"tenantRole": "owner"}),
        ("PATCH", "/members/{owner}", {"tenantRole": "member"}),
        ("POST", "/members/{owner}/password", {"password": OTHER}),
        ("POST", "/members", {"email": "x@example.org", "name": "X", "password": OTHER, "tenantRole": "owner"}),
        ("POST", "/keys", {"name": "k", "tenantRole": "owner"}),
        ("POST", "/keys/{key}/reroll", {}),
        ("POST", "/invitations", {"tenantRole": "owner"}),
    ],
)
def test_who_is_an_owner_no_more_when_the_request_has_come_in_gives_and_changes_no_owner(
    server: Running,
    owner: Client,
    as_owner: Client,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    address: str,
    body: dict[str, object],
) -> None:
    other = joined(server, invite(owner, "owner"), f"person-{next(_numbers)}@example.org")
    who, tenant = PrincipalId(member_id(as_owner)), TenantId(owner.get("/tenant").ok()["id"])
    key = owner.post("/keys", {"name": "k", "tenantRole": "owner"}).ok(201)["id"]

    async def read_json(*given: Any) -> Any:
        asked = await bodies.read_json(*given)
        async with server.cloud.catalog.write(tenant) as s:
            await principals.set_tenant_role(s, who, TenantRole.ADMIN, server.cloud.clock())
        return asked

    with monkeypatch.context() as patched:
        for module in (people, keys, invites):
            patched.setattr(module, "read_json", read_json)
        answer = as_owner.send(method, address.format(who=who, owner=member_id(other), key=key), body)
    assert (answer.status, answer.code) == (403, "auth.insufficient_scope")
    roles = {row["id"]: row["tenantRole"] for row in owner.get("/members").ok()["items"]}
    assert (roles[who], roles[member_id(other)]) == ("admin", "owner")


def test_who_is_no_member_any_more_is_changed_no_more(server: Running, owner: Client, email: str) -> None:
    person = joined(server, invite(owner), email)
    gone = member_id(person)
    owner.send("DELETE", f"/members/{gone}").ok()
    answer = owner.send("PATCH", f"/members/{gone}", {"tenantRole": "admin"})
    assert (answer.status, answer.code) == (404, "resource.not_found")
    assert "member.role" not in actions(owner)


@pytest.mark.parametrize("how", ["removed", "less", "a grant taken", "a key revoked", "a key's time over"])
def test_nobody_joins_by_the_invitation_of_who_may_not_invite_any_more(
    how: str, server: Running, owner: Client, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = joined(server, invite(owner, "admin" if how != "a grant taken" else "member"), email)
    who, project = member_id(maker), owner.post("/projects", {"slug": "tides"}).ok()["id"]
    if how == "a key revoked":
        made = maker.post("/keys", {"name": "inviting", "tenantRole": "admin"}).ok()
        link = invite(server.client(made["key"]), "admin")
        owner.send("DELETE", f"/keys/{made['id']}").ok()
    elif how == "a key's time over":
        made = maker.post("/keys", {"name": "inviting", "tenantRole": "admin", "expiresIn": 60}).ok()
        link = invite(server.client(made["key"]), "admin")
        ends = server.cloud.clock() + 60_000
        monkeypatch.setattr(type(server.cloud), "clock", property(lambda _: lambda: ends))
    elif how == "a grant taken":
        owner.post("/projects/tides/grants", {"principal": who, "role": "admin"}).ok()
        link = maker.post("/projects/tides/invitations", {"role": "admin", "uses": 2}).ok()["url"]
        assert joined(server, link, f"friend-{email}").get("/projects/tides").ok()["id"] == project
        owner.send("DELETE", f"/projects/tides/grants/{who}").ok()
    else:
        link = invite(maker, "admin")
        if how == "removed":
            owner.send("DELETE", f"/members/{who}").ok()
        else:
            owner.send("PATCH", f"/members/{who}", {"tenantRole": "member"}).ok()
    said = {"invitation": link, "email": email, "password": PASSWORD}
    answer = server.client().post("/auth/join", said)
    assert (answer.status, answer.code) == (404, "invitation.invalid"), answer.body
    assert server.client().post("/auth/invitation", {"invitation": link}).code == "invitation.invalid"
    assert sorted(row["state"] for row in owner.get("/invitations").ok()["items"]) == ["used up", "void"]


def test_the_audit_says_what_somebody_was_let_in_as_and_what_was_changed(
    server: Running, owner: Client, email: str
) -> None:
    person = {"email": f"added-{email}", "name": "A", "password": PASSWORD, "tenantRole": "admin"}
    added = owner.post("/members", person).ok()
    project = owner.post("/projects", {"slug": "tides"}).ok()["id"]
    share = owner.post("/projects/tides/invitations", {"role": "write"}).ok()
    invitation = owner.post("/invitations", {"tenantRole": "admin"}).ok()
    for url in (share["url"], invitation["url"]):
        joined(server, url, email)
    owner.send("PATCH", "/projects/tides", {"slug": "moons", "archived": True}).ok()
    tenant = owner.get("/tenant").ok()["id"]
    server.admin.send("PATCH", f"/admin/tenants/{tenant}", {"quota": {"projects": 7, "keys": None}}).ok()
    rows = (
        owner.get("/tenant/audit", limit=100).ok()["items"] + server.admin.get("/tenant/audit", limit=5).ok()["items"]
    )
    said = {(row["action"], row["target"]) for row in rows}
    assert said >= {
        ("member.add", f"{added['id']} admin"),
        ("invitation.create", f"{share['id']} {project} write"),
        ("invitation.join", f"{share['id']} {project} write"),
        ("invitation.create", f"{invitation['id']} tenant admin"),
        ("invitation.join", f"{invitation['id']} tenant admin"),
        ("project.change", f"{project} slug moons, archived"),
        ("tenant.quota", f"{tenant} projects 7, keys no limit"),
    }


@pytest.mark.promise("P7")
def test_what_is_sent_again_and_changes_nothing_leaves_one_row_in_the_audit(
    server: Running, owner: Client, email: str
) -> None:
    person = joined(server, invite(owner), email)
    gone, tenant = member_id(person), owner.get("/tenant").ok()["id"]
    key = owner.post("/keys", {"name": "twice", "role": "read"}).ok()["id"]
    invitation = owner.post("/invitations", {"tenantRole": "member"}).ok()["id"]
    for _ in range(2):
        owner.send("PATCH", f"/members/{gone}", {"tenantRole": "admin"}).ok()
    owner.post("/projects", {"slug": "tides"}).ok()
    for _ in range(2):
        owner.post("/projects/tides/grants", {"principal": gone, "role": "write"}).ok()
        owner.send("PATCH", "/projects/tides", {"slug": "tides", "description": "Of the sea"}).ok()
        owner.send("PATCH", "/tenant", {"name": "Harbour"}).ok()
        server.admin.send("PATCH", f"/admin/tenants/{tenant}", {"quota": {"projects": 7}}).ok()
    for _ in range(2):
        owner.send("DELETE", "/projects/tides").ok()
        owner.send("DELETE", f"/members/{gone}").ok()
        owner.send("DELETE", f"/keys/{key}").ok()
        owner.send("DELETE", f"/invitations/{invitation}").ok()
    done = actions(owner)
    ends = ("member.role", "member.remove", "key.revoke", "invitation.revoke", "project.archive")
    changes = ("grant.give", "project.change", "tenant.rename")
    assert [done.count(each) for each in (*ends, *changes)] == [1] * 8
    for suspended in (True, True, False, False):
        server.admin.send("PATCH", f"/admin/tenants/{tenant}", {"suspended": suspended}).ok()
    rows = server.admin.get("/tenant/audit", limit=200).ok()["items"]
    assert sorted(row["action"] for row in rows if row["target"].startswith(tenant)) == [
        "tenant.create", "tenant.quota", "tenant.resume", "tenant.suspend",
    ]  # fmt: skip


def test_the_last_owner_can_neither_leave_nor_be_demoted_nor_removed(
    server: Running, owner: Client, as_owner: Client
) -> None:
    me, key = member_id(as_owner), member_id(owner)
    as_owner.send("DELETE", f"/keys/{key}").ok()  # now the person alone owns the tenant
    for refused in (
        as_owner.post("/auth/leave"),
        as_owner.send("PATCH", f"/members/{me}", {"tenantRole": "admin"}),
        as_owner.send("DELETE", f"/members/{me}"),
    ):
        assert (refused.status, refused.code) == (409, "tenant.last_owner")
    assert as_owner.get("/auth/whoami").ok()["role"] == "owner"
    email = f"person-{next(_numbers)}@example.org"
    heir = joined(server, invite(as_owner, "owner"), email)
    as_owner.post("/auth/leave").ok()
    assert as_owner.get("/auth/whoami").code == "auth.invalid"
    assert heir.post("/auth/leave").code == "tenant.last_owner"


def test_of_two_owners_who_leave_at_once_one_stays(server: Running, owner: Client, as_owner: Client) -> None:
    other = joined(server, invite(owner, "owner"), f"person-{next(_numbers)}@example.org")
    as_owner.send("DELETE", f"/keys/{member_id(owner)}").ok()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(lambda one: one.post("/auth/leave").status, (as_owner, other)))
    assert statuses == [200, 409]


@pytest.mark.promise("P5")
@pytest.mark.parametrize(("scope", "status"), [("satchel:write", 403), ("satchel:admin", 200)])
def test_a_client_that_was_let_in_for_less_than_everything_cannot_leave_for_its_person(
    server: Running, owner: Client, email: str, scope: str, status: int
) -> None:
    joined(server, invite(owner), email)
    client, person = registered(server), let_in(server, email)
    code = client.code(person, scope=scope, resource=server.url)
    agent = server.client(client.redeem(code, resource=server.url).ok()["access_token"])
    assert agent.post("/auth/leave").status == status
    assert agent.get("/auth/whoami").status == (200 if status == 403 else 401)


def test_who_left_comes_back_by_an_invitation_as_somebody_new(server: Running, owner: Client, email: str) -> None:
    person = joined(server, invite(owner), email)
    before = member_id(person)
    person.post("/auth/leave").ok()
    assert sign_in(server, email).code == "auth.invalid"
    back = joined(server, invite(owner), email)
    assert member_id(back) != before
    assert [row["email"] for row in owner.get("/members").ok()["items"]] == [email]


def test_the_account_of_who_is_a_member_nowhere_any_more_is_deleted(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    other = new_tenant()
    person = joined(server, invite(owner), email)
    elsewhere = joined(server, invite(other), email)
    owner.send("DELETE", f"/members/{member_id(person)}").ok()
    assert sign_in(server, email, tenant=slug_of(other)).status == 200  # it is a member there
    assert join(server, invite(owner), email, OTHER).code == "auth.invalid"
    elsewhere.post("/auth/leave").ok()
    again = joined(server, invite(owner), email, OTHER)  # an account made anew, which nobody's old password opens
    assert (sign_in(server, email).code, sign_in(server, email, OTHER).status) == ("auth.invalid", 200)
    owner.send("DELETE", f"/members/{member_id(again)}").ok()
    added = {"email": email, "name": "Sam", "password": PASSWORD, "tenantRole": "member"}
    owner.post("/members", added).ok(201)  # and an admin may choose the password of somebody new


def test_the_accounts_of_a_shredded_tenant_are_deleted_but_those_of_members_elsewhere(
    server: Running, owner: Client, new_tenant: Callable[[], Client], email: str
) -> None:
    gone, both = new_tenant(), f"both-{email}"
    joined(server, invite(gone), email)
    joined(server, invite(gone), both)
    joined(server, invite(owner), both)
    place = f"/admin/tenants/{gone.get('/tenant').ok()['id']}"
    server.admin.send("DELETE", place, query={"now": "true"}).ok()
    assert join(server, invite(owner), email, OTHER).status == 200
    assert (sign_in(server, both, OTHER).code, sign_in(server, both).status) == ("auth.invalid", 200)


# Every face ----------------------------------------------------------------------------------------------------------


def faces(person: Client, project: str) -> dict[str, str | None]:
    """What REST, MCP and sync answer when somebody reads and writes a project: the code of the refusal, or None."""

    def tool(name: str, **arguments: object) -> str | None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        told = person.send("POST", "/mcp", call, headers).ok()["result"]
        return (
            str(told["structuredContent"]["code"])
            if told.get("isError") and "structuredContent" in told
            else (_code_of(told["content"][0]["text"]) if told.get("isError") else None)
        )

    sync = {"content-type": "application/x-satchel-sync", "satchel-declared-bytes": "10"}
    return {
        "REST read": person.get(f"/projects/{project}/artifacts").code,
        "MCP read": tool("artifacts_list", project=project),
        "sync read": person.get(f"/projects/{project}/changes").code,
        "REST write": person.send(
            "PUT", f"/projects/{project}/artifacts/x.md", b"# X\n", {"if-match": "*", "content-type": "text/plain"}
        ).code,
        "REST change": person.post(f"/projects/{project}/context", {"notes": "n"}).code,
        "sync write": person.send("POST", f"/projects/{project}/sync", b"", sync).code,
    }


def _code_of(text: str) -> str:
    return str(json.loads(text).get("code", text)) if text.startswith("{") else text


READS, WRITES = ("REST read", "MCP read", "sync read"), ("REST write", "REST change", "sync write")
"""The tools of MCP only read."""


@pytest.mark.promise("P5")
@pytest.mark.parametrize(
    ("tenant_role", "role", "reads", "writes"),
    [
        ("member", None, False, False),
        ("member", "read", True, False),
        ("member", "write", True, True),
        ("member", "admin", True, True),
        ("admin", None, True, True),
        ("owner", None, True, True),
    ],
)
def test_rest_mcp_and_sync_decide_alike_for_a_member_of_each_role(
    server: Running,
    owner: Client,
    project: str,
    email: str,
    tenant_role: str,
    role: str | None,
    reads: bool,
    writes: bool,
) -> None:
    owner.put(project, "x.md", b"# X\n")
    person = joined(server, invite(owner, tenant_role), email)
    if role is not None:
        owner.post(f"/projects/{project}/grants", {"principal": member_id(person), "role": role}).ok()
    found = faces(person, project)
    if not reads:
        assert found == dict.fromkeys((*READS, *WRITES), "project.not_found")
        return
    assert [found[name] for name in READS] == [None] * 3
    assert {found[name] == "auth.insufficient_scope" for name in WRITES} == {not writes}, found
