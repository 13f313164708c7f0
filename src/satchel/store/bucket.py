"""Objects in a bucket of S3, Google Cloud Storage or Azure Blob Storage, through obstore.

Each put is one request, whatever its size, and the service makes it durable and visible at once. Requests that may
succeed when repeated are, a bounded number of times with growing random pauses. What a request did whose answer was
lost is not known: replacing and deleting are simply repeated, and when the repeated creation of an object hears that
it exists, the object's bytes tell whether it was this writer who made it, since no two seals are equal.
"""

from __future__ import annotations

import asyncio
import atexit
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from satchel.errors import ConfigInvalid, DiskFull, SatchelError, StartRefused, StoreMissing, StoreUnavailable
from satchel.store.bucketurl import BucketPlace
from satchel.store.objectstore import (
    StoredObject,
    StoreExists,
    checked_name,
    checked_prefix,
    checked_range,
    is_name,
)
from satchel.store.profile import Profile
from satchel.store.refusal import Meaning, Refusal, refusal

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import AzureConfig, ClientConfig, RetryConfig, S3Config

Result = TypeVar("Result")
Client = S3Store | GCSStore | AzureStore

CONCURRENCY = 16
"""Most requests under way at once: with packs of 8 MiB, 128 MiB of bodies."""
ATTEMPTS = 4
PAUSE_SECONDS = 0.1
"""Twice this is the longest pause before the second attempt. It doubles with each, and each is a random part of it."""
CONNECT_SECONDS = 5
REQUEST_PART = 0.4
"""The part of the time of an operation that one request may take, so that there is time for a second one."""
LAST_START_PART = 0.5
"""No attempt begins after this part."""
RETRY_AFTER_SECONDS = 5
CHECK_FOLDER = "store-check"
LIST_PAGE = 1_000
EXIT_SECONDS = 0.1
_FAILURES = (BaseError, OSError, ValueError, TimeoutError)
_UNSURE = "It is not known whether the last write happened: the same write can be sent again."

# A thread of obstore's may still be handing over its last result when the interpreter ends, and Python then aborts the
# process (27 of 60 that ended right after a request did, and none with this). It needs the interpreter for a moment.
atexit.register(time.sleep, EXIT_SECONDS)


def open_bucket(place: BucketPlace, wait_seconds: float) -> BucketStore:
    """The store in a bucket. Asks nothing of it yet. Raises ``ConfigInvalid``."""
    options: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(CONNECT_SECONDS, wait_seconds * REQUEST_PART)),
        "timeout": timedelta(seconds=wait_seconds * REQUEST_PART),  # to the last byte of the answer
        "allow_http": place.allow_http,
    }
    once: RetryConfig = {"max_retries": 0}  # only a loop of our own knows what was attempted
    try:
        client = _client(place, options, once)
    except _FAILURES:  # whose message may repeat what it cannot read
        raise ConfigInvalid(
            f"what the environment says about {place.shown} cannot be understood",
            hint="Check the variables AWS_…, GOOGLE_… or AZURE_… and the files that they name; the guide, storage.",
        ) from None
    return BucketStore(client, place.shown, wait_seconds)


def _client(place: BucketPlace, options: ClientConfig, once: RetryConfig) -> Client:
    prefix = place.prefix or None
    if place.service == "gs":
        return GCSStore(place.bucket, prefix=prefix, client_options=options, retry_config=once)
    if place.service == "s3":
        return _s3(place, options, once)
    told: AzureConfig = {"account_name": place.account}
    if place.endpoint:
        told["endpoint"] = place.endpoint
    return AzureStore(place.bucket, prefix=prefix, config=told, client_options=options, retry_config=once)


def _s3(place: BucketPlace, options: ClientConfig, once: RetryConfig) -> S3Store:
    told: S3Config = {"virtual_hosted_style_request": not place.path_style, "disable_bulk_delete": True}
    if place.endpoint:
        scheme, _, rest = place.endpoint.partition("://")
        told["endpoint"] = place.endpoint if place.path_style else f"{scheme}://{place.bucket}.{rest}"
    if place.region:
        told["region"] = place.region
    credentials = Profile(place.profile, Path.home() / ".aws" / "credentials") if place.profile else None
    if credentials is not None:
        credentials()  # a profile that is not there is told at once
    return S3Store(
        place.bucket,
        prefix=place.prefix or None,
        config=told,
        client_options=options,
        retry_config=once,
        credential_provider=credentials,
    )


