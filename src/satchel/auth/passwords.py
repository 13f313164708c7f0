"""Passwords, stored as argon2id in its standard text form, which carries its own parameters."""

from __future__ import annotations

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from satchel.errors import InvalidInput

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_BYTES = 1_024
"""More would only make the hash slow; no person types it."""

# The low-memory recommendation of RFC 9106: 64 MiB, 3 passes, 4 lanes. It takes about 50 ms of one core, so
# run it in a thread.
_HASHER = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4, type=Type.ID)


def check_password(password: str) -> str:
    """Return a password fit to be set; raises ``InvalidInput`` when it is too short or too long."""
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise InvalidInput(f"the password needs at least {MIN_PASSWORD_CHARACTERS} characters")
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidInput(f"the password is over {MAX_PASSWORD_BYTES:,} bytes")
    return password


def hash_password(password: str) -> str:
    """The argon2id text to store."""
    return _HASHER.hash(password)


def verify_password(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one behind ``stored``.

    With ``stored`` None (no such person, or none set) it does the same work and returns False, so that the time
    taken does not tell who has an account.
    """
    if len(password.encode("utf-8", "replace")) > MAX_PASSWORD_BYTES:
        return False
    try:
        _HASHER.verify(stored or _DUMMY, password)
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def outdated(stored: str) -> bool:
    """Whether ``stored`` was made with other parameters and should be made anew at the next sign-in."""
    return _HASHER.check_needs_rehash(stored)


# The hash of a random string nobody kept, made with the parameters above.
_DUMMY = "$argon2id$v=19$m=65536,t=3,p=4$X5lBOpq+oZJwZys9MxgT4w$O1dGAQ5+vuRQr39y5ZWPxNoALMfLI8PNZRSCIymhtt0"
