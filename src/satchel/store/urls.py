"""Which object store a URL names.

    file:///directory                                   made if absent
    memory://                                           forgets with the process
    s3://bucket[/prefix]?endpoint=&region=&path_style=&profile=&allow_http=
    gs://bucket[/prefix]
    az://account/container[/prefix]?endpoint=&allow_http=

A URL never holds a secret: it is shown in settings and logs. Credentials come from where each service's own tools find
them; ``docs/guide/storage.md`` tells.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from satchel.errors import ConfigInvalid
from satchel.store.bucketurl import FORMS, SERVICES, bucket_place, shown_word
from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import MemoryStore, ObjectStore

WAIT_SECONDS = 20.0
"""How long an operation on a bucket may take, repetitions included, unless somebody says otherwise."""


def open_store(url: str, wait_seconds: float = WAIT_SECONDS) -> ObjectStore:
    """The store that a URL names. Nothing is asked of a bucket yet: ``check`` does.

    ``wait_seconds`` bounds an operation on a bucket; a request of it may take 0.4 of that, so that a second one fits.

    Raises ``ConfigInvalid`` for a URL of no form above, ``StoreUnavailable`` or ``DiskFull`` if a directory cannot be
    used. Errors never repeat the URL, which may hold a secret by mistake.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigInvalid("the URL of the object store cannot be read", hint=FORMS) from None
    if parts.scheme in SERVICES:
        # Here, since a server whose objects rest on its own disk has no use for obstore.
        from satchel.store.bucket import open_bucket

        return open_bucket(bucket_place(url), wait_seconds)
    if not parts.scheme:
        raise ConfigInvalid("the place of the object store is no URL", hint=FORMS)
    if parts.query or parts.fragment:
        raise ConfigInvalid(f"a store at {shown_word(parts.scheme)} takes no options", hint=FORMS)
    if parts.scheme == "memory" and not parts.netloc and parts.path in {"", "/"}:
        return MemoryStore()
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return LocalStore(Path(unquote(parts.path)))
    raise ConfigInvalid(f"the URL of the object store, {shown_word(parts.scheme)}, has no form known here", hint=FORMS)
