"""What is said when a database does not do what was asked: away, busy, full, read-only, damaged.

A defect (a constraint that was not expected, a statement that is wrong) passes as it is.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from satchel.errors import Damaged, DiskFull, Refused, SatchelError, StartRefused, Unavailable

_DAMAGED = ("malformed", "unsupported file format", "decode to UTF-8", "no such column")
"""What SQLite says of a file whose pages, texts or definitions are not what was written."""
_NOT_NOW = frozenset({"08", "53", "57", "40", "55", "58", "25", "3D", "28"})
"""Classes of PostgreSQL's error codes (appendix A of its manual) that another try may find gone: connections,
resources, an operator at work, a lock or deadlock, the system, a transaction that ended or may only read, a database
or role that is not there or not let in (yet)."""
_NOT_LET_IN = {
    "28P01": "the database refuses the role, or its password",
    "28000": "the database does not let the role in from here",
    "3D000": "there is no such database",
}
ADDRESS_HINT = (
    "Compare SATCHEL_DATABASE_URL, and for `satchel admin migrate` SATCHEL_DATABASE_OWNER_URL, with the database."
)
_TLS_HINT = "Compare sslmode and sslrootcert of the catalog's address with how the database does TLS."
_POOLER_HINT = (
    "The same request may succeed later. The pooler's log says why: a role, password or database that it does not know "
    "(SATCHEL_DATABASE_URL), too many clients, or no connection in time."
)
_POOLER = "08P01"
"""A violation of the protocol, by the book: with this pgbouncer refuses whatever it refuses."""
_NOT_PREPARED = ("26000", "42P05")
_NO_TABLE, _FULL, _CORRUPTED = "42P01", "53100", ("XX001", "XX002")


class CatalogUnavailable(Unavailable):
    code = "catalog.unavailable"
    default_hint = "The catalog does not answer or is too busy: the same request may succeed later."


class CatalogInUse(Refused):
    code = "catalog.in_use"
    default_hint = "Stop every server and `satchel admin` of this installation, and try again."


class CatalogDamaged(Damaged):
    code = "catalog.damaged"
    default_hint = "Stop the server and restore the catalog from a backup."


@contextmanager
def answered() -> Iterator[None]:
    """Around one exchange with a database: a lost connection, or no answer in time, is ``CatalogUnavailable``."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise CatalogUnavailable("the database's certificate is not the one to trust", hint=_TLS_HINT) from error
    except socket.gaierror as error:
        raise CatalogUnavailable("the name of the database's host does not resolve", hint=ADDRESS_HINT) from error
    except OSError as error:  # TimeoutError is one
        if "rejected SSL upgrade" in str(error):  # the driver has no class for it
            raise CatalogUnavailable("the database speaks no TLS, and sslmode asks for it", hint=_TLS_HINT) from error
        raise CatalogUnavailable("the catalog does not answer") from error


@contextmanager
def translated() -> Iterator[None]:
    """Around a scope: tell what a database complains of. Raises ``CatalogUnavailable``, ``CatalogDamaged``,
    ``DiskFull`` or ``StartRefused``."""
    try:
        yield
    except PoolTimeout as error:
        raise CatalogUnavailable("the catalog is too busy") from error
    except IntegrityError:
        raise
    except UnicodeDecodeError as error:  # a complaint of SQLite that quotes damaged bytes
        raise CatalogDamaged("the catalog's file is damaged") from error
    except Exception as error:
        complaint = error.orig if isinstance(error, DBAPIError) else error
        told = _told(complaint)
        if told is None:
            raise
        raise told from error


def _told(complaint: BaseException | None) -> SatchelError | None:
    home = type(complaint).__module__.partition(".")[0]
    if home == "sqlite3":
        return _of_sqlite(str(complaint))
    if home == "asyncpg" or hasattr(complaint, "sqlstate"):
        return _of_postgres(getattr(complaint, "sqlstate", None))
    return None


def _of_sqlite(reason: str) -> SatchelError | None:
    if "not a database" in reason:
        return StartRefused(
            "the catalog's file is not a catalog",
            hint="Restore the file from a backup, or set the catalog's address to the right one.",
        )
    if any(sign in reason for sign in _DAMAGED):
        return CatalogDamaged("the catalog's file is damaged")
    if "disk is full" in reason:
        return DiskFull("the disk that holds the catalog is full")
    if any(sign in reason for sign in ("locked", "unable to open", "disk I/O", "readonly", "no such table")):
        return CatalogUnavailable("the catalog does not answer")
    return None


def _of_postgres(state: str | None) -> SatchelError | None:
    """``state`` is an SQLSTATE; None where the driver itself complains, which it does of connections."""
    if state is None:
        return CatalogUnavailable("the catalog does not answer")
    if state == _FULL:
        return DiskFull("the disk that holds the catalog is full")
    if state in _CORRUPTED:
        return CatalogDamaged("the database says that its data is damaged")
    if state in _NOT_PREPARED:
        return CatalogUnavailable(
            "the database does not know a statement that was prepared on the same connection",
            hint="A pooler hands out its connections in turn: write ?pooler=transaction behind SATCHEL_DATABASE_URL.",
        )
    if state == _POOLER:
        return CatalogUnavailable("the pooler before the database does not take this", hint=_POOLER_HINT)
    if state in _NOT_LET_IN:
        return CatalogUnavailable(_NOT_LET_IN[state], hint=ADDRESS_HINT)
    if state == _NO_TABLE or state[:2] in _NOT_NOW:
        return CatalogUnavailable("the catalog does not take this now")
    return None
