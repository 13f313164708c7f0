"""Rules from claims to places, and keys of others, as values."""

from __future__ import annotations

import pytest

from satchel.auth.federation import placed, read_keys, read_rules
from satchel.auth.roles import TenantRole
from satchel.errors import ConfigInvalid

RULES = read_rules(
    [
        "groups:devs=acme:member",
        "groups:leads=acme:admin",
        "dept:7=beta:owner",
        "mail:a:b=c@x=acme:owner",
        "*=open:member",
    ]
)


@pytest.mark.parametrize(
    ("claims", "places"),
    [
        ({}, {"open": "member"}),
        ({"groups": ["devs"]}, {"open": "member", "acme": "member"}),
        ({"groups": ["leads", "devs"]}, {"open": "member", "acme": "admin"}),
        ({"groups": "leads"}, {"open": "member", "acme": "admin"}),
        ({"dept": 7}, {"open": "member", "beta": "owner"}),
        ({"dept": ["7"]}, {"open": "member", "beta": "owner"}),
        ({"dept": 7.0}, {"open": "member"}),
        ({"mail": "a:b=c@x"}, {"open": "member", "acme": "owner"}),
        ({"groups": {"devs": True}}, {"open": "member"}),
        ({"groups": [["devs"], {"x": "devs"}, None]}, {"open": "member"}),
        ({"groups": ["x"] * 1_000 + ["devs"]}, {"open": "member"}),  # beyond what is looked at
        ({"Groups": ["devs"]}, {"open": "member"}),
    ],
)
def test_claims_bring_the_places_that_rules_say_and_no_others(
    claims: dict[str, object], places: dict[str, str]
) -> None:
    assert placed(RULES, claims) == {tenant: TenantRole(role) for tenant, role in places.items()}


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "acme:member", "groups=acme:member", "groups:=acme:member", ":x=acme:member", "groups:x=acme",
        "groups:x=:member", "groups:x=acme:king", "*:x=acme:member", "*=acme:", "*",
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_whole(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        read_rules(["*=acme:member", text])


def test_of_a_set_of_keys_those_that_can_verify_are_read_and_the_others_left_out() -> None:
    rows: list[object] = [
        None, 1, {}, {"kty": "oct", "k": "AAAA"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": ["EC"]},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "use": "enc"},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "good"},
    ]  # fmt: skip
    assert [key.kid for key in read_keys({"keys": rows})] == ["good"]
    assert read_keys({}) == read_keys({"keys": {}}) == ()
    assert len(read_keys({"keys": rows[-1:] * 80})) == 50
