"""The text of API keys and refresh tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from satchel.auth.keys import KEY_PATTERN, key_mac, make_key, make_refresh, parse_key, parse_refresh, redacted
from satchel.errors import CredentialInvalid
from satchel.objects.ids import PrincipalId, TenantId, new_id

TENANT = TenantId(new_id("ten", bytes(range(16))))
KEY = PrincipalId(new_id("key", bytes(range(16, 32))))
SECRET = bytes(range(32))
TEXT = make_key(TENANT, KEY, SECRET)


def test_a_key_names_its_tenant_and_itself_in_clear() -> None:
    assert parse_key(TEXT) == (TENANT, KEY)


def test_the_form_of_a_key_never_changes() -> None:
    assert TEXT == (
        "stl_live_00041061050r3gg28a1c60t3gf_0g2491650n2rbhg68t3ce1t7gz"
        "_aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypqwpbndfa"
    )


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_every_key_is_read_back_and_found_inside_other_text(tenant: bytes, own: bytes, secret: bytes) -> None:
    text = make_key(TenantId(new_id("ten", tenant)), PrincipalId(new_id("key", own)), secret)
    assert parse_key(text) == (new_id("ten", tenant), new_id("key", own))
    assert [match[0] for match in KEY_PATTERN.finditer(f"authorization: Bearer {text}, and more")] == [text]


@given(st.integers(min_value=0, max_value=len(TEXT) - 1), st.characters(codec="utf-8"))
@settings(max_examples=100)
def test_a_mistyped_key_is_told_without_a_look_up(place: int, typed: str) -> None:
    wrong = TEXT[:place] + typed + TEXT[place + 1 :]
    if wrong != TEXT:
        with pytest.raises(CredentialInvalid):
            parse_key(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stl_live_",
        TEXT[:-1],
        TEXT + "a",
        TEXT + "\n",
        " " + TEXT,
        TEXT.upper(),
        "x" * 1_000_000,
        TEXT.replace("_", "-"),
    ],
)
def test_anything_else_is_not_a_key(text: str) -> None:
    with pytest.raises(CredentialInvalid):
        parse_key(text)


def test_a_refresh_token_is_not_a_key_and_a_key_is_not_a_refresh_token() -> None:
    refresh = make_refresh(TENANT, new_id("fam", bytes(16)), SECRET)
    assert parse_refresh(refresh) == (TENANT, new_id("fam", bytes(16)))
    with pytest.raises(CredentialInvalid):
        parse_key(refresh)
    with pytest.raises(CredentialInvalid):
        parse_refresh(TEXT)


@pytest.mark.parametrize(
    ("tenant", "key", "secret"), [("ten_1", KEY, SECRET), (TENANT, "key_!", SECRET), (TENANT, KEY, b"short")]
)
def test_a_key_is_made_of_whole_ids_and_a_whole_secret(tenant: str, key: str, secret: bytes) -> None:
    with pytest.raises(ValueError, match="a credential"):
        make_key(TenantId(tenant), PrincipalId(key), secret)


def test_the_stored_hash_depends_on_the_pepper_and_on_every_character() -> None:
    hashes = {
        key_mac(b"a" * 32, TEXT),
        key_mac(b"b" * 32, TEXT),
        key_mac(b"a" * 32, TEXT + " "),
        key_mac(b"a" * 32, ""),
    }
    assert len(hashes) == 4
    assert all(len(mac) == 32 for mac in hashes)


def test_what_is_told_again_is_told_without_credentials() -> None:
    token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJrZXlfMSJ9.c2lnbmF0dXJlIG9mIHRoZSBzZXJ2ZXI"
    code = TEXT.replace("_live_", "_code_")
    for secret in (TEXT, make_refresh(TENANT, new_id("fam", bytes(16)), SECRET), token, code, "stl_device_" + "a" * 52):
        assert redacted(f"there is no parameter '{secret}' here") == "there is no parameter '[a credential]' here"
    assert redacted("stl_live_ and eyJ are no credentials") == "stl_live_ and eyJ are no credentials"


@pytest.mark.parametrize("page", ["spec/credentials.md", "guide/credentials.md"])
def test_the_pattern_for_secret_scanners_is_published_as_it_is(page: str) -> None:
    published = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")
    (written,) = {line for line in published.splitlines() if line.startswith("stl_(?:")}
    found = re.compile(written)
    for secret in (TEXT, make_refresh(TENANT, new_id("fam", bytes(16)), SECRET)):
        assert found.fullmatch(secret)
        assert KEY_PATTERN.fullmatch(secret)
        assert not found.search(secret[:-1])
    assert written.replace("{59}", "{52}[a-z2-7]{7}") == KEY_PATTERN.pattern
