"""The key service, against the shape of AWS KMS's API as boto3 knows it. No real service is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.stub import Stubber  # type: ignore[import-untyped]

from satchel.errors import ConfigInvalid, SatchelError, StartRefused, StoreUnavailable, WrongKey
from satchel.store import kms, rootkey
from satchel.store.kms import AwsKms, KmsPlace, kms_place, open_kms
from satchel.store.rootkey import KeyFiles, RootKey, next_path

ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLACE = KmsPlace("aws-kms", ARN, "eu-central-1")
OWN = "ins_00000000000000000000000001"
CONTEXT = {"satchel:installation": OWN}


@pytest.fixture
def client() -> Any:
    return boto3.client(
        "kms", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip


@pytest.fixture
def stub(client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """Answers for the client, which checks every parameter against the service's model; used by the key files too."""
    monkeypatch.setattr(rootkey, "open_kms", lambda place: AwsKms(client, place.key))
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def wraps(stub: Stubber, secret: bytes, wrapped: bytes = b"wrapped") -> None:
    asked = {"KeyId": ARN, "Plaintext": secret, "EncryptionContext": CONTEXT}
    stub.add_response("encrypt", {"CiphertextBlob": wrapped, "KeyId": ARN}, asked)


def unwraps(stub: Stubber, secret: bytes, wrapped: bytes = b"wrapped") -> None:
    asked = {"KeyId": ARN, "CiphertextBlob": wrapped, "EncryptionContext": CONTEXT}
    stub.add_response("decrypt", {"Plaintext": secret, "KeyId": ARN}, asked)


def test_a_root_key_that_kms_wraps_is_in_no_file_and_comes_back_at_the_next_start(
    tmp_path: Path, stub: Stubber
) -> None:
    path = tmp_path / "root.key"
    secret = b"r" * 32
    wraps(stub, secret)
    made = RootKey.create(path, lambda _: secret, kms=PLACE, installation=OWN)
    kept = path.read_bytes()
    assert secret not in kept
    assert json.loads(kept) == {
        "format": "satchel-root 1", "kms": "aws-kms", "key": ARN, "region": "eu-central-1", "installation": OWN,
        "ciphertext": "d3JhcHBlZA==",
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    unwraps(stub, secret)
    loaded = RootKey.load(path)
    assert (loaded, loaded.kms, loaded.installation) == (made, PLACE, OWN)
    assert loaded.kept == f"wrapped by aws-kms:{ARN}"


REFUSALS: list[tuple[str, int, type[SatchelError], str]] = [
    ("AccessDeniedException", 400, StartRefused, "kms:Decrypt"),
    ("ExpiredTokenException", 400, StartRefused, "expired"),
    ("UnrecognizedClientException", 400, StartRefused, "wrong"),
    ("InvalidSignatureException", 403, StartRefused, "clock"),
    ("InvalidKeyUsageException", 400, StartRefused, "symmetric"),
    ("NotFoundException", 400, StartRefused, "region"),
    ("DisabledException", 400, StartRefused, "Enable the key"),
    ("KMSInvalidStateException", 400, StartRefused, "cancel its deletion"),
    ("InvalidCiphertextException", 400, WrongKey, "right root key file"),
    ("IncorrectKeyException", 400, WrongKey, "right root key file"),
    ("DependencyTimeoutException", 503, StoreUnavailable, "later"),
    ("ThrottlingException", 400, StoreUnavailable, "later"),
    ("KMSInternalException", 500, StoreUnavailable, "later"),
    ("SomethingNew", 400, StartRefused, "kms:Decrypt"),
]


@pytest.mark.parametrize(("code", "status", "error", "hint"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_each_refusal_of_kms_says_what_to_do(
    client: Any, stub: Stubber, code: str, status: int, error: type[SatchelError], hint: str
) -> None:
    stub.add_client_error("decrypt", code, "secret words of the service", status)
    with pytest.raises(error) as refused:
        AwsKms(client, ARN).unwrap(b"wrapped", OWN)
    assert type(refused.value) is error
    assert hint in refused.value.hint
    assert "secret words" not in refused.value.message


def test_a_kms_that_is_away_is_waited_for_a_bounded_time_and_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, free_tcp_port: int
) -> None:
    monkeypatch.setattr(kms, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_tcp_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(StoreUnavailable, match="AWS KMS does not answer"):
        open_kms(PLACE).unwrap(b"wrapped", OWN)


def test_without_boto3_the_start_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(StartRefused) as refused:
        open_kms(PLACE)
    assert "pip install 'satchel[server,aws-kms]'" in refused.value.hint


def test_a_key_without_a_region_is_refused_with_what_names_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StartRefused) as refused:
        open_kms(kms_place("aws-kms:alias/satchel"))
    assert "AWS_DEFAULT_REGION" in refused.value.hint


def test_the_region_comes_from_the_arn() -> None:
    assert kms_place(f"aws-kms:{ARN}") == PLACE
    for text in ("", "aws-kms:", "other-kms:key", ARN):
        with pytest.raises(ConfigInvalid):
            kms_place(text)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b'{"format": "satchel-root 2"}', b'{"format": "satchel-root 1", "kms": "other", "key": "k"}'],
)
def test_a_file_that_is_not_what_a_key_service_wrapped_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "root.key").write_bytes(content)
    with pytest.raises(WrongKey, match="is not a root key"):
        RootKey.load(tmp_path / "root.key")


def test_the_service_is_asked_again_only_when_a_key_file_has_changed(tmp_path: Path, stub: Stubber) -> None:
    path = tmp_path / "root.key"
    wraps(stub, b"r" * 32)
    first = RootKey.create(path, lambda _: b"r" * 32, kms=PLACE, installation=OWN)
    files = KeyFiles(path)
    unwraps(stub, b"r" * 32)
    assert files.read() == [first]
    assert files.read() == [first]  # nothing is stubbed for a second call
    second = RootKey.create(next_path(path))
    assert files.read() == [second, first]


def test_what_the_service_refused_is_asked_again_once_it_may_be_allowed(tmp_path: Path, stub: Stubber) -> None:
    path = tmp_path / "root.key"
    wraps(stub, b"r" * 32)
    key = RootKey.create(path, lambda _: b"r" * 32, kms=PLACE, installation=OWN)
    files = KeyFiles(path)
    stub.add_client_error("decrypt", "AccessDeniedException", http_status_code=400)
    assert files.read() == []
    unwraps(stub, b"r" * 32)
    assert files.read() == [key]
