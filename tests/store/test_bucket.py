"""A bucket behind a network that fails in every way, and buckets that refuse.

The service is a real SeaweedFS or Azurite behind a proxy that misbehaves; only answers that neither of them gives are
made up by the proxy.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from satchel.errors import ConfigInvalid, DiskFull, SatchelError, StartRefused, StoreMissing, StoreUnavailable
from satchel.store import profile
from satchel.store.bucket import ATTEMPTS, CONCURRENCY, BucketStore
from satchel.store.objectstore import ObjectStore, StoreExists
from satchel.store.urls import open_store
from tests.real import READER_KEY, READER_SECRET, S3_KEY, S3_SECRET, Answer, Bucket, FlakyProxy
from tests.remote.test_http import certificate, serving_tls

NAME = "tenants/ten_0123456789abcdefghjkmnpqrs/packs/pak_1"
OURS, OTHERS = b"sealed by us" * 100, b"sealed by another" * 100
MIB = 1 << 20


@pytest.fixture
def proxy(seaweedfs: Bucket) -> Iterator[FlakyProxy]:
    with FlakyProxy(seaweedfs.port) as one:
        yield one


@pytest.fixture
def use(seaweedfs: Bucket, proxy: FlakyProxy) -> Callable[..., None]:
    """Run a coroutine function with a store behind the proxy, and with the same store before it."""

    def run(work: Callable[[ObjectStore, ObjectStore], Awaitable[None]], wait_seconds: float = 20) -> None:
        async def main() -> None:
            await work(open_store(seaweedfs.through(proxy).url, wait_seconds), open_store(seaweedfs.url))

        asyncio.run(main())

    return run


# Unknown outcomes ------------------------------------------------------------------------------------------------


@pytest.mark.promise("P7")
def test_a_create_whose_answer_was_lost_counts_as_done(use: Callable[..., None], proxy: FlakyProxy) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.lose_answer("PUT")
        await store.put(NAME, OURS, create=True)
        assert await direct.get(NAME) == OURS
        assert [request.status for request in proxy.requests if request.method == "PUT"] == [0, 412]
        with pytest.raises(StoreExists):  # nothing was lost this time: a second creation is another writer's
            await store.put(NAME, OURS, create=True)

    use(work)


@pytest.mark.promise("P7")
def test_a_put_that_timed_out_after_it_was_applied_counts_as_done(use: Callable[..., None], proxy: FlakyProxy) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.hold_answer("PUT")
        await store.put(NAME, OURS, create=True)
        assert await direct.get(NAME) == OURS
        assert proxy.count("PUT") == 2

    use(work, wait_seconds=3)


@pytest.mark.promise("P4")
@pytest.mark.parametrize("how", ["reset", "answer"])
def test_a_create_that_was_repeated_and_finds_anothers_object_has_lost(
    use: Callable[..., None], proxy: FlakyProxy, how: str
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        await direct.put(NAME, OTHERS, create=True)
        proxy.reset("PUT") if how == "reset" else proxy.answer("PUT", Answer(500, "InternalError"))
        with pytest.raises(StoreExists):
            await store.put(NAME, OURS, create=True)
        assert await direct.get(NAME) == OTHERS

    use(work)


@pytest.mark.promise("P7")
def test_replacing_and_deleting_are_repeated_until_an_answer_comes(use: Callable[..., None], proxy: FlakyProxy) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.lose_answer("PUT", times=2)
        await store.put(NAME, OURS)
        assert await direct.get(NAME) == OURS
        proxy.lose_answer("DELETE", times=2)
        await store.delete(NAME)
        with pytest.raises(StoreMissing):
            await direct.get(NAME)
        assert proxy.counts() == {"PUT": 3, "DELETE": 3}

    use(work)


@pytest.mark.promise("P3")
def test_a_body_that_is_cut_off_is_sent_again_and_nothing_partial_is_ever_there(
    use: Callable[..., None], proxy: FlakyProxy
) -> None:
    data = os.urandom(8 * MIB)

    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.reset("PUT", times=ATTEMPTS)
        with pytest.raises(StoreUnavailable, match=r"broke off|connect"):
            await store.put(NAME, data, create=True)
        with pytest.raises(StoreMissing):
            await direct.get(NAME)
        proxy.reset("PUT", times=2)
        await store.put(NAME, data, create=True)
        assert await direct.get(NAME) == data

    use(work)


def test_when_no_attempt_was_answered_it_is_said_that_the_outcome_is_unknown(
    use: Callable[..., None], proxy: FlakyProxy
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.lose_answer("PUT", times=ATTEMPTS)
        with pytest.raises(StoreUnavailable) as told:
            await store.put(NAME, OURS, create=True)
        assert "not known" in told.value.hint
        assert await direct.get(NAME) == OURS  # it had happened

    use(work)


# Reading ---------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_cut_off_is_asked_for_again(use: Callable[..., None], proxy: FlakyProxy) -> None:
    data = os.urandom(MIB)

    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        await direct.put(NAME, data)
        proxy.cut_answer("GET", times=2)
        assert await store.get(NAME) == data
        proxy.cut_answer("GET")
        assert await store.get(NAME, offset=1_000, length=500_000) == data[1_000:501_000]
        assert proxy.count("GET") == 5

    use(work)


def test_a_listing_that_fails_begins_again_and_names_everything_once(
    use: Callable[..., None], proxy: FlakyProxy
) -> None:
    wanted = [f"many/{n:04}" for n in range(1_005)]

    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        await asyncio.gather(*(direct.put(name, b"x") for name in wanted))
        proxy.answer("GET", Answer(503, "SlowDown"), part="continuation-token")
        proxy.cut_answer("GET")
        assert [stored.name async for stored in store.list("many/")] == wanted
        assert proxy.count("GET", "list-type") >= 5

    use(work)


# Bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Answer(500), Answer(503, "SlowDown"), Answer(429), Answer(409, "OperationAborted")])
def test_a_busy_service_is_asked_again_and_not_for_ever(
    use: Callable[..., None], proxy: FlakyProxy, answer: Answer
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.answer("PUT", answer, times=2)
        await store.put(NAME, OURS, create=True)
        assert await direct.get(NAME) == OURS
        assert proxy.count("PUT") == 3
        for method, call in (
            ("PUT", lambda: store.put("a", b"x")),
            ("GET", lambda: store.get("a")),
            ("DELETE", lambda: store.delete("a")),
        ):
            before = proxy.count(method)
            proxy.answer(method, answer, times=ATTEMPTS)
            with pytest.raises(StoreUnavailable, match="overloaded") as told:
                await call()
            assert proxy.count(method) - before == ATTEMPTS
            assert told.value.facts["retry_after"]

    use(work)


def test_a_service_that_never_answers_is_given_up_within_the_time_that_was_set(
    use: Callable[..., None], proxy: FlakyProxy
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.hold("GET", times=99)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="in time"):
            await store.get(NAME)
        assert time.monotonic() - began < 2
        proxy.release()

    use(work, wait_seconds=2)


def test_a_service_that_is_down_is_told_soon_and_used_again_once_it_is_up(
    use: Callable[..., None], proxy: FlakyProxy
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        await store.put(NAME, OURS)
        proxy.down()
        began = time.monotonic()
        for call in (store.get(NAME), store.put(NAME, OTHERS), store.delete(NAME), store.check()):
            with pytest.raises(StoreUnavailable, match="cannot be connected to") as told:
                await call
            assert told.value.facts["retry_after"]
        assert time.monotonic() - began < 15
        proxy.up()
        assert await store.get(NAME) == OURS

    use(work)


@pytest.mark.promise("P8")
def test_only_so_many_requests_are_under_way_at_once() -> None:
    async def main() -> None:
        store = open_store("s3://bucket?endpoint=http://127.0.0.1:9&allow_http=true")
        assert isinstance(store, BucketStore)
        under_way = [0, 0]

        async def request() -> None:
            under_way[0] += 1
            under_way[1] = max(under_way)
            await asyncio.sleep(0)
            under_way[0] -= 1

        await asyncio.gather(*(store._attempt("a", request) for _ in range(CONCURRENCY * 4)))
        assert under_way == [0, CONCURRENCY]

    asyncio.run(main())


def test_a_pack_is_put_by_one_request(use: Callable[..., None], proxy: FlakyProxy) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        await store.put(NAME, bytes(8 * MIB), create=True)
        await store.put("b", bytes(8 * MIB))
        assert [(request.method, request.size) for request in proxy.requests] == [("PUT", 8 * MIB)] * 2

    use(work)


# What a person has to mend ---------------------------------------------------------------------------------------

REFUSALS = [
    (Answer(403, "AccessDenied"), "may not use"),
    (Answer(403, "SignatureDoesNotMatch"), "does not accept the credentials"),
    (Answer(403, "AuthenticationFailed"), "does not accept the credentials"),
    (Answer(400, "ExpiredToken"), "does not accept the credentials"),
    (Answer(401), "does not accept the credentials"),
    (Answer(404, "NoSuchBucket"), "no bucket"),
    (Answer(404, "ContainerNotFound"), "no bucket"),
    (Answer(301, "PermanentRedirect"), "another region"),
    (Answer(400, "AuthorizationHeaderMalformed"), "another region"),
    (Answer(403, "RequestTimeTooSkewed"), "clock"),
    (Answer(400, "InvalidArgument"), "refuses"),
    (Answer(501, "NotImplemented"), "refuses"),
]


@pytest.mark.promise("P10")
@pytest.mark.parametrize(("answer", "said"), REFUSALS)
def test_a_refusal_is_told_once_with_what_to_mend_and_nothing_private(
    use: Callable[..., None], proxy: FlakyProxy, answer: Answer, said: str
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        for method, call in (
            ("PUT", lambda: store.put(NAME, OURS, create=True)),
            ("GET", lambda: store.get(NAME)),
            ("DELETE", lambda: store.delete(NAME)),
        ):
            before = len(proxy.requests)
            proxy.answer(method, answer)
            with pytest.raises(StoreUnavailable, match=said) as told:
                await call()
            assert len(proxy.requests) == before + 1, "repeating would not help"
            assert "retry_after" not in told.value.facts
            assert told.value.__cause__ is None
            private(told.value)
        proxy.answer("PUT", answer)
        with pytest.raises(StartRefused, match=said) as refused:
            await store.check()
        private(refused.value)

    use(work)


def private(error: SatchelError) -> None:
    assert error.hint
    told = error.message + error.hint + str(error.facts)
    assert not any(secret in told for secret in ("ten_", "pak_", "127.0.0.1", "Signature=", "Credential=", S3_SECRET))


@pytest.mark.parametrize("answer", [Answer(507), Answer(403, "QuotaExceeded"), Answer(400, "XMinioStorageFull")])
def test_storage_that_takes_no_more_is_told_like_a_full_disk(
    use: Callable[..., None], proxy: FlakyProxy, answer: Answer
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.answer("PUT", answer)
        with pytest.raises(DiskFull, match="quota or its space") as told:
            await store.put(NAME, OURS)
        private(told.value)
        with pytest.raises(StoreMissing):
            await direct.get(NAME)

    use(work)


def check(url: str) -> None:
    asyncio.run(open_store(url, 5).check())


@pytest.mark.promise("P3")
def test_a_redirect_is_never_taken_for_success(use: Callable[..., None], proxy: FlakyProxy, seaweedfs: Bucket) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        there = Answer(301, headers={"Location": f"http://127.0.0.1:{seaweedfs.port}/healthz"})
        for create in (False, True):
            proxy.answer("PUT", there)
            with pytest.raises(StoreUnavailable, match="another endpoint"):
                await store.put("a", b"x", create=create)
        with pytest.raises(StoreMissing):
            await direct.get("a")

    use(work)


@pytest.mark.promise("P3")
def test_a_service_that_takes_writes_and_keeps_nothing_is_found_at_the_check(
    use: Callable[..., None], proxy: FlakyProxy
) -> None:
    async def work(store: ObjectStore, direct: ObjectStore) -> None:
        proxy.answer("PUT", Answer(200, headers={"ETag": '"1"'}))
        with pytest.raises(StartRefused, match="does not keep what is written"):
            await store.check()

    use(work)


def test_a_bucket_that_is_not_there_is_named(seaweedfs: Bucket) -> None:
    with pytest.raises(StartRefused, match="no bucket s3://no-such-bucket"):
        check(seaweedfs.at("no-such-bucket").url)

    async def main() -> None:
        with pytest.raises(StoreUnavailable, match="no bucket"):  # and never "the object is missing"
            await open_store(seaweedfs.at("no-such-bucket").url).get(NAME)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("key", "secret", "said"),
    [
        (S3_KEY, "not the secret", "does not accept the credentials"),
        ("nobody", S3_SECRET, "does not accept the credentials"),
        (READER_KEY, READER_SECRET, "may not use"),
    ],
)
def test_credentials_that_do_not_suffice_are_told_at_the_check(
    seaweedfs: Bucket, monkeypatch: pytest.MonkeyPatch, key: str, secret: str, said: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    with pytest.raises(StartRefused, match=said) as told:
        check(seaweedfs.url)
    private(told.value)
    assert secret not in told.value.message + told.value.hint


def test_no_credentials_at_all_are_told(seaweedfs: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in seaweedfs.env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")  # this machine has no role
    with pytest.raises(StartRefused, match="no credentials were found"):
        check(seaweedfs.url)


@pytest.mark.timeout(600)
def test_azure_tells_the_same_way(azurite: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    check(azurite.url)
    with pytest.raises(StartRefused, match="no bucket az://devstoreaccount1/no-such-container"):
        check(azurite.at("devstoreaccount1/no-such-container").url)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90IHRoZSBrZXk=")
    with pytest.raises(StartRefused, match=r"credentials|may not use") as told:
        check(azurite.url)
    assert "bm90" not in told.value.message + told.value.hint


@pytest.mark.timeout(600)
def test_an_azure_create_whose_answer_was_lost_counts_as_done(azurite: Bucket) -> None:
    async def main(proxy: FlakyProxy) -> None:
        store = open_store(azurite.through(proxy).url)
        proxy.lose_answer("PUT")
        await store.put(NAME, OURS, create=True)
        assert await store.get(NAME) == OURS
        await store.put("big", bytes(8 * MIB), create=True)
        assert proxy.counts()["PUT"] == 3
        proxy.lose_answer("DELETE")
        await store.delete(NAME)

    with FlakyProxy(azurite.port) as proxy:
        asyncio.run(main(proxy))


def test_an_endpoint_that_is_no_storage_or_cannot_be_found_is_told(seaweedfs: Bucket) -> None:
    with pytest.raises(StoreUnavailable, match="host name of its endpoint is not known"):
        check("s3://some-bucket?endpoint=http://nowhere.invalid&allow_http=true")


@pytest.mark.parametrize(
    ("tls", "said"), [(True, "certificate of its endpoint is not valid"), (False, "does not speak TLS")]
)
def test_an_endpoint_that_cannot_be_trusted_is_told_with_what_to_mend(
    seaweedfs: Bucket, tmp_path: Path, tls: bool, said: str
) -> None:
    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(
            silent, "127.0.0.1", 0, ssl=serving_tls(certificate(tmp_path)) if tls else None
        ) as server:
            port = server.sockets[0].getsockname()[1]
            await open_store(f"s3://some-bucket?endpoint=https://localhost:{port}", 2).check()

    with pytest.raises(StoreUnavailable, match=said) as told:
        asyncio.run(main())
    assert "SSL_CERT_FILE" in told.value.hint or not tls
    private(told.value)


# Whose credentials -----------------------------------------------------------------------------------------------


def test_a_named_profile_is_used_and_read_again(
    seaweedfs: Bucket, private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in seaweedfs.env:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "not the one of the profile")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the one of the profile")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "not the one of the profile")
    file = private_home / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text(
        f"[default]\naws_access_key_id = x\n[satchel]\naws_access_key_id = {S3_KEY}\n"
        f"aws_secret_access_key = {S3_SECRET}\n[role]\nrole_arn = arn:x\n"
    )
    check(seaweedfs.at(seaweedfs.place, profile="satchel").url)
    for name, said in (("absent", "no profile 'absent'"), ("role", "no pair of keys"), ("default", "no pair")):
        with pytest.raises(ConfigInvalid, match=said):
            open_store(seaweedfs.at(seaweedfs.place, profile=name).url)
    file.write_text("not a file of credentials")
    with pytest.raises(ConfigInvalid, match="cannot be understood"):
        open_store(seaweedfs.at(seaweedfs.place, profile="satchel").url)
    file.unlink()
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        open_store(seaweedfs.at(seaweedfs.place, profile="satchel").url)


def test_a_profile_that_goes_away_while_a_server_runs_is_told_as_missing_credentials(
    private_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "_TRUSTED", timedelta(0))
    file = private_home / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text("[satchel]\naws_access_key_id = x\naws_secret_access_key = y\n")
    store = open_store("s3://bucket?endpoint=http://127.0.0.1:9&allow_http=true&region=x&profile=satchel", 2)
    file.unlink()
    with pytest.raises(StoreUnavailable, match="no credentials were found"):
        asyncio.run(store.get(NAME))


# Somebody else's objects -----------------------------------------------------------------------------------------


def test_objects_that_are_not_satchels_are_left_alone_and_not_listed(seaweedfs: Bucket) -> None:
    async def main() -> None:
        store = open_store(seaweedfs.url)
        assert isinstance(store, BucketStore)
        await store.put("a/b", b"x")
        for foreign in ("Notes.txt", "a/READ ME", "a/.hidden"):
            await store._client.put_async(foreign, b"not of Satchel")
        assert [stored.name async for stored in store.list("")] == ["a/b"]
        assert len([1 async for page in store._client.list() for _ in page]) == 4

    asyncio.run(main())