class BucketStore:
    """An object store in a bucket."""

    def __init__(self, client: Client, place: str, wait_seconds: float) -> None:
        """``place`` is the bucket as people call it; ``client`` must not retry by itself."""
        self._client, self._place, self._wait = client, place, wait_seconds
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self._random = secrets.SystemRandom()

    async def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        checked_name(name)

        async def put() -> None:
            await obstore.put_async(
                self._client, name, data, mode="create" if create else "overwrite", use_multipart=False
            )

        async def made_by_us(refused: Refusal) -> None:
            if refused.meaning is not Meaning.EXISTS or await self.get(name) != data:
                raise self._told(refused, name)

        await self._attempt(name, put, unsure=made_by_us if create else None)

    async def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        checked_name(name)
        if offset < 0 or (length is not None and length < 0):
            checked_range(name, 0, offset, length)
        if length == 0:
            return await self._nothing_of(name, offset, length)
        options: GetOptions = {}
        if length is not None:
            options["range"] = (offset, offset + length)
        elif offset:
            options["range"] = {"offset": offset}

        async def get() -> bytes | None:
            try:
                answer = await obstore.get_async(self._client, name, options=options)
                return bytes(await answer.bytes_async())
            except _FAILURES as error:
                if refusal(error, self._place).meaning is Meaning.BEYOND:
                    return None
                raise

        data = await self._attempt(name, get)
        if data is None:
            return await self._nothing_of(name, offset, length)
        if length is not None and len(data) != length:
            checked_range(name, offset + len(data), offset, length)
        return data

    async def delete(self, name: str) -> None:
        checked_name(name)

        async def delete() -> None:
            try:
                await obstore.delete_async(self._client, name)
            except _FAILURES as error:
                if refusal(error, self._place).meaning is not Meaning.MISSING:
                    raise

        await self._attempt(name, delete)

    async def list(self, prefix: str) -> AsyncIterator[StoredObject]:
        """As the seam says. Holds the whole listing, about 300 bytes for each object."""
        checked_prefix(prefix)

        async def list_() -> list[StoredObject]:
            folder = prefix.rpartition("/")[0]
            found = []
            async for page in obstore.list(self._client, folder or None, chunk_size=LIST_PAGE):
                for each in page:
                    name = each["path"]
                    if name.startswith(prefix) and is_name(name):
                        modified = int(each["last_modified"].timestamp() * 1000)
                        found.append(StoredObject(name, each["size"], modified))
            return sorted(found)  # not every service that speaks S3 lists in the order of S3

        for stored in await self._attempt(prefix, list_):
            yield stored

    async def check(self) -> None:
        """Write, read, list and delete one small object. Raises ``StartRefused`` where a person has to mend something.

        What is written is new each time, so that nothing between can answer with what was there before.
        """
        name, content = f"{CHECK_FOLDER}/{secrets.token_hex(16)}", secrets.token_bytes(16)
        try:
            await self.put(name, content)
            kept = await self.get(name) == content
            listed = [stored.size async for stored in self.list(name)] == [len(content)]
            await self.delete(name)
        except StoreMissing:
            kept = listed = False
        except StoreUnavailable as error:
            if "retry_after" in error.facts:
                raise
            raise StartRefused(error.message, hint=error.hint) from None
        if not kept or not listed:
            raise StartRefused(
                f"{self._place} does not {'list' if kept else 'keep'} what is written to it",
                hint="Check the endpoint in SATCHEL_STORE_URL: does something before it answer from a cache?",
            )

    async def _nothing_of(self, name: str, offset: int, length: int | None) -> bytes:
        """The empty end of an object, if it ends there; buckets do not give ranges of no bytes."""

        async def size() -> int:
            return (await obstore.head_async(self._client, name))["size"]

        if checked_range(name, await self._attempt(name, size), offset, length):
            raise StoreUnavailable(f"{self._place} does not give the part of an object that it was asked for")
        return b""

    async def _attempt(
        self,
        name: str,
        request: Callable[[], Awaitable[Result]],
        unsure: Callable[[Refusal], Awaitable[Result]] | None = None,
    ) -> Result:
        """What ``request`` returns, after a few attempts if need be.

        ``unsure`` settles a refusal that follows an attempt which may have had its effect.
        """
        last = time.monotonic() + self._wait * LAST_START_PART
        in_doubt = False
        attempt = 1
        while True:
            try:
                async with self._turns:
                    return await request()
            except _FAILURES as error:
                refused = refusal(error, self._place)
            if refused.meaning is not Meaning.BUSY:
                if in_doubt and unsure is not None:
                    return await unsure(refused)
                raise self._told(refused, name)
            in_doubt = in_doubt or not refused.heard
            if attempt == ATTEMPTS or time.monotonic() >= last:
                hint = _UNSURE if in_doubt and unsure is not None else refused.hint or None
                raise StoreUnavailable(refused.message, hint=hint, retry_after=RETRY_AFTER_SECONDS)
            await asyncio.sleep(self._random.uniform(0, PAUSE_SECONDS * 2**attempt))
            attempt += 1

    def _told(self, refused: Refusal, name: str) -> SatchelError:
        match refused.meaning:
            case Meaning.MISSING:
                return StoreMissing(f"the stored object {name} is missing")
            case Meaning.EXISTS:
                return StoreExists(f"the stored object {name.rpartition('/')[2]} exists already")
            case Meaning.FULL:
                return DiskFull(
                    refused.message,
                    hint="Nothing of this was stored, nothing was lost. Whoever runs the server has to make room.",
                )
            case _:
                return StoreUnavailable(refused.message, hint=refused.hint)  # no time after which to try again
