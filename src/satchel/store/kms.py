"""A key service that keeps the root key for us: it wraps the 32 bytes, and unwraps them at the start of a server.

The service never sees a tenant's key or content; it is asked once at each start, and once more when the key file
changes. What it wraps is bound to the installation. One service is here, AWS KMS through boto3, which is loaded when it
is used and comes with the extra ``aws-kms``.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, NamedTuple, Protocol

from satchel.errors import ConfigInvalid, StartRefused, StoreUnavailable, WrongKey

CONNECT_SECONDS = 5
READ_SECONDS = 10
ATTEMPTS = 3
_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:(?:key|alias)/.+\Z")
_AWAY = {"DependencyTimeoutException", "KMSInternalException", "KeyUnavailableException", "ThrottlingException"}
_UNUSABLE = {"DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException"}
_CREDENTIALS = {
    "UnrecognizedClientException", "InvalidClientTokenId", "ExpiredTokenException", "InvalidSignatureException",
    "IncompleteSignatureException", "MissingAuthenticationTokenException",
}  # fmt: skip
_OTHER_KEY = {"InvalidCiphertextException", "IncorrectKeyException"}


class KmsPlace(NamedTuple):
    """Which key of which service. ``region`` may be empty where the service's own settings name it."""

    service: str
    key: str
    region: str = ""

    def __str__(self) -> str:
        return f"{self.service}:{self.key}"


class Kms(Protocol):
    """What Satchel asks of a key service. Blocks.

    Both raise ``StoreUnavailable`` when it does not answer, ``StartRefused`` when it refuses.
    """

    def wrap(self, secret: bytes, installation: str) -> bytes:
        """``secret`` encrypted, so that it opens for this installation alone."""
        ...

    def unwrap(self, wrapped: bytes, installation: str) -> bytes:
        """The secret again. Raises ``WrongKey`` where it was wrapped by another key or for another installation."""
        ...


def kms_place(text: str) -> KmsPlace:
    """The place a setting names: ``aws-kms:`` and the key's ARN, id or ``alias/name``. Raises ``ConfigInvalid``."""
    service, _, key = text.partition(":")
    if service != "aws-kms" or not key:
        raise ConfigInvalid(
            f"{text!r} names no key service", hint="Write aws-kms: and the ARN of the key, or alias/ and its name."
        )
    arn = _ARN.match(key)
    return KmsPlace(service, key, arn[1] if arn else "")


def open_kms(place: KmsPlace) -> Kms:
    """The service of a place. Raises ``StartRefused`` if its package is not installed or it is not set up."""
    try:
        boto3, config = importlib.import_module("boto3"), importlib.import_module("botocore.config")
        errors = importlib.import_module("botocore.exceptions")
    except ModuleNotFoundError as error:
        raise StartRefused(
            "the root key is kept by AWS KMS, and boto3 is not installed",
            hint="Install it:  pip install 'satchel[server,aws-kms]'",
        ) from error
    bounds = config.Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
    )
    try:
        return AwsKms(boto3.client("kms", region_name=place.region or None, config=bounds), place.key)
    except (errors.BotoCoreError, ValueError) as error:
        hint = "Name the key by its ARN, or the region in AWS_DEFAULT_REGION."
        raise StartRefused(f"AWS KMS cannot be used: {error}", hint=hint) from error


class AwsKms:
    """AWS KMS by ``Encrypt`` and ``Decrypt`` of a symmetric key, with the installation as encryption context."""

    def __init__(self, client: Any, key: str) -> None:
        """``client`` is boto3's for ``kms``."""
        self._client, self._key = client, key

    def wrap(self, secret: bytes, installation: str) -> bytes:
        answer = self._call("encrypt", KeyId=self._key, Plaintext=secret, EncryptionContext=_context(installation))
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, installation: str) -> bytes:
        # The key is named, so that nothing wrapped by a key of somebody else's is taken for ours.
        answer = self._call(
            "decrypt", KeyId=self._key, CiphertextBlob=wrapped, EncryptionContext=_context(installation)
        )
        return bytes(answer["Plaintext"])

    def _call(self, action: str, **parameters: object) -> dict[str, Any]:
        errors = importlib.import_module("botocore.exceptions")
        try:
            answer: dict[str, Any] = getattr(self._client, action)(**parameters)
            return answer
        except errors.ClientError as error:
            self._refused(action, error)
        except errors.NoCredentialsError as error:
            raise StartRefused(
                "there are no credentials for AWS KMS", hint="Give the server an instance role, or AWS credentials."
            ) from error
        except errors.BotoCoreError as error:
            raise StoreUnavailable(f"AWS KMS does not answer: {type(error).__name__}") from error
        raise AssertionError("every error was raised")

    def _refused(self, action: str, error: Any) -> None:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _OTHER_KEY:
            raise WrongKey(
                f"the root key file was not wrapped by the KMS key {self._key} for this installation",
                hint="Put the right root key file in its place, or name the key that wrapped it.",
            ) from error
        if code in _AWAY or status >= 500:
            raise StoreUnavailable(f"AWS KMS does not answer: {code}") from error
        if code in _UNUSABLE:
            hint = "Enable the key, or cancel its deletion: without it nothing can be read. It has to be symmetric."
            raise StartRefused(f"the KMS key {self._key} cannot be used now: {code}", hint=hint) from error
        if code in _CREDENTIALS:
            hint = "They are wrong or expired, or this machine's clock is. Give the server an instance role, or others."
            raise StartRefused(f"AWS KMS does not accept the credentials of this server: {code}", hint=hint) from error
        if code == "NotFoundException":
            raise StartRefused(f"there is no KMS key {self._key}", hint="Check its ARN and region.") from error
        raise StartRefused(
            f"AWS KMS refused to {action} with the key {self._key}: {code}",
            hint=f"Allow this server kms:{action.title()} on the key, in its role and in the key's policy.",
        ) from error


def _context(installation: str) -> dict[str, str]:
    return {"satchel:installation": installation}
