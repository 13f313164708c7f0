"""Passwords that may be set here: the rules of ``auth.passwords`` with the list that comes with Satchel.

The list has some 11,000 passwords from published breaches, in lower case, one a line: those of at least 12 characters,
and the most common words of the shorter ones, which people make long by adding digits. It was made from the frequency
list of zxcvbn (Dropbox, MIT licence). Nobody is asked over the network.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from satchel.auth.passwords import check_password, hash_password

if TYPE_CHECKING:
    from satchel.server.cloud import Cloud

PRODUCT = "satchel"


def fit_password(password: str, email: str) -> str:
    """Return a password that the person with this address may have. Raises ``InvalidInput``."""
    name, _, host = email.partition("@")
    return check_password(password, common=_common(), own=(PRODUCT, name, host.partition(".")[0], email))


async def hashed(cloud: Cloud, password: str, email: str) -> str:
    """What to store of a password that may be set. Raises ``InvalidInput``, and ``TooManyRequests`` where many wait."""
    fit = fit_password(password, email)
    async with cloud.sign_in.place():
        return await asyncio.to_thread(hash_password, fit)


@cache
def _common() -> frozenset[str]:
    text = resources.files("satchel.server").joinpath("common_passwords.txt").read_text(encoding="ascii")
    return frozenset(text.split())
