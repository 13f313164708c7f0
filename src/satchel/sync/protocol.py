"""Which protocols two Satchels speak with each other: PURE.

The number names the whole of what a client relies on below ``/api/v1``: paths, fields, streams, and what they mean. It
is raised by a change that a peer of the release before cannot ignore, never by an addition. Each side says a range, the
server takes the newest number in both, and where there is none both say who has to be upgraded. Who says nothing, as
curl does, is answered by the newest. A server that says nothing speaks 1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from satchel.errors import ProtocolUnknown

HEADER = "satchel-protocol"
"""Of a request: the range its sender speaks. Of an answer: the number it is in, or the server's range if it refused."""
_RANGE = re.compile(r"([1-9][0-9]{0,3})(?:-([1-9][0-9]{0,3}))?")


class Protocols(NamedTuple):
    """All numbers from ``oldest`` to ``newest``; as text ``2`` or ``2-4``."""

    oldest: int
    newest: int

    def __str__(self) -> str:
        return str(self.newest) if self.oldest == self.newest else f"{self.oldest}-{self.newest}"


OWN = Protocols(1, 1)


def parse(said: str) -> Protocols | None:
    """What a header says; ``None`` if it is no range."""
    found = _RANGE.fullmatch(said)
    if found is None:
        return None
    told = Protocols(int(found[1]), int(found[2] or found[1]))
    return told if told.oldest <= told.newest else None


def agree(said: str, own: Protocols = OWN) -> int:
    """As the server: the number to answer in. Raises ``ProtocolUnknown``."""
    client = parse(said)
    if client is None:
        raise ProtocolUnknown(
            "the header Satchel-Protocol holds no range of protocols", hint="Send one such as 1, or 1-2."
        )
    number = min(client.newest, own.newest)
    if number < max(client.oldest, own.oldest):
        behind = client.newest < own.oldest
        raise ProtocolUnknown(
            f"this client speaks protocol {client}, and this server {own}",
            hint="Upgrade satchel where it asks." if behind else "Upgrade the server, or ask with an older satchel.",
        )
    return number


def expect(said: str | None, own: Protocols = OWN) -> None:
    """As the client: whether an answer that succeeded is one we understand. Raises ``ProtocolUnknown``."""
    server = parse("1" if said is None else said)
    if server is None or not own.oldest <= server.oldest <= server.newest <= own.newest:
        behind = server is not None and server.newest < own.oldest
        raise ProtocolUnknown(
            f"this satchel speaks protocol {own}, and the server answered in {server or 'none that has a number'}",
            hint="Upgrade the server, or ask with an older satchel." if behind else "Upgrade satchel on this machine.",
        )
