"""What it means when a bucket refuses or does not answer.

obstore tells in prose, with the service's own answer inside; the few words that matter are taken from it here, and the
rest is dropped: it may hold signatures, addresses with tokens, and names of tenants.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w{1,64})\s*</Code>")
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "ContainerBeingDeleted", "AccountNotFound"}
# What was asked last was not the bucket but a place that might have had credentials.
_NO_CREDENTIALS = re.compile(
    r"/latest/(api/token|meta-data)|TokenRequest|token request|computeMetadata|WebIdentity|credential provider"
)
_WRONG_CREDENTIALS = {
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation", "MissingSecurityHeader",
}  # fmt: skip
_WRONG_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_WRONG_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_NO_SUCH_RANGE = re.compile(r"InvalidRangeRequest|ParseContentRange")  # said with a 206 that holds nothing
_FULL = re.compile(r"Quota|StorageFull|InsufficientStorage|InsufficientCapacity")
_LOST_RACE = {"ConditionalRequestConflict", "OperationAborted"}
_TOO_MUCH = {"SlowDown", "ServerBusy", "RequestTimeout", "OperationTimedOut", "InternalError", "Throttling"}
_BUSY_STATUSES = {408, 425, 429, 500, 502, 503, 504}


class Meaning(Enum):
    """What follows from a refusal."""

    MISSING = "the object is not there"
    EXISTS = "an object of this name is there already"
    BEYOND = "the range begins after the end"
    FULL = "no more is stored until somebody makes room"
    WRONG = "somebody has to change a setting or a policy"
    BUSY = "the same may succeed soon"


_ENDPOINT = (
    "The same request may succeed later. The operator looks whether the storage runs, and at region and endpoint in "
    "SATCHEL_STORE_URL."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One failed request."""

    meaning: Meaning
    message: str = ""
    hint: str = ""
    heard: bool = True
    """Whether the service has answered, so that the request certainly had no effect. Otherwise it may have had one."""


def refusal(error: BaseException, place: str) -> Refusal:
    """What an error of obstore means; ``place`` is the bucket as people call it."""
    text = str(error)
    status, code = _found(_STATUS, text), _found(_CODE, text)
    number = int(status) if status else 0
    if _NO_CREDENTIALS.search(text):
        return _wrong(
            f"no credentials were found for {place}",
            "Put them into the environment, a profile or the machine's role; the guide, storage, tells how.",
        )
    # An object that is being written cannot be what is missing.
    if code in _NO_BUCKET or (isinstance(error, FileNotFoundError) and "performing PUT" in text):
        return _wrong(f"there is no bucket {place}", "Make it, or mend its name in SATCHEL_STORE_URL.")
    if isinstance(error, FileNotFoundError):
        return Refusal(Meaning.MISSING)
    if number == 416 or _NO_SUCH_RANGE.search(text):
        return Refusal(Meaning.BEYOND)
    if number == 507 or _FULL.search(code):
        return Refusal(Meaning.FULL, f"{place} takes no more: its quota or its space is used up")
    if code in _LOST_RACE or code in _TOO_MUCH or number in _BUSY_STATUSES:
        # A server may have done what it says it failed at.
        return Refusal(Meaning.BUSY, f"{place} is overloaded or failing ({code or number})", heard=number < 500)
    if number in {409, 412} or type(error).__name__ in {"AlreadyExistsError", "PreconditionError"}:
        return Refusal(Meaning.EXISTS)
    return _misconfigured(text, number, code, place) if number else _unheard(text, place)


def _misconfigured(text: str, status: int, code: str, place: str) -> Refusal:
    if code in _WRONG_CLOCK:
        return _wrong(f"the clock of this host and that of {place} differ too much", "Set the clock of this host.")
    if code in _WRONG_REGION or 300 <= status < 400:
        return _wrong(
            f"{place} is in another region, or at another endpoint",
            "Name its region (?region= in SATCHEL_STORE_URL, or AWS_REGION), and an endpoint that does not redirect.",
        )
    if code in _WRONG_CREDENTIALS or status == 401:
        return _wrong(
            f"{place} does not accept the credentials ({code or status})",
            "Check that they are right, complete and not expired; the guide, storage, tells where they come from.",
        )
    if status == 403:
        return _wrong(
            f"the credentials may not use {place} as Satchel needs to ({code or status})",
            "Allow reading, writing, deleting and listing below its prefix; the guide, storage, has a policy.",
        )
    return _wrong(f"{place} refuses ({code or status})", "Check endpoint, bucket and options in SATCHEL_STORE_URL.")


def _unheard(text: str, place: str) -> Refusal:
    """No answer came from the bucket itself, or none that says anything."""
    if "BareRedirect" in text:
        return _misconfigured(text, 301, "", place)
    if "Error parsing Path" in text or "PathPart" in text or "empty path segment" in text:
        return _wrong(
            f"{place} holds objects that are not Satchel's, under names that cannot be read",
            "Give Satchel a bucket or a prefix of its own.",
        )
    connecting = "kind: Connect" in text or "Connect," in text
    why, hint = _why(text, connecting)
    return Refusal(Meaning.BUSY, f"{place} {why}", hint, heard=connecting)


def _why(text: str, connecting: bool) -> tuple[str, str]:
    if "dns error" in text:
        return "cannot be found: the host name of its endpoint is not known", _ENDPOINT
    if "InvalidCertificate" in text:
        return (
            "cannot be trusted: the certificate of its endpoint is not valid here",
            "The operator names the endpoint as its certificate does, and who signed it in SSL_CERT_FILE.",
        )
    if "InvalidMessage" in text or "CorruptMessage" in text:
        return "does not speak TLS at its endpoint", _ENDPOINT
    if re.search(r"[Tt]imed ?out|Timeout|TimedOut", text):
        return "did not answer in time", ""
    return ("cannot be connected to", _ENDPOINT) if connecting else ("broke off the connection", "")


def _wrong(message: str, hint: str) -> Refusal:
    return Refusal(Meaning.WRONG, message, hint)


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
