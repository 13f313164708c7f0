"""One form of an address: whatever is taken has one, and nothing that looks like another's is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from satchel.auth.emails import MAX_EMAIL_CHARACTERS, normal_email
from satchel.errors import InvalidInput


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Ann@Example.ORG", "ann@example.org"),
        ("  ann@example.org\t", "ann@example.org"),
        ("ANN+tag.x@example.org", "ann+tag.x@example.org"),
        ("o'brien@example.org", "o'brien@example.org"),
        ("STRA\u1e9eE@example.org", "strasse@example.org"),
        ("zoe\u0308@example.org", "zo\u00eb@example.org"),
        (
            "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2@example.org",
            "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3@example.org",
        ),
        ("ann@B\u00dcCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@xn--BCHER-KVA.example", "ann@xn--bcher-kva.example"),
        ("ann@localhost", "ann@localhost"),
        ("\u7528\u6237@\u4f8b\u5b50.example", "\u7528\u6237@xn--fsqu00a.example"),
    ],
)
def test_an_address_has_one_form_however_it_is_typed(typed: str, kept: str) -> None:
    assert normal_email(typed) == kept
    assert normal_email(kept) == kept


@pytest.mark.parametrize(
    "text",
    [
        "ann", "@example.org", "ann@", "a@b@example.org", "a b@example.org", "a\u00a0b@example.org",
        "a\u200bb@example.org", "a\u202eb@example.org", "a\x00b@example.org", "a\nb@example.org", ".ann@example.org",
        "ann.@example.org", "a..b@example.org", '"a b"@example.org', "a<b>@example.org", "a,b@example.org",
        "\ufb01n@example.org", "\uff21nn@example.org", "\u2460@example.org", "\ud800@example.org", "a@example..org",
        "a@.example.org", "a@example.org.", "a@-example.org", "a@example-.org", "a@exa_mple.org", "a@[127.0.0.1]",
        "a@exam ple.org", "a@ex\u00adample\u2044.org", "a@" + "b" * 64 + ".org", "a" * 65 + "@example.org",
        "\u00e9" * 33 + "@example.org", "a@" + "b." * 130 + "org",
    ],
)  # fmt: skip
def test_what_is_no_address_or_looks_like_another_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        normal_email(text)


@given(st.text(max_size=80), st.text(max_size=80))
def test_what_is_taken_is_its_own_form_and_bounded(name: str, host: str) -> None:
    try:
        kept = normal_email(f"{name}@{host}")
    except InvalidInput:
        return
    assert normal_email(kept) == kept
    assert len(kept) <= MAX_EMAIL_CHARACTERS
    assert kept.isprintable()
