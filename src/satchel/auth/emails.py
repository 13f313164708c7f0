"""One form of an e-mail address, so that one address is one person however it is typed.

The name is NFC in lower case (by casefold), the host is its IDNA form in lower case, so that `Zoë@Bücher.example` and
`ZOE\u0308@xn--bcher-kva.example` are the same. Characters that only look like others (full-width, ligatures and the
like) are refused rather than mapped: two people must not have addresses that look alike.
"""

from __future__ import annotations

import re
import unicodedata

import idna

from satchel.errors import InvalidInput

MAX_EMAIL_CHARACTERS = 254
"""RFC 5321, as corrected by erratum 1690 of RFC 3696."""
MAX_NAME_BYTES = 64
_NAME = re.compile(r"[^\s@\"(),:;<>\[\\\]]+")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def normal_email(text: str) -> str:
    """The form an address is stored and looked up in; raises ``InvalidInput`` for what cannot be an address."""
    text = text.strip()
    name, at, host = text.partition("@")
    if not (name and at and host) or len(text) > MAX_EMAIL_CHARACTERS:
        raise InvalidInput("this is not an e-mail address", field="email")
    email = f"{_name(name)}@{_host(host)}"
    if len(email) > MAX_EMAIL_CHARACTERS:
        raise InvalidInput(f"the e-mail address is over {MAX_EMAIL_CHARACTERS} characters", field="email")
    return email


def _name(name: str) -> str:
    typed = unicodedata.normalize("NFC", name)
    name = unicodedata.normalize("NFC", typed.casefold())
    fit = _NAME.fullmatch(name) and not name.startswith(".") and not name.endswith(".") and ".." not in name
    # Letters, marks, numbers, punctuation and signs; no controls, no invisible or bidirectional marks, no half pairs.
    plain = all(unicodedata.category(character)[0] in "LMNPS" for character in name)
    if not fit or not plain or len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidInput("the part of the e-mail address before the @ is not well-formed", field="email")
    if any(unicodedata.normalize("NFKC", text) != text for text in (typed, name)):
        raise InvalidInput("the e-mail address has characters that only look like others", field="email")
    return name


def _host(host: str) -> str:
    try:
        found = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise InvalidInput("the host of the e-mail address is not well-formed", field="email") from error
    if not _HOST.fullmatch(found) or len(found) > 253:
        raise InvalidInput("the host of the e-mail address is not well-formed", field="email")
    return found
