"""Passwords, stored as argon2id in its standard text form, which carries its own parameters."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable
from itertools import pairwise

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from satchel.errors import InvalidInput

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_BYTES = 1_024
"""More would only make the hash slow; no person types it."""
FEWEST_DIFFERENT = 5
LONGEST_PIECE = 6
"""A password that repeats a piece as short as this is as easily guessed as the piece."""
FEWEST_BESIDE = 9
"""Characters a password needs beside a word that is often used, or that somebody else knows of its owner."""
_ENDS = " 0123456789!@#$%^&*?.,:;_+=-"

# The low-memory recommendation of RFC 9106: 64 MiB, 3 passes, 4 lanes. It takes about 50 ms of one core, so
# run it in a thread.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4, type=Type.ID)


def check_password(password: str, *, common: Container[str] = (), own: Iterable[str] = ()) -> str:
    """Return a password fit to be set, as NIST SP 800-63B has it: long enough, and none that is guessed first.

    ``common`` are passwords known from breaches, in lower case; ``own`` are words that others connect with the person,
    such as the name in the e-mail address. Nothing else is asked of it: no digits, no signs, no change every month.
    Raises ``InvalidInput``, which says what is wrong and never what was given.
    """
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise InvalidInput(f"the password needs at least {MIN_PASSWORD_CHARACTERS} characters", field="password")
    if len(_bytes(password)) > MAX_PASSWORD_BYTES:
        raise InvalidInput(f"the password is over {MAX_PASSWORD_BYTES:,} bytes", field="password")
    why = _guessed_first(unicodedata.normalize("NFKC", password).casefold(), common, own)
    if why:
        raise InvalidInput(
            f"the password {why}", hint="Take a few words that do not belong together.", field="password"
        )
    return password


def _guessed_first(text: str, common: Container[str], own: Iterable[str]) -> str:
    """Why a password is among those tried first, empty if it is not."""
    core = text.strip(_ENDS)
    if text in common or (core in common and len(text) - len(core) < FEWEST_BESIDE):
        return "is one that many people use"
    if len(set(text)) < FEWEST_DIFFERENT:
        return f"has fewer than {FEWEST_DIFFERENT} different characters"
    if 0 < (text + text).find(text, 1) <= LONGEST_PIECE:
        return "is a short piece again and again"
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    if steps in ({1}, {-1}):
        return "is a row of the alphabet"
    for word in own:
        known = unicodedata.normalize("NFKC", word).casefold()
        if len(known) > 3 and known in text and len(text) - len(known) < FEWEST_BESIDE:
            return "is little more than a name that others know"
    return ""


def _bytes(password: str) -> bytes:
    """One password in one form, however the keyboard composed it; half a character as a mark, which matches none."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "replace")


def hash_password(password: str) -> str:
    """The argon2id text to store."""
    return _HASHER.hash(_bytes(password))


def verify_password(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one behind ``stored``.

    With ``stored`` None (no such person, or none set) it does the same work and returns False, so that the time
    taken does not tell who has an account.
    """
    if len(password) > MAX_PASSWORD_BYTES or len(_bytes(password)) > MAX_PASSWORD_BYTES:
        return False
    try:
        _HASHER.verify(stored or _DUMMY, _bytes(password))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def outdated(stored: str) -> bool:
    """Whether ``stored`` was made with other parameters and should be made anew at the next sign-in."""
    return _HASHER.check_needs_rehash(stored)


# The hash of a random string nobody kept, made with the parameters above.
_DUMMY = "$argon2id$v=19$m=65536,t=3,p=4$X5lBOpq+oZJwZys9MxgT4w$O1dGAQ5+vuRQr39y5ZWPxNoALMfLI8PNZRSCIymhtt0"
