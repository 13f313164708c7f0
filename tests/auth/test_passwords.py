"""Passwords at rest."""

from __future__ import annotations

import pytest

from satchel.auth.passwords import check_password, hash_password, outdated, verify_password
from satchel.errors import InvalidInput

GOOD = "a long enough passphrase"


def test_only_the_right_password_verifies_and_no_two_hashes_are_alike() -> None:
    first, second = hash_password(GOOD), hash_password(GOOD)
    assert first != second
    assert first.startswith("$argon2id$")
    assert GOOD not in first
    assert verify_password(first, GOOD)
    assert not verify_password(first, GOOD + " ")
    assert not outdated(first)


@pytest.mark.parametrize("stored", [None, "", "not a hash", "$argon2id$v=19$broken"])
def test_nobody_signs_in_where_no_password_is_set(stored: str | None) -> None:
    assert not verify_password(stored, GOOD)
    assert not verify_password(stored, "")


def test_a_hash_made_with_weaker_parameters_is_noticed() -> None:
    weak = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$uuQ8cYxlGmOFAo2oEBYk4g"
    assert outdated(weak)


@pytest.mark.parametrize("password", ["short", "elevenchars", "x" * 1_025, "é" * 513])
def test_a_password_has_a_least_and_a_greatest_length(password: str) -> None:
    with pytest.raises(InvalidInput):
        check_password(password)
    assert check_password(GOOD) == GOOD


def test_a_password_too_long_to_be_set_is_not_even_hashed() -> None:
    assert not verify_password(hash_password(GOOD), "x" * 10_000_000)
