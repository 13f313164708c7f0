"""What is tried against the authorization server, each way once. Nothing may come of any of it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest

from satchel.server.oauth.rules import BadClient, described, redirect_allowed, shown_host, source_of
from tests.server.oauth.flow import CHALLENGE, DEVICE, REDIRECT, VERIFIER, Client, registered, told
from tests.server.oauth.test_flow import call_tool
from tests.server.running import Client as Rest
from tests.server.running import Running
from tests.server.web.people import Person, hidden, member

# Redirects ---------------------------------------------------------------------------------------------------------

OWN = ("https://agents.example.com/back", "http://127.0.0.1:33000/callback", "vscode://satchel/done")
FOREIGN_REDIRECTS = [
    "https://agents.example.com/back/", "https://agents.example.com/back/more", "https://agents.example.com/backdoor",
    "https://agents.example.com/back?x=1", "https://agents.example.com/back#f", "https://agents.example.com:443/back",
    "https://agents.example.com:8443/back", "http://agents.example.com/back", "https://AGENTS.example.com/back",
    "https://agents.example.com./back", "https://agents.example.com.evil.example/back",
    "https://evil.example/https://agents.example.com/back", "https://user@agents.example.com/back",
    "https://agents.example.com@evil.example/back", "https://agents.example.com/%62ack",
    "https://agents.example.com/../back", "https://agents.example.com/./back", "https://agents.example.com//back",
    "https://agents.example.com\\@evil.example/back", "https://agents.example.com/back\r\nX: 1",
    "//agents.example.com/back", "agents.example.com/back", "javascript:alert(1)", "data:text/html,x",
    "http://127.0.0.1:33000/other", "http://127.0.0.1:33000/callback/", "http://127.0.0.1:33000/callback?x=1",
    "http://127.0.0.1:0/callback", "http://127.0.0.1:99999/callback", "http://127.0.0.1:1@evil.example/callback",
    "http://127.0.0.1.evil.example/callback", "http://127.0.0.2:33000/callback", "http://localhost:33000/callback",
    "http://[::1]:33000/callback", "http://2130706433/callback", "https://127.0.0.1:33000/callback",
    "vscode://satchel/done/", "VSCODE://satchel/done", "vscode://evil/done", "https://agents.example.com/back ", "",
    "https://agents.example.com/" + "b" * 600,
]  # fmt: skip


@pytest.fixture(scope="module")
def strict(server: Running) -> Client:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("satchel.server.oauth.registration.REGISTRATIONS_A_MINUTE", 100_000)
        return registered(server, *OWN)


@pytest.mark.parametrize("redirect", FOREIGN_REDIRECTS)
def test_nobody_is_sent_to_a_redirect_that_is_not_the_clients_own(redirect: str, strict: Client) -> None:
    answer = Person(strict.server.url).get("/oauth/authorize?" + strict.query(redirect_uri=redirect))
    assert answer.status == 422
    assert "location" not in answer.headers
    assert "not its own" in answer.body.decode()


def test_only_loopback_redirects_of_the_same_host_and_path_may_have_another_port() -> None:
    assert redirect_allowed("http://127.0.0.1:4/callback", OWN)
    assert redirect_allowed("http://[::1]:4/cb?a=b", ("http://[::1]/cb?a=b",))
    assert not redirect_allowed("http://[::1]:4/cb?a=c", ("http://[::1]/cb?a=b",))
    assert not redirect_allowed("https://a.example:4/x", ("https://a.example/x",))


HOSTILE_METADATA: dict[str, object] = {
    "a script for a redirect": {"redirect_uris": ["javascript:alert(1)"]},
    "data for a redirect": {"redirect_uris": ["data:text/html,<script>"]},
    "a file for a redirect": {"redirect_uris": ["file:///etc/passwd"]},
    "an intent for a redirect": {"redirect_uris": ["intent://x#Intent;end"]},
    "plain http elsewhere": {"redirect_uris": ["http://agents.example.com/"]},
    "a fragment": {"redirect_uris": ["https://agents.example.com/#f"]},
    "a user name": {"redirect_uris": ["https://a@agents.example.com/"]},
    "an address for a host": {"redirect_uris": ["https://10.0.0.1/"]},
    "no host": {"redirect_uris": ["https:///x"]},
    "half a scheme": {"redirect_uris": ["https:agents.example.com"]},
    "a star": {"redirect_uris": ["https://*.example.com/"]},
    "a port that is none": {"redirect_uris": ["https://agents.example.com:99999/"]},
    "half an address": {"redirect_uris": ["com.example.agents://[::1/"]},
    "one good and one bad": {"redirect_uris": [REDIRECT, "javascript:x"]},
    "no redirect": {"redirect_uris": []},
    "too many redirects": {"redirect_uris": [f"https://a.example/{n}" for n in range(11)]},
    "a long redirect": {"redirect_uris": ["https://a.example/" + "x" * 600]},
    "a number for a redirect": {"redirect_uris": [1]},
    "an object for redirects": {"redirect_uris": {"0": REDIRECT}},
    "nothing at all": {},
    "a name in control characters": {"redirect_uris": [REDIRECT], "client_name": "a\x1b[2J"},
    "a name written backwards": {"redirect_uris": [REDIRECT], "client_name": "a\u202eb"},
    "a long name": {"redirect_uris": [REDIRECT], "client_name": "x" * 81},
    "a list for a name": {"redirect_uris": [REDIRECT], "client_name": ["a"]},
    "a blank name": {"redirect_uris": [REDIRECT], "client_name": " "},
    "implicit": {"redirect_uris": [REDIRECT], "response_types": ["token"]},
    "a password": {"redirect_uris": [REDIRECT], "grant_types": ["password"]},
    "grants that are no list": {"redirect_uris": [REDIRECT], "grant_types": "authorization_code"},
}


@pytest.mark.parametrize("what", HOSTILE_METADATA)
def test_a_client_that_describes_itself_so_is_not_registered(what: str, server: Running) -> None:
    answer = server.client().send("POST", "/oauth/register", HOSTILE_METADATA[what])
    assert answer.status == 400
    assert answer.json["error"] in ("invalid_redirect_uri", "invalid_client_metadata")


BODIES: dict[str, tuple[bytes, str, int]] = {
    "nested": (b'{"a":' * 2_700 + b"1" + b"}" * 2_700, "application/json", 400),
    "huge": (b'{"redirect_uris":["' + b"a" * 20_000 + b'"]}', "application/json", 413),
    "a list": (b"[]", "application/json", 400),
    "not UTF-8": (b'{"client_name":"\xff"}', "application/json", 400),
    "a name twice": (b'{"redirect_uris":["http://127.0.0.1/"],"redirect_uris":["https://evil.example/"]}',
                     "application/json", 400),
    "a form": (b"redirect_uris=http://127.0.0.1/", "application/x-www-form-urlencoded", 415),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_a_registration_that_is_no_bounded_json_object_is_refused(what: str, server: Running) -> None:
    body, media, status = BODIES[what]
    assert server.client().send("POST", "/oauth/register", body, {"content-type": media}).status == status


def test_what_a_client_says_beyond_name_and_redirects_is_neither_kept_nor_shown(server: Running) -> None:
    asked = {
        "redirect_uris": [REDIRECT], "logo_uri": "https://evil.example/x.svg", "scope": "satchel:admin",
        "client_uri": "javascript:alert(1)", "token_endpoint_auth_method": "client_secret_basic",
    }  # fmt: skip
    given = server.client().send("POST", "/oauth/register", asked).ok(201)
    assert given["token_endpoint_auth_method"] == "none"
    assert not {"logo_uri", "client_uri", "scope", "client_secret"} & given.keys()


def test_an_address_registers_a_few_clients_a_minute(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.server.oauth.registration.REGISTRATIONS_A_MINUTE", 1)
    answers = [server.client().send("POST", "/oauth/register", {"redirect_uris": [REDIRECT]}) for _ in range(3)]
    assert answers[-1].status == 429
    assert int(answers[-1].headers["retry-after"]) > 0
    assert Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).status == 429


def test_a_flood_of_registrations_ends_where_there_is_no_room(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("satchel.server.oauth.clients.MAX_CLIENTS", 0)
    monkeypatch.setattr("satchel.server.oauth.clients.SPARE_MS", 10**12)
    refused = server.client().send("POST", "/oauth/register", {"redirect_uris": [REDIRECT]})
    assert (refused.status, refused.json["error"]) == (429, "temporarily_unavailable")
    monkeypatch.setattr("satchel.server.oauth.device.MAX_DEVICES", 0)
    assert Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).status == 429


# The request for authorization -------------------------------------------------------------------------------------

ASKED_WRONGLY: dict[str, tuple[dict[str, str | None], str]] = {
    "a token at once": ({"response_type": "token"}, "unsupported_response_type"),
    "no response type": ({"response_type": None}, "unsupported_response_type"),
    "in the fragment": ({"response_mode": "fragment"}, "invalid_request"),
    "by a form of ours": ({"response_mode": "form_post"}, "invalid_request"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "no method": ({"code_challenge_method": None}, "invalid_request"),
    "a plain challenge": ({"code_challenge_method": "plain"}, "invalid_request"),
    "a method in small letters": ({"code_challenge_method": "s256"}, "invalid_request"),
    "a short challenge": ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
    "a padded challenge": ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
    "another server's resource": ({"resource": "https://evil.example/mcp"}, "invalid_target"),
    "a resource that only begins so": ({"resource": "{url}/mcp/other"}, "invalid_target"),
    "a resource with a query": ({"resource": "{url}/mcp?x"}, "invalid_target"),
    "an unknown scope": ({"scope": "satchel:read satchel:root"}, "invalid_scope"),
    "a scope in capitals": ({"scope": "SATCHEL:READ"}, "invalid_scope"),
    "a scope with a tab": ({"scope": "satchel:read\tsatchel:write"}, "invalid_scope"),
    "without asking anybody": ({"prompt": "none"}, "interaction_required"),
    "a request object": ({"request": "e30.e30."}, "request_not_supported"),
    "a request elsewhere": ({"request_uri": "http://169.254.169.254/"}, "request_uri_not_supported"),
    "a long state": ({"state": "s" * 2_049}, "invalid_request"),
}


@pytest.mark.parametrize("what", ASKED_WRONGLY)
def test_a_client_that_asks_wrongly_is_told_so_at_its_redirect(what: str, strict: Client, grace: Person) -> None:
    changed, error = ASKED_WRONGLY[what]
    changed = {name: value and value.replace("{url}", strict.server.url) for name, value in changed.items()}
    said = told(grace.get("/oauth/authorize?" + strict.query(**changed)))
    assert (said["error"], said["iss"]) == (error, strict.server.url)
    assert "code" not in said


@pytest.mark.parametrize("name", ["client_id", "redirect_uri", "state", "scope", "resource", "code_challenge"])
def test_a_parameter_given_twice_is_refused_before_anybody_is_sent_anywhere(name: str, strict: Client) -> None:
    answer = Person(strict.server.url).get(f"/oauth/authorize?{strict.query()}&{name}=x")
    assert (answer.status, "location" in answer.headers) == (422, False)


@pytest.mark.parametrize(
    "client_id",
    ["", "nobody", "cli_00000000000000000000000000", "cli_../../x", "satchel-cli ", "https://127.0.0.1/x",
     "https://169.254.169.254/latest/meta-data", "http://agents.example.com/x", "https://[::1]/x", "https://a@b.example/x",
     "https://agents.example.com", "https://localhost/client.json", "javascript:alert(1)", "x" * 600],
)  # fmt: skip
def test_an_unknown_or_dangerous_client_is_refused_to_the_person(
    client_id: str, server: Running, grace: Person
) -> None:
    query = Client(server, client_id).query()
    answer = grace.get("/oauth/authorize?" + query)
    assert answer.status in (404, 422)
    assert "location" not in answer.headers


# Consent -----------------------------------------------------------------------------------------------------------


def test_nobody_consents_for_a_person_from_another_page(probe: Client, grace: Person) -> None:
    page = grace.get("/oauth/authorize?" + probe.query())
    fields = hidden(page) | {"decision": "allow"}
    for forged, headers in (
        ({**fields, "csrf": "0" * 64}, {}),
        ({name: value for name, value in fields.items() if name != "csrf"}, {}),
        (fields, {"origin": "https://evil.example"}),
        (fields, {"origin": "null"}),
        (fields, {"sec-fetch-site": "cross-site"}),
    ):
        assert grace.post("/oauth/consent", forged, headers).status == 403
    assert grace.get("/oauth/consent?" + urlencode(fields)).status == 405


def test_what_the_page_did_not_show_is_not_allowed(probe: Client, grace: Person, server: Running) -> None:
    fields = hidden(grace.get("/oauth/authorize?" + probe.query())) | {"decision": "allow"}
    other = {**fields, "tenant": "ten_00000000000000000000000000"}
    assert grace.post("/oauth/consent", other).status == 422
    swapped = {**fields, "request": probe.query(redirect_uri="https://evil.example/")}
    assert grace.post("/oauth/consent", swapped).status == 422
    assert grace.post("/oauth/consent", {**fields, "decision": "maybe"}).status == 422
    assert grace.post("/oauth/consent", {**fields, "scope": "satchel:admin"}).status == 422
    stranger = Person(server.url)
    stranger.get("/oauth/sign-in")
    assert stranger.post("/oauth/consent", fields).status == 403


def test_a_consent_cannot_be_framed_or_kept(probe: Client, grace: Person) -> None:
    page = grace.get("/oauth/authorize?" + probe.query())
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"


def test_a_hostile_name_or_state_is_text_everywhere(server: Running, grace: Person) -> None:
    name = "\"><img src=x onerror=alert(1)> '&"
    client = registered(server, name=name)
    page = grace.get("/oauth/authorize?" + client.query(state='"><script>'))
    assert page.status == 200
    assert "<img" not in page.body.decode()
    assert "<script" not in page.body.decode()
    said = told(client.allow(grace, state='"><script>&code=mine#'))
    assert said["state"] == '"><script>&code=mine#'
    assert said["code"] != "mine"


# Codes -------------------------------------------------------------------------------------------------------------

REDEEMED_WRONGLY: dict[str, dict[str, str | None]] = {
    "no verifier": {"code_verifier": None},
    "an empty verifier": {"code_verifier": ""},
    "a wrong verifier": {"code_verifier": "w" * 43},
    "the challenge for a verifier": {"code_verifier": CHALLENGE},
    "a short verifier": {"code_verifier": VERIFIER[:42]},
    "a long verifier": {"code_verifier": "v" * 129},
    "a verifier with a space": {"code_verifier": VERIFIER[:-1] + " "},
    "no redirect": {"redirect_uri": None},
    "another port than asked for": {"redirect_uri": REDIRECT.replace("33000", "33001")},
    "another redirect": {"redirect_uri": REDIRECT + "/"},
    "the command line's id": {"client_id": "satchel-cli"},
    "another client's id": {"client_id": "cli_00000000000000000000000000"},
    "another server's resource": {"resource": "https://evil.example/mcp"},
    "a wider resource": {"resource": "{url}"},
}


@pytest.mark.parametrize("what", REDEEMED_WRONGLY)
def test_a_code_is_for_its_client_alone_and_a_wrong_attempt_spends_it(
    what: str, probe: Client, grace: Person, server: Running
) -> None:
    changed = {k: v and v.replace("{url}", server.url) for k, v in REDEEMED_WRONGLY[what].items()}
    code = probe.code(grace)
    refused = probe.redeem(code, **changed)
    assert refused.status == 400
    assert refused.json["error"] in ("invalid_grant", "invalid_target")
    assert probe.redeem(code).json["error"] == "invalid_grant"


def test_a_code_that_comes_twice_ends_what_was_begun_with_it(server: Running, probe: Client, grace: Person) -> None:
    code = probe.code(grace)
    tokens = probe.redeem(code).ok()
    assert call_tool(server, tokens["access_token"]) == 200
    assert probe.redeem(code).json["error"] == "invalid_grant"
    assert call_tool(server, tokens["access_token"]) == 401
    assert probe.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_a_code_holds_for_a_minute(probe: Client, grace: Person, later: Callable[[int], None]) -> None:
    code = probe.code(grace)
    later(61)
    assert probe.redeem(code).json["error"] == "invalid_grant"


def test_codes_that_nobody_gave_or_of_another_tenant_are_worth_nothing(
    server: Running, probe: Client, grace: Person
) -> None:
    good = probe.code(grace)
    tenant = good.split("_")[2]
    other = server.tenant(f"other-{tenant[:8]}")
    elsewhere = other.get("/tenant").ok()["id"].removeprefix("ten_")
    for code in (
        good.replace(tenant, elsewhere),
        good[:-1] + "x",
        good + "a",
        "",
        "stl_code_",
        good.upper(),
        "x" * 9_000,
    ):
        assert probe.redeem(code).status == 400
    assert probe.redeem(good).status == 200


# The token endpoint ------------------------------------------------------------------------------------------------

SENT_WRONGLY: dict[str, tuple[str, dict[str, str], int]] = {
    "no grant": ("client_id=satchel-cli", {}, 400),
    "a password": ("grant_type=password&username=a&password=b&client_id=satchel-cli", {}, 400),
    "client credentials": ("grant_type=client_credentials&client_id=satchel-cli", {}, 400),
    "a field twice": ("grant_type=refresh_token&grant_type=refresh_token&client_id=satchel-cli", {}, 400),
    "a secret": ("grant_type=refresh_token&client_id=satchel-cli&client_secret=x&refresh_token=y", {}, 401),
    "an Authorization header": ("grant_type=refresh_token&refresh_token=y", {"authorization": "Basic eDp5"}, 401),
    "no client": ("grant_type=refresh_token&refresh_token=y", {}, 400),
    "an unknown client": ("grant_type=refresh_token&refresh_token=y&client_id=z", {}, 401),
    "JSON": ('{"grant_type":"refresh_token"}', {"content-type": "application/json"}, 415),
    "bytes that are no text": ("grant_type=%ff&client_id=satchel-cli", {}, 400),
    "a NUL": ("grant_type=refresh_token&refresh_token=a%00&client_id=satchel-cli", {}, 400),
    "too much": ("grant_type=refresh_token&refresh_token=" + "y" * 17_000, {}, 413),
    "too many fields": ("&".join(f"f{n}=1" for n in range(50)), {}, 400),
    "a Host of somebody else": ("grant_type=refresh_token", {"host": "evil.example"}, 403),
}  # fmt: skip


@pytest.mark.parametrize("what", SENT_WRONGLY)
def test_a_question_for_tokens_that_is_put_wrongly_is_refused_in_words_of_oauth(what: str, server: Running) -> None:
    body, headers, status = SENT_WRONGLY[what]
    answer = Person(server.url).post("/oauth/token", body, headers)
    assert answer.status == status
    assert {"error", "error_description"} == answer.json.keys()
    assert answer.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in answer.headers) == (status == 401)


@pytest.mark.parametrize(
    "path", ["/oauth/token", "/oauth/revoke", "/oauth/register", "/oauth/consent", "/oauth/sign-out"]
)
def test_what_is_to_be_posted_is_not_taken_by_get(path: str, server: Running) -> None:
    answer = Person(server.url).get(path + "?token=x&client_id=satchel-cli")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_secrets_are_not_taken_in_the_query(server: Running, probe: Client, grace: Person) -> None:
    tokens = probe.redeem(probe.code(grace)).ok()
    query = urlencode({"token": tokens["refresh_token"], "client_id": probe.id})
    assert Person(server.url).post(f"/oauth/revoke?{query}", "").status == 400
    assert probe.refresh(tokens["refresh_token"]).status == 200
    in_query = server.client().send("POST", f"/mcp?access_token={tokens['access_token']}", b"{}")
    assert in_query.status == 401


def test_a_refresh_asks_for_no_more_than_was_allowed(server: Running, probe: Client, grace: Person) -> None:
    tokens = probe.redeem(probe.code(grace)).ok()
    for changed, error in (
        ({"scope": "satchel:write"}, "invalid_scope"),
        ({"scope": "satchel:admin"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"resource": server.url}, "invalid_target"),
        ({"resource": "https://evil.example"}, "invalid_target"),
        ({"client_id": "satchel-cli"}, "invalid_grant"),
        ({"client_id": registered(server).id}, "invalid_grant"),
    ):
        assert probe.refresh(tokens["refresh_token"], **changed).json["error"] == error, changed
    assert probe.refresh(tokens["refresh_token"]).ok()["scope"] == "satchel:read"
    as_ours = server.client().post("/auth/refresh", {"refreshToken": tokens["refresh_token"]})
    assert as_ours.code == "auth.invalid"


def test_another_client_ends_nothing(server: Running, probe: Client, grace: Person) -> None:
    tokens = probe.redeem(probe.code(grace)).ok()
    for token in (tokens["refresh_token"], tokens["access_token"], "nonsense", "a.b.c"):
        answer = Person(server.url).post("/oauth/revoke", {"token": token, "client_id": registered(server).id})
        assert (answer.status, answer.json) == (200, {})
    assert probe.refresh(tokens["refresh_token"]).status == 200


def test_who_is_no_longer_a_member_gets_no_tokens(server: Running, harbour: Rest, probe: Client) -> None:
    person = member(server, harbour, "kim", "admin")
    person.sign_in()
    code, tokens = probe.code(person), probe.redeem(probe.code(person)).ok()
    [row] = [row for row in harbour.get("/members").ok()["items"] if row["email"] == person.email]
    harbour.send("DELETE", f"/members/{row['id']}").ok()
    assert probe.redeem(code).json["error"] == "invalid_grant"
    assert probe.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert call_tool(server, tokens["access_token"]) == 401
    assert person.get("/oauth/authorize?" + probe.query()).status == 303  # nowhere a member: signed out, in effect


# Devices -----------------------------------------------------------------------------------------------------------


def test_user_codes_are_not_to_be_guessed(server: Running, harbour: Rest, later: Callable[[int], None]) -> None:
    person = member(server, harbour, "mallory")
    person.sign_in()
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    page = person.get("/oauth/device")
    tried = [person.submit(page, "/oauth/device/code", user_code=f"BBBB-BBB{x}").status for x in "BCDFGH"]
    assert tried == [404] * 5 + [429]
    assert (
        person.submit(page, "/oauth/device/code", user_code=begun["user_code"]).status == 429
    )  # not even the right one
    later(601)
    assert person.submit(page, "/oauth/device/code", user_code="BBBB-BBBB").status == 404


@pytest.mark.parametrize("code", ["", "stl_device_", "x", "stl_device_" + "a" * 52, "a" * 9_000])
def test_device_codes_are_not_to_be_guessed(code: str, server: Running) -> None:
    answer = Client(server, "satchel-cli").token(grant_type=DEVICE, device_code=code)
    assert answer.status == 400
    assert answer.json["error"] in ("invalid_grant", "invalid_request")


def test_a_device_code_is_for_its_client_alone(server: Running, probe: Client, grace: Person) -> None:
    begun = Person(server.url).post("/oauth/device", {"client_id": probe.id, "scope": "satchel:read"}).ok()
    asked = grace.submit(grace.get("/oauth/device"), "/oauth/device/code", user_code=begun["user_code"])
    fields = hidden(asked) | {"decision": "allow"}
    assert grace.post("/oauth/device/decide", {**fields, "csrf": "0" * 64}).status == 403
    assert grace.post("/oauth/device/decide", {**fields, "tenant": "ten_0"}).status == 422
    foreign = Client(server, "satchel-cli").token(grant_type=DEVICE, device_code=begun["device_code"])
    assert foreign.json["error"] == "invalid_grant"
    grace.post("/oauth/device/decide", fields)
    assert grace.post("/oauth/device/decide", fields).status == 404  # decided once


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": "satchel-cli", "scope": "root"}, "invalid_scope"),
        ({"client_id": "satchel-cli", "resource": "https://evil.example"}, "invalid_target"),
        ({"client_id": "satchel-cli", "client_secret": "x"}, "invalid_client"),
    ],
)  # fmt: skip
def test_a_device_login_that_is_begun_wrongly_is_refused(fields: dict[str, str], error: str, server: Running) -> None:
    answer = Person(server.url).post("/oauth/device", fields)
    assert (answer.status, answer.json["error"]) == (401 if "client_secret" in fields else 400, error)
    assert Person(server.url).post("/oauth/device?client_id=satchel-cli", fields).json["error"] == "invalid_request"


def test_a_link_alone_connects_no_device(server: Running, grace: Person) -> None:
    begun = Person(server.url).post("/oauth/device", {"client_id": "satchel-cli"}).ok()
    page = grace.get("/oauth/device?user_code=" + quote(begun["user_code"]))
    assert "name=decision" not in page.body.decode()
    ask = Client(server, "satchel-cli").token(grant_type=DEVICE, device_code=begun["device_code"])
    assert ask.json["error"] == "authorization_pending"


# The MCP endpoint --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"}, {"host": "127.0.0.1:evil.example"}, {"host": "a@127.0.0.1"}, {"origin": "null"},
        {"origin": "https://evil.example"}, {"origin": "http://127.0.0.1.evil.example"}, {"origin": ""},
        {"origin": "http://127.0.0.1:x"}, {"origin": "file://"},
    ],
)  # fmt: skip
def test_a_host_or_an_origin_of_somebody_else_is_refused_before_the_credential(
    headers: dict[str, str], server: Running
) -> None:
    for client in (server.client(), server.client("nonsense"), server.admin):
        answer = client.send("POST", "/mcp", b"{}", headers)
        assert (answer.status, answer.code) == (403, "request.origin_refused")


@pytest.mark.parametrize(
    "changed", [{"aud": "https://evil.example/mcp"}, {"aud": "{url}/mcp/"}, {"aud": "{url}/other"}, {"iss": "https://evil.example"}]
)  # fmt: skip
def test_a_genuine_token_for_another_server_does_not_count(
    changed: dict[str, str], server: Running, harbour: Rest
) -> None:
    from satchel.auth.tokens import issue

    keys, cloud = server.cloud.authenticator.tokens, server.cloud
    who = harbour.get("/auth/whoami").ok()
    said = {"iss": keys.url, "aud": keys.url, **{k: v.replace("{url}", keys.url) for k, v in changed.items()}}
    token = issue(
        keys.signing, issuer=said["iss"], audience=said["aud"], tenant=who["tenant"]["id"],
        principal=who["principal"]["id"], jti="tok_x", now=cloud.clock(),
    )  # fmt: skip
    assert call_tool(server, token) == 401


def test_a_body_that_trickles_in_is_given_up(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from satchel.server.edge import Exchange

    began = Exchange.__init__

    def hasty(self: Exchange, *args: object, **more: object) -> None:
        began(self, *args, **more)  # type: ignore[arg-type]
        self._idle = 0.2

    monkeypatch.setattr(Exchange, "__init__", hasty)
    host, port = server.url.removeprefix("http://").split(":")
    for path in ("/oauth/token", "/oauth/register", "/oauth/sign-in"):
        with socket.create_connection((host, int(port)), 10) as wire:
            media = "application/json" if path.endswith("register") else "application/x-www-form-urlencoded"
            wire.sendall(
                f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: {media}\r\n"
                "content-length: 100\r\n\r\na".encode()
            )
            since = time.monotonic()
            answer = wire.recv(65_536)
            assert time.monotonic() - since < 10
            assert answer.startswith(b"HTTP/1.1 408")


# The rules by themselves -------------------------------------------------------------------------------------------


def test_a_redirect_says_honestly_where_it_leads() -> None:
    assert shown_host("https://agents.example.com:8443/x") == "agents.example.com"
    assert shown_host("http://[::1]:3/x") == "a program on this computer ([::1])"
    assert shown_host("cursor://anysphere/x") == "an application on your device (cursor:)"
    assert source_of("http://127.0.0.1:3/x") == "http://127.0.0.1:3"
    assert source_of("http://[::1]:3/x") == "http:"
    assert source_of("cursor://anysphere/x;'unsafe-inline'") == "cursor:"


def test_a_client_without_a_name_goes_by_where_it_is_sent() -> None:
    assert described({"redirect_uris": ["https://agents.example.com/x"]}).name == "Unnamed client (agents.example.com)"
    with pytest.raises(BadClient):
        described(json.loads('{"redirect_uris": ["https://\\u0430pple.example/"]}'))
