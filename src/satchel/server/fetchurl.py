"""Which addresses this server may be sent to by a document or a client that names them.

Rules only. A URL is taken in one spelling: `https`, a host name in ASCII with a dot in it, the port allowed, a path
without dot segments. A literal address is refused, however it is written, unless the operator's own networks hold it;
what a name stands for is judged by ``refused_address`` once it is known, and there only addresses of the public
internet pass (IANA's special-purpose registries, and every way of writing an IPv4 address inside an IPv6 one).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from satchel.errors import UsageError
from satchel.server.addresses import Address, Network

MAX_URL_CHARACTERS = 2_048
HTTPS_PORT = 443
HTTP_PORT = 80
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class FetchRefused(UsageError):
    """The address is not one this server goes to. The message says why, and nothing of what was found there."""

    code = "fetch.refused"
    default_hint = "Name an https address of the public internet, by its host name, without a redirect."


class Target(NamedTuple):
    """A URL that was read, and may be gone to once its host is known to be public."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    """With the query."""


class Reach(NamedTuple):
    """Where a fetch may go beyond the public internet; nowhere, unless the operator says so."""

    networks: Sequence[Network] = ()
    """Addresses that count as public. Plain http goes to loopback alone, and only where it is named here."""
    ports: Sequence[int] = (HTTPS_PORT,)
    """The ports of hosts that are named; a literal address of ``networks`` may have any."""

    def holds(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self.networks)


# RFC 3986 without what only confuses: brackets stand in a literal host, and nowhere else.
_TEXT = re.compile(r"[!$&'()*+,./:;=?@A-Za-z0-9_~%\[\]-]+")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The last part of a name begins with a letter: what begins with a digit may be read as an address in some base.
_NAME = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?")
_SHORT = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_DOTTED = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)

_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # between a provider and its customers
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # protocol assignments; Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
# All the rest of IPv6 is reserved, local, multicast or another way to write IPv4 (mapped, compatible, 64:ff9b::/96).
_GLOBAL_V6 = ip_network("2000::/3")
_METADATA = frozenset({ip_address("168.63.129.16")})  # Azure's, in the middle of a public network


def target(url: str, reach: Reach) -> Target:
    """Read a URL that somebody else named. Raises ``FetchRefused``."""
    if not url or len(url) > MAX_URL_CHARACTERS or not _TEXT.fullmatch(url):
        raise FetchRefused(f"the address is not a URL of at most {MAX_URL_CHARACTERS:,} plain characters")
    scheme, _, rest = url.partition("://")
    netloc = re.split("[/?]", rest, maxsplit=1)[0]
    if scheme not in ("https", "http") or not netloc:
        raise FetchRefused("the address does not begin with https:// and a host")
    if "@" in netloc:
        raise FetchRefused("the address has a user name in it")
    host, port = _host_and_port(netloc, scheme)
    literal = _literal(host)
    here = host == "localhost" and reach.holds(IPv4Address("127.0.0.1"))
    own = here or (literal is not None and reach.holds(literal))
    short = bool(reach.networks) and _SHORT.fullmatch(host) is not None and host != "localhost"
    if not own and not short and not _NAME.fullmatch(host):
        raise FetchRefused("the host of the address is not a name in the public DNS")
    if scheme == "http" and not (here or (own and literal is not None and literal.is_loopback)):
        raise FetchRefused("the address does not begin with https://")
    if port not in reach.ports and not own:
        raise FetchRefused(f"the address names port {port}, where nothing is fetched from")
    parts = urlsplit(url)
    if _DOTS.search(parts.path):
        raise FetchRefused("the address has a dot segment in its path")
    return Target(url, scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def refused_address(address: Address, reach: Reach) -> bool:
    """Whether an address that a name stands for is one not to connect to."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return True
    if reach.holds(address):
        return False
    if address in _METADATA or (isinstance(address, IPv6Address) and address not in _GLOBAL_V6):
        return True
    return any(address.version == network.version and address in network for network in _NOT_PUBLIC)


def _host_and_port(netloc: str, scheme: str) -> tuple[str, int]:
    if netloc.startswith("["):
        host, closed, port = netloc[1:].partition("]")
        port = port[1:] if port.startswith(":") and port[1:] else port
        if not closed or ":" not in host:
            raise FetchRefused("the host of the address is not well-formed")
    else:
        host, colon, port = netloc.partition(":")
        if colon and not port:
            raise FetchRefused("the address names no port after its colon")
    if not port:
        return host.lower(), HTTPS_PORT if scheme == "https" else HTTP_PORT
    if not _PORT.fullmatch(port) or int(port) > 65_535:
        raise FetchRefused("the port of the address is not a number from 1 to 65535")
    return host.lower(), int(port)


def _literal(host: str) -> Address | None:
    """The address that a host is, in the one spelling taken; None for anything else."""
    if ":" not in host and not _DOTTED.fullmatch(host):
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None
