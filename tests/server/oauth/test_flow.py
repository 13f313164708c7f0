"""The authorization server used as it is meant to be: discovery, registration, consent, tokens, refresh, revocation."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from starlette.requests import Request

from satchel.catalog import sessions
from satchel.catalog.scope import CatalogUnavailable
from satchel.server.oauth import device, requests
from satchel.server.web import browser, forms
from tests.server.oauth.flow import DEVICE, REDIRECT, Client, registered, told
from tests.server.running import Answer, Running
from tests.server.running import Client as Rest
from tests.server.web.people import PASSWORD, Person, let_in, member


def call_tool(server: Running, token: str, name: str = "projects_list") -> int:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    return server.client(token).send("POST", "/mcp", json.dumps(body).encode(), headers).status


def test_a_client_finds_its_way_from_the_refusal_of_mcp(server: Running) -> None:
    anon = server.client()
    refused = anon.send("POST", "/mcp", b"{}")
    assert refused.status == 401
    challenge = refused.headers["www-authenticate"]
    metadata = f"{server.url}/.well-known/oauth-protected-resource/mcp"
    assert f'resource_metadata="{metadata}"' in challenge
    assert 'scope="satchel:read"' in challenge
    resource = anon.get("/.well-known/oauth-protected-resource/mcp").ok()
    assert (resource["resource"], resource["authorization_servers"]) == (server.url + "/mcp", [server.url])
    about = anon.get("/.well-known/oauth-authorization-server").ok()
    assert about["issuer"] == server.url
    assert about["code_challenge_methods_supported"] == ["S256"]
    assert about["authorization_response_iss_parameter_supported"] is True
    assert about["client_id_metadata_document_supported"] is True
    for name in ("authorization", "token", "revocation", "registration", "device_authorization"):
        assert about[f"{name}_endpoint"].startswith(server.url + "/oauth/")


def test_a_bad_token_is_told_where_to_log_in_too(server: Running) -> None:
    refused = server.client("nonsense").send("POST", "/mcp", b"{}")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    assert "resource_metadata=" in refused.headers["www-authenticate"]


def test_code_to_tokens_to_a_tool_to_refresh_to_the_end(server: Running, probe: Client, grace: Person) -> None:
    said = told(probe.allow(grace))
    assert (said["state"], said["iss"]) == ("st@te", server.url)
    tokens = probe.redeem(said["code"]).ok()
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "satchel:read")
    assert call_tool(server, tokens["access_token"]) == 200
    again = probe.refresh(tokens["refresh_token"]).ok()
    assert again["refresh_token"] != tokens["refresh_token"]
    assert call_tool(server, again["access_token"]) == 200
    revoked = Person(server.url).post("/oauth/revoke", {"token": again["refresh_token"], "client_id": probe.id})
    assert revoked.status == 200
    assert call_tool(server, again["access_token"]) == 401
    assert probe.refresh(again["refresh_token"]).json["error"] == "invalid_grant"


def test_a_token_for_mcp_is_none_for_rest_and_one_for_the_server_is_for_both(
    server: Running, probe: Client, grace: Person
) -> None:
    narrow = probe.redeem(probe.code(grace)).ok()["access_token"]
    assert call_tool(server, narrow) == 200
    assert server.client(narrow).get("/projects").code == "auth.invalid"
    wide = probe.redeem(probe.code(grace, resource=server.url)).ok()
    assert call_tool(server, wide["access_token"]) == 200
    assert server.client(wide["access_token"]).get("/projects").status == 200
    narrowed = probe.refresh(wide["refresh_token"], resource=server.url + "/mcp").ok()
    assert server.client(narrowed["access_token"]).get("/projects").status == 401


def test_a_scope_only_narrows_and_step_up_names_what_is_missing(server: Running, probe: Client, grace: Person) -> None:
    reading = probe.redeem(probe.code(grace, resource=server.url)).ok()["access_token"]
    refused = server.client(reading).put("lighthouse", "a.md", b"a")
    assert (refused.status, refused.code) == (403, "auth.insufficient_scope")
    assert 'error="insufficient_scope", scope="satchel:write"' in refused.headers["www-authenticate"]
    listing = server.client(reading).get("/members")
    assert 'scope="satchel:admin"' in listing.headers["www-authenticate"]
    writing = probe.redeem(probe.code(grace, resource=server.url, scope="satchel:read satchel:write")).ok()
    assert writing["scope"] == "satchel:read satchel:write"
    assert server.client(writing["access_token"]).put("lighthouse", f"{probe.id}.md", b"a").status in (200, 201)
    assert server.client(writing["access_token"]).get("/members").status == 403
    less = probe.refresh(writing["refresh_token"], scope="satchel:read").ok()
    assert server.client(less["access_token"]).put("lighthouse", "b.md", b"b").status == 403


def test_a_client_that_is_denied_is_told_so(server: Running, probe: Client, grace: Person) -> None:
    said = told(probe.allow(grace, "deny"))
    assert (said["error"], said["state"], said["iss"]) == ("access_denied", "st@te", server.url)
    assert "code" not in said


@pytest.mark.parametrize("port", ["", ":1", ":65535"])
def test_a_loopback_redirect_may_have_any_port(port: str, probe: Client, grace: Person) -> None:
    redirect = f"http://127.0.0.1{port}/callback"
    answer = probe.allow(grace, redirect_uri=redirect)
    assert answer.headers["location"].startswith(redirect + "?code=")
    assert probe.redeem(told(answer)["code"], redirect_uri=redirect).status == 200


def test_a_person_who_is_not_signed_in_comes_back_to_the_consent(server: Running, harbour: Rest, probe: Client) -> None:
    joan = member(server, harbour, "joan")
    first = joan.get("/oauth/authorize?" + probe.query())
    page = joan.get(first.headers["location"])
    back = joan.submit(page, "/oauth/sign-in", email=joan.email, password=PASSWORD)
    shown = joan.get(back.headers["location"]).body.decode()
    for fact in ("Probe", "a program on this computer (127.0.0.1)", "harbour", "nobody has checked it"):
        assert fact in shown
    assert "There is no project that you may use yet" in shown  # a member without grants


def test_the_consent_page_says_who_where_what_and_until_when(probe: Client, grace: Person, server: Running) -> None:
    https = registered(server, "https://agents.example.com/back?x=1", name="<b>Bold</b> & Co")
    page = grace.get("/oauth/authorize?" + https.query(redirect_uri="https://agents.example.com/back?x=1"))
    text = page.body.decode()
    assert "&lt;b&gt;Bold&lt;/b&gt; &amp; Co" in text
    assert "<b>agents.example.com</b>" in text
    assert "lighthouse <span class=soft>(read)</span>" in text
    assert "/oauth/clients" in text
    assert "form-action 'self' https://agents.example.com;" in page.headers["content-security-policy"]


def test_a_connected_client_is_listed_and_ended_by_its_person_alone(
    server: Running, harbour: Rest, probe: Client, grace: Person
) -> None:
    tokens = probe.redeem(probe.code(grace)).ok()
    page = grace.get("/oauth/clients")
    payload = tokens["access_token"].split(".")[1]
    family = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"]
    assert f"name=session value={family}>" in page.body.decode()
    other = member(server, harbour, "iris")
    other.sign_in()
    theirs = other.get("/oauth/tenant")
    refused = other.post("/oauth/clients/end", {"csrf": _csrf(theirs.body), "session": family})
    assert refused.status == 422
    assert call_tool(server, tokens["access_token"]) == 200
    ended = grace.post("/oauth/clients/end", {"csrf": _csrf(page.body), "session": family})
    assert ended.status == 303
    assert call_tool(server, tokens["access_token"]) == 401


def test_a_session_ends_when_the_server_was_set_to_end_it_however_it_began(
    server: Running, owner: Rest, probe: Client, grace: Person, later: Callable[[int], None]
) -> None:
    settings = server.cloud.settings
    url = owner.post("/invitations", {"tenantRole": "member"}).ok()["url"]
    object.__setattr__(server.cloud, "settings", replace(settings, refresh_seconds=86_400))
    try:
        page = grace.get("/oauth/authorize?" + probe.query()).body.decode()
        by_code = probe.redeem(probe.code(grace)).ok()["refresh_token"]
        person = {"invitation": url, "email": "jean@example.org", "password": PASSWORD}
        by_invitation = server.client().post("/auth/join", person).ok()["refreshToken"]
    finally:
        object.__setattr__(server.cloud, "settings", settings)
    tomorrow = datetime.fromtimestamp(server.cloud.clock() / 1000 + 86_400, UTC)
    assert f"{tomorrow:%d %B %Y}".lstrip("0") in page
    later(86_401)
    assert probe.refresh(by_code).json["error"] == "invalid_grant"
    assert server.client().post("/auth/refresh", {"refreshToken": by_invitation}).code == "auth.expired"


def test_what_a_person_allowed_before_its_password_was_changed_begins_no_session(
    server: Running, harbour: Rest, probe: Client, later: Callable[[int], None]
) -> None:
    nell = let_in(server, member(server, harbour, "renewed", "admin").email)
    code = probe.code(nell)
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    asked = nell.get("/oauth/device?user_code=" + begun["user_code"])
    asked = nell.submit(asked, "/oauth/device/code", user_code=begun["user_code"])
    assert "Device connected" in nell.submit(asked, "/oauth/device/decide", decision="allow").body.decode()
    _new_password(harbour, nell)
    assert probe.redeem(code).json["error"] == "invalid_grant"
    later(60)
    cli = Client(server, "satchel-cli")
    assert cli.token(grant_type=DEVICE, device_code=begun["device_code"]).json["error"] == "access_denied"


def test_a_form_that_comes_slowly_does_not_outlive_the_session_it_was_begun_in(
    server: Running, harbour: Rest, probe: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga = let_in(server, member(server, harbour, "unhurried", "admin").email)

    async def read_fields(request: Request) -> dict[str, str]:
        fields = await forms.read_fields(request)
        await asyncio.to_thread(_new_password, harbour, olga)
        return fields

    page = olga.get("/oauth/authorize?" + probe.query())
    monkeypatch.setattr(browser, "read_fields", read_fields)
    answer = olga.submit(page, "/oauth/consent", decision="allow")
    assert answer.status == 303
    assert "code=" not in answer.headers.get("location", "")


@pytest.mark.parametrize("what", ["consent", "device"])
def test_who_was_signed_out_while_the_client_was_looked_up_allows_nothing(
    what: str, server: Running, harbour: Rest, probe: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pia = let_in(server, member(server, harbour, f"overtaken-{what}", "admin").email)
    room, name = (requests, "read") if what == "consent" else (device, "_find")
    if what == "consent":
        page = pia.get("/oauth/authorize?" + probe.query())
    else:
        begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
        page = pia.submit(pia.get("/oauth/device"), "/oauth/device/code", user_code=begun["user_code"])
    look_up = getattr(room, name)

    async def slowly(*given: object) -> object:
        found = await look_up(*given)
        await asyncio.to_thread(_new_password, harbour, pia)
        return found

    monkeypatch.setattr(room, name, slowly)
    answer = pia.submit(page, "/oauth/consent" if what == "consent" else "/oauth/device/decide", decision="allow")
    assert answer.status == 403
    assert "signed out meanwhile" in answer.body.decode()


def _new_password(owner: Rest, person: Person) -> None:
    [who] = [row["id"] for row in owner.get("/members").ok()["items"] if row["email"] == person.email]
    owner.post(f"/members/{who}/password", {"password": "another good passphrase"}).ok()


def test_a_device_is_connected_by_its_code(server: Running, grace: Person, later: Callable[[int], None]) -> None:
    begun = Person(server.url).post(
        "/oauth/device", {"client_id": "satchel-cli", "scope": "satchel:write", "resource": server.url}
    ).ok()  # fmt: skip
    cli = Client(server, "satchel-cli")

    def ask() -> Answer:
        return cli.token(grant_type=DEVICE, device_code=begun["device_code"])

    assert ask().json["error"] == "authorization_pending"
    assert ask().json["error"] == "slow_down"
    page = grace.get("/oauth/device?user_code=" + begun["user_code"])
    asked = grace.submit(page, "/oauth/device/code", user_code=begun["user_code"].lower().replace("-", " "))
    text = asked.body.decode()
    assert begun["user_code"] in text
    assert "Whoever sent you a code" in text
    assert "Device connected" in grace.submit(asked, "/oauth/device/decide", decision="allow").body.decode()
    assert ask().json["error"] == "slow_down"  # approved, and still too soon
    later(60)
    tokens = ask().ok()
    who = server.client(tokens["access_token"]).get("/auth/whoami").ok()
    assert (who["principal"]["name"], who["scope"]) == ("Grace", "write")
    assert ask().json["error"] == "invalid_grant"  # good once
    renewed = server.client().post("/auth/refresh", {"refreshToken": tokens["refresh_token"]}).ok()
    assert server.client(renewed["accessToken"]).get("/auth/whoami").ok()["scope"] == "write"


def test_a_device_whose_session_could_not_be_begun_takes_its_login_at_the_next_question(
    server: Running, grace: Person, later: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    asked = grace.submit(grace.get("/oauth/device"), "/oauth/device/code", user_code=begun["user_code"])
    assert "Device connected" in grace.submit(asked, "/oauth/device/decide", decision="allow").body.decode()

    async def away(*_args: object, **_options: object) -> None:
        raise CatalogUnavailable("the catalog is away")

    ask = partial(Client(server, "satchel-cli").token, grant_type=DEVICE, device_code=begun["device_code"])
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "start", away)
        assert ask().status == 503
    later(60)
    assert ask().status == 200


def test_a_clock_that_is_put_back_keeps_no_device_waiting(server: Running, later: Callable[[int], None]) -> None:
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    for seconds in (0, -3_600):
        later(seconds)
        asked = Client(server, "satchel-cli").token(grant_type=DEVICE, device_code=begun["device_code"])
        assert asked.json["error"] == "authorization_pending"


def test_a_device_that_is_refused_or_left_alone_gets_nothing(
    server: Running, grace: Person, later: Callable[[int], None]
) -> None:
    cli, anyone = Client(server, "satchel-cli"), Person(server.url)
    refused, left = (anyone.post("/oauth/device", {"client_id": "satchel-cli"}).ok() for _ in range(2))
    asked = grace.submit(grace.get("/oauth/device"), "/oauth/device/code", user_code=refused["user_code"])
    assert "Device refused" in grace.submit(asked, "/oauth/device/decide", decision="deny").body.decode()
    assert cli.token(grant_type=DEVICE, device_code=refused["device_code"]).json["error"] == "access_denied"
    later(601)
    assert cli.token(grant_type=DEVICE, device_code=left["device_code"]).json["error"] == "expired_token"


def test_every_step_leaves_a_row_in_the_audit(harbour: Rest, probe: Client, grace: Person) -> None:
    tokens = probe.redeem(probe.code(grace)).ok()
    probe.refresh(tokens["refresh_token"]).ok()
    rows = harbour.get("/tenant/audit", limit=50).ok()["items"]
    actions = [row["action"] for row in rows]
    assert {"client.allow", "session.start", "session.refresh"} <= set(actions)
    assert any(probe.id in row["target"] for row in rows)
    assert REDIRECT not in json.dumps(rows)


def _csrf(body: bytes) -> str:
    return body.decode().partition('name="csrf" value="')[2].partition('"')[0]
