"""Where a request came from, for the audit and for limits: never what a client says of itself.

It is the address at the other end of the connection. Only where that is one of the operator's own proxies
(``trusted_proxies``) its header is read, from the end, where the nearest proxy wrote: the first address that is not a
trusted proxy is the caller's. What stands before it came from the caller and is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

from satchel.errors import ConfigInvalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
MAX_HOPS = 32
"""Proxies looked through; one request names more only to waste time."""
FORWARDED = "forwarded"


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks named in CIDR form or as single addresses. Raises ``ConfigInvalid``."""
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigInvalid(
            f"trusted_proxies: {error}", hint="Name networks or addresses, such as 10.0.0.0/8 or 192.0.2.7."
        ) from error


def finder(trusted: Sequence[Network], header: str) -> Callable[[Scope], str]:
    """Finds the address of the caller of an ASGI request, an empty text where it has none."""
    name = header.encode()
    parse = _of_forwarded if header == FORWARDED else _of_plain

    def find(scope: Scope) -> str:
        client = scope.get("client")
        peer = _address(client[0]) if client else None
        if peer is None:
            return ""
        if not trusted or not _among(peer, trusted):
            return str(peer)
        said = b",".join(value for key, value in scope["headers"] if key == name).decode("latin-1")
        nearest = peer
        for text in reversed(said.rsplit(",", MAX_HOPS)[-MAX_HOPS:] if said else ()):
            hop = parse(text)
            if hop is None:
                break  # the proxy does not know, or says it in a way that cannot be followed
            nearest = hop
            if not _among(hop, trusted):
                break
        return str(nearest)

    return find


def trust(trusted: Sequence[Network]) -> Callable[[Scope], bool]:
    """Tells whether one of the operator's own proxies sends an ASGI request."""

    def trusts(scope: Scope) -> bool:
        client = scope.get("client") if trusted else None
        peer = _address(client[0]) if client else None
        return peer is not None and _among(peer, trusted)

    return trusts


def _among(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _of_forwarded(text: str) -> Address | None:
    """The ``for`` of one element of a Forwarded header (RFC 7239)."""
    for pair in text.split(";"):
        name, _, value = pair.strip().partition("=")
        if name.lower() == "for":
            return _of_plain(value.strip('"'))
    return None


def _of_plain(text: str) -> Address | None:
    """One element of X-Forwarded-For: an address, which some proxies write with the port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return _address(text)


@lru_cache(maxsize=1_024)  # of the peers, above all: there are few, and each is asked for at every request
def _address(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows IPv4 as ::ffff:192.0.2.1: one caller has one address.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
