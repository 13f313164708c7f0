"""The caller's address: the connection's, or what a trusted proxy says, and never what the caller says of itself."""

from __future__ import annotations

import pytest

from satchel.errors import ConfigInvalid
from satchel.server.addresses import finder, networks

TRUSTED = ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32")


def found(peer: str | None, *said: str, trusted: tuple[str, ...] = TRUSTED, header: str = "x-forwarded-for") -> str:
    scope = {
        "client": None if peer is None else (peer, 1234),
        "headers": [(header.encode(), value.encode("latin-1")) for value in said],
    }
    return finder(networks(trusted), header)(scope)


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("198.51.100.1", (), "198.51.100.1"),
        ("198.51.100.1", ("203.0.113.9",), "198.51.100.1"),  # not a proxy of ours: nothing of it is believed
        ("10.1.2.3", (), "10.1.2.3"),
        ("10.1.2.3", ("203.0.113.9",), "203.0.113.9"),
        ("10.1.2.3", ("192.168.0.1, 203.0.113.9",), "203.0.113.9"),  # what stands before came from the caller
        ("10.1.2.3", ("10.0.0.1, 203.0.113.9",), "203.0.113.9"),
        ("10.1.2.3", ("203.0.113.9, 10.9.9.9",), "203.0.113.9"),  # through two proxies of ours
        ("10.1.2.3", ("203.0.113.9", "192.0.2.7"), "203.0.113.9"),  # in two header lines
        ("10.1.2.3", ("10.5.5.5",), "10.5.5.5"),  # somebody inside
        ("10.1.2.3", ("203.0.113.9, unknown",), "10.1.2.3"),
        ("10.1.2.3", ("203.0.113.9, ",), "10.1.2.3"),
        ("10.1.2.3", ("evil\r\n, 1.2.3.4.5",), "10.1.2.3"),
        ("10.1.2.3", ("203.0.113.9:4711",), "203.0.113.9"),
        ("10.1.2.3", ("[2001:db9::1]:4711",), "2001:db9::1"),
        ("2001:db8::5", ("2001:db9::1",), "2001:db9::1"),
        ("::ffff:10.1.2.3", ("203.0.113.9",), "203.0.113.9"),  # one caller has one address
        ("::ffff:198.51.100.1", (), "198.51.100.1"),
        (None, ("203.0.113.9",), ""),  # a socket without addresses
        ("@unix", ("203.0.113.9",), ""),
        ("10.1.2.3", (", ".join(["203.0.113.9"] + ["10.0.0.1"] * 100),), "10.0.0.1"),  # bounded
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy_is_the_callers(
    peer: str | None, said: tuple[str, ...], address: str
) -> None:
    assert found(peer, *said) == address


def test_without_trusted_proxies_no_header_is_looked_at() -> None:
    assert found("10.1.2.3", "203.0.113.9", trusted=()) == "10.1.2.3"


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("for=203.0.113.9;proto=https;by=10.1.2.3", "203.0.113.9"),
        ("for=192.168.0.1, FOR=203.0.113.9", "203.0.113.9"),
        ('proto=https; for="[2001:db9::1]:4711"', "2001:db9::1"),
        ("for=_hidden", "10.1.2.3"),
        ("proto=https", "10.1.2.3"),
    ],
)
def test_the_forwarded_header_is_read_where_the_operator_says_so(said: str, address: str) -> None:
    assert found("10.1.2.3", said, header="forwarded") == address


def test_the_other_header_is_the_callers_own_and_is_not_looked_at() -> None:
    scope = {
        "client": ("10.1.2.3", 1),
        "headers": [(b"forwarded", b"for=203.0.113.9"), (b"x-forwarded-for", b"1.2.3.4")],
    }
    assert finder(networks(TRUSTED), "x-forwarded-for")(scope) == "1.2.3.4"


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", ""])
def test_a_network_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigInvalid, match="trusted_proxies"):
        networks([text])
