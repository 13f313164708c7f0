from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from satchel.errors import ConfigInvalid
from satchel.store.bucket import BucketStore
from satchel.store.bucketurl import BucketPlace, bucket_place
from satchel.store.durable_local import LocalStore
from satchel.store.objectstore import MemoryStore
from satchel.store.urls import open_store

SECRET = "AKIAIOSFODNN7EXAMPLE"


def test_a_directory_and_memory_are_stores(tmp_path: Path) -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    assert isinstance(open_store(f"file://{tmp_path}/with%20space"), LocalStore)
    assert (tmp_path / "with space").is_dir()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", BucketPlace("s3", "bucket")),
        ("s3://my.bucket/a/b-c/", BucketPlace("s3", "my.bucket", "a/b-c")),
        (
            "s3://bucket/p?endpoint=https://s3.example.org:9000/&region=eu-west-1&path_style=false&profile=backup",
            BucketPlace("s3", "bucket", "p", endpoint="https://s3.example.org:9000", region="eu-west-1",
                        path_style=False, profile="backup"),
        ),
        (
            "s3://bucket?endpoint=http%3A%2F%2F127.0.0.1%3A8333&allow_http=true",
            BucketPlace("s3", "bucket", endpoint="http://127.0.0.1:8333", allow_http=True),
        ),
        ("gs://bucket/prefix", BucketPlace("gs", "bucket", "prefix")),
        ("az://account/container", BucketPlace("az", "container", account="account")),
        ("az://account/container/a/b", BucketPlace("az", "container", "a/b", account="account")),
    ],
)  # fmt: skip
def test_a_url_names_a_place(url: str, place: BucketPlace) -> None:
    assert bucket_place(url) == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "is no URL"),
        ("/just/a/path", "is no URL"),
        ("file:relative", "no form known"),
        ("file://host/path", "no form known"),
        ("memory://x", "no form known"),
        ("ftp://bucket", "ftp://"),
        ("file:///a?b=c", "takes no options"),
        ("s3://[", "cannot be read"),
        ("s3://", "no bucket"),
        ("s3://b", "no bucket"),
        ("s3://Bucket", "no bucket"),
        ("gs://", "no bucket"),
        ("az://account", "no account or container"),
        ("az:///container", "no account or container"),
        ("s3://bucket/a//b", "prefix"),
        ("s3://bucket/../b", "prefix"),
        ("s3://bucket/a%2Fb", "prefix"),
        ("s3://bucket?regoin=x", "no option regoin; it has allow_http, endpoint, path_style, profile, region"),
        ("gs://bucket?endpoint=https://x", "has no option endpoint; it has none"),
        ("az://account/container?region=x", "no option region"),
        ("s3://bucket?region=", "empty"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?path_style=yes", "true or false"),
        ("s3://bucket?endpoint=localhost:9000", "an address such as"),
        ("s3://bucket?endpoint=http://localhost:9000", "not encrypted"),
        ("s3://bucket?endpoint=https://[", "endpoint"),
        ("s3://bucket?endpoint=https://host:port", "endpoint"),
    ],
)
def test_any_other_url_is_refused_with_the_cure(url: str, said: str) -> None:
    with pytest.raises(ConfigInvalid, match=said) as refused:
        open_store(url)
    assert refused.value.hint


@pytest.mark.promise("P10")
@pytest.mark.parametrize(
    "url",
    [
        f"s3://{SECRET}:abc@bucket",
        f"s3://bucket?access_key_id={SECRET}",
        f"s3://bucket?SecretAccessKey={SECRET}",
        f"s3://bucket?{SECRET}=1",
        f"s3://bucket?endpoint=https://{SECRET}@host",
        f"s3://bucket?endpoint=https://host/?sig={SECRET}",
        f"az://account/container?sig={SECRET}",
        f"az://account/container?sv=1&sas_token={SECRET}",
        f"gs://bucket?service_account_key={SECRET}",
        f"s3://bucket#{SECRET}",
        f"s3://bucket/{SECRET}%20",
        f"{SECRET}://bucket",
        f"https://{SECRET}@bucket",
    ],
)
def test_a_secret_in_a_url_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        open_store(url)
    assert SECRET.lower() not in (refused.value.message + refused.value.hint).lower()
    assert refused.value.__cause__ is None


@pytest.mark.promise("P10")
@pytest.mark.parametrize(
    ("name", "value", "url"),
    [
        ("AZURE_STORAGE_ACCOUNT_KEY", "%secret%", "az://account/container"),
        ("AZURE_STORAGE_SAS_KEY", "secret", "az://account/container"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/secret", "gs://bucket"),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", '{"secret', "gs://bucket"),
    ],
)
def test_credentials_that_cannot_be_read_are_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, url: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigInvalid, match="cannot be understood") as refused:
        open_store(url)
    assert "secret" not in refused.value.message + refused.value.hint
    assert refused.value.__cause__ is None


def client_of(url: str) -> Any:
    store = open_store(url)
    assert isinstance(store, BucketStore)
    return store._client


def test_each_url_makes_the_client_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "bm90IGEga2V5")
    s3 = client_of("s3://bucket/a/b?region=eu-west-1&endpoint=https://s3.example.org")
    assert (type(s3).__name__, s3.prefix) == ("S3Store", "a/b")
    assert (
        s3.config.items() >= {"bucket": "bucket", "region": "eu-west-1", "endpoint": "https://s3.example.org"}.items()
    )
    assert s3.retry_config["max_retries"] == 0
    hosted = client_of("s3://bucket?path_style=false&endpoint=https://s3.example.org:9000")
    assert hosted.config["endpoint"] == "https://bucket.s3.example.org:9000"
    gs = client_of("gs://bucket/a")
    assert (type(gs).__name__, gs.prefix, gs.config["bucket"]) == ("GCSStore", "a", "bucket")
    az = client_of("az://account/container/a")
    assert (type(az).__name__, az.prefix) == ("AzureStore", "a")
    assert az.config.items() >= {"account_name": "account", "container_name": "container"}.items()


def test_a_server_with_its_objects_on_disk_does_not_load_obstore(tmp_path: Path) -> None:
    code = (
        "import sys; import satchel.server.cloud; from satchel.store.urls import open_store; "
        f"open_store('file://{tmp_path}'); open_store('memory://'); print('obstore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
